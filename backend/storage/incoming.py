"""Conversations from elsewhere: a tree of messages that is not in the store yet, and how it gets there."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass, field

from backend.api.schemas import ContextPolicy, Conversation, Role, Sampling, TurnStats

from .attachments import StoredFile, keep_files
from .conversations import require_conversation
from .database import Database
from .rows import clean, dump, new_id

__all__ = ["ImportedConversation", "ImportedMessage", "Incoming"]


@dataclass(slots=True)
class ImportedMessage:
    """One message. `parent` is the place of its parent in the list, which is smaller than its own; -1: a root."""

    role: Role
    content: str
    parent: int = -1
    created_at: float = 0.0
    model: str | None = None
    stats: TurnStats | None = None
    files: list[StoredFile] = field(default_factory=list)


@dataclass(slots=True)
class ImportedConversation:
    """A conversation; `head` is the place of the leaf that is shown, -1 for the last message."""

    title: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    system_prompt: str = ""
    sampling: Sampling | None = None
    context_policy: ContextPolicy = "drop_middle"
    pinned: bool = False
    archived: bool = False
    messages: list[ImportedMessage] = field(default_factory=list)
    head: int = -1


class Incoming:
    """The part of the store that takes in whole conversations."""

    _db: Database

    def import_conversation(self, incoming: ImportedConversation) -> Conversation:
        """Stores a conversation from elsewhere, in one step; its messages get ids of ours."""

        def work(connection: sqlite3.Connection) -> Conversation:
            now = time.time()
            conversation_id, ids = new_id(), [new_id() for _ in incoming.messages]
            times = [one.created_at for one in incoming.messages if one.created_at > 0]
            created = incoming.created_at or (min(times) if times else now)
            updated = incoming.updated_at or (max(times) if times else created)
            head = ids[incoming.head] if ids else None  # -1 is the last
            first = next((one.content for one in incoming.messages if one.role == "user"), "")
            title = " ".join((incoming.title or first[:60]).split())
            flags = [name for name in ("pinned", "archived") if getattr(incoming, name)]
            connection.execute(
                "INSERT INTO conversations (id, title, system_prompt, sampling, context_policy, head_id, created_at,"
                " updated_at, extra) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversation_id, clean(title), clean(incoming.system_prompt), dump(incoming.sampling),
                    incoming.context_policy, head, created, updated,
                    "{" + ", ".join(f'"{name}": true' for name in flags) + "}",
                ),
            )  # fmt: skip
            connection.executemany(
                "INSERT INTO messages (id, conversation_id, parent_id, role, content, status, created_at, model, stats)"
                " VALUES (?, ?, ?, ?, ?, 'complete', ?, ?, ?)",
                (
                    (
                        ids[place], conversation_id, ids[one.parent] if 0 <= one.parent < place else None, one.role,
                        clean(one.content), one.created_at or created, one.model, dump(one.stats),
                    )
                    for place, one in enumerate(incoming.messages)
                ),
            )  # fmt: skip
            for message_id, one in zip(ids, incoming.messages, strict=True):
                keep_files(connection, message_id, one.files)
            return require_conversation(connection, conversation_id)

        return self._db.write(work)
