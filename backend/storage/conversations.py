"""Conversations: create, list, change, delete with undo."""

from __future__ import annotations

import sqlite3
import time

import msgspec
from msgspec import UNSET

from backend.api.errors import NotFoundError
from backend.api.schemas import Conversation, ConversationDetail, ConversationUpdate, NewConversation

from .database import Database
from .messages import with_pieces
from .rows import CONVERSATION, clean, merge, new_id, to_conversation

__all__ = ["Conversations", "require_conversation"]


def require_conversation(connection: sqlite3.Connection, conversation_id: str) -> Conversation:
    """The conversation, deleted or not. Raises NotFoundError."""
    row = connection.execute(f"SELECT {CONVERSATION} FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
    if row is None:
        raise NotFoundError(
            "This conversation does not exist any more.", remedy="Choose another one from the list at the side."
        )
    return to_conversation(row)


def _require_other(connection: sqlite3.Connection, table: str, what: str, item_id: str | None) -> None:
    if item_id is not None:
        found = connection.execute(f"SELECT 1 FROM {table} WHERE id = ?", (item_id,)).fetchone()
        if found is None:
            raise NotFoundError(f"This {what} does not exist any more.", remedy="Choose another one.")


def _json(value: bool | str) -> str:
    return msgspec.json.encode(value).decode()


class Conversations:
    """The part of the store that keeps conversations."""

    _db: Database

    def conversations(self, *, deleted: bool = False) -> list[Conversation]:
        """All conversations, the one that was last written in first; with `deleted`, those in the trash."""
        state = "IS NOT NULL" if deleted else "IS NULL"
        with self._db.reading() as connection:
            rows = connection.execute(
                f"SELECT {CONVERSATION} FROM conversations WHERE deleted_at {state} ORDER BY updated_at DESC, num DESC"
            ).fetchall()
        return [to_conversation(row) for row in rows]

    def conversation(self, conversation_id: str) -> Conversation:
        """One conversation, also from the trash. Raises NotFoundError."""
        with self._db.reading() as connection:
            return require_conversation(connection, conversation_id)

    def detail(self, conversation_id: str) -> ConversationDetail:
        """A conversation with all its messages, parents before children. Raises NotFoundError."""
        with self._db.reading() as connection:
            conversation = require_conversation(connection, conversation_id)
            return ConversationDetail(
                conversation=conversation,
                messages=with_pieces(
                    connection, "WHERE m.conversation_id = ? ORDER BY m.num", (conversation_id,), self._db.read_only
                ),
            )

    def create_conversation(self, new: NewConversation) -> Conversation:
        """An empty conversation. A preset gives its sampling, and its system prompt where `new` has none.

        Raises NotFoundError for an unknown folder or preset.
        """

        def work(connection: sqlite3.Connection) -> Conversation:
            _require_other(connection, "folders", "folder", new.folder_id)
            _require_other(connection, "presets", "preset", new.preset_id)
            now = time.time()
            conversation_id = new_id()
            preset = connection.execute(
                "SELECT system_prompt, sampling FROM presets WHERE id = ?", (new.preset_id,)
            ).fetchone() or ("", None)
            connection.execute(
                "INSERT INTO conversations (id, title, system_prompt, sampling, folder_id, preset_id, created_at,"
                " updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    conversation_id,
                    clean(new.title),
                    clean(new.system_prompt) or preset[0],
                    preset[1],
                    new.folder_id,
                    new.preset_id,
                    now,
                    now,
                ),
            )
            return require_conversation(connection, conversation_id)

        return self._db.write(work)

    def update_conversation(self, conversation_id: str, update: ConversationUpdate) -> Conversation:
        """Change what `update` gives; the time of the last message stays. Raises NotFoundError.

        `head_id` must be a message of this conversation.
        """

        def work(connection: sqlite3.Connection) -> Conversation:
            require_conversation(connection, conversation_id)
            changes: dict[str, object] = {}
            for field in ("title", "system_prompt"):
                if (text := getattr(update, field)) is not UNSET:
                    changes[field] = clean(text)
            if update.folder_id is not UNSET:
                _require_other(connection, "folders", "folder", update.folder_id)
                changes["folder_id"] = update.folder_id
            if update.preset_id is not UNSET:
                _require_other(connection, "presets", "preset", update.preset_id)
                changes["preset_id"] = update.preset_id
            if update.context_policy is not UNSET:
                changes["context_policy"] = update.context_policy
            if update.head_id is not UNSET:
                if update.head_id is not None:
                    row = connection.execute(
                        "SELECT 1 FROM messages WHERE id = ? AND conversation_id = ?", (update.head_id, conversation_id)
                    ).fetchone()
                    if row is None:
                        raise NotFoundError("This message is not part of the conversation.")
                changes["head_id"] = update.head_id
            if update.sampling is not UNSET:
                old = connection.execute(
                    "SELECT sampling FROM conversations WHERE id = ?", (conversation_id,)
                ).fetchone()[0]
                changes["sampling"] = merge(old, update.sampling)
            for field in ("pinned", "archived", "draft"):
                if (value := getattr(update, field)) is not UNSET:
                    connection.execute(
                        "UPDATE conversations SET extra = json_set(iif(json_valid(extra), extra, '{}'), ?, json(?))"
                        " WHERE id = ?",
                        (f"$.{field}", _json(clean(value) if isinstance(value, str) else value), conversation_id),
                    )
            if changes:
                connection.execute(
                    f"UPDATE conversations SET {', '.join(f'{field} = ?' for field in changes)} WHERE id = ?",
                    (*changes.values(), conversation_id),
                )
            return require_conversation(connection, conversation_id)

        return self._db.write(work)

    def delete_conversation(self, conversation_id: str) -> Conversation:
        """Put it into the trash, where it stays whole until `purge_deleted`. Raises NotFoundError."""
        return self._mark(conversation_id, time.time())

    def restore_conversation(self, conversation_id: str) -> Conversation:
        """Take it out of the trash. Raises NotFoundError."""
        return self._mark(conversation_id, None)

    def purge_deleted(self, before: float) -> int:
        """Remove for good what went into the trash before the Unix time `before`; gives how many conversations.

        SQLite overwrites the freed text, so that it is gone from the file and not only from the lists.
        """

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM conversations WHERE deleted_at < ?", (before,)).rowcount

        with self._db.reading() as connection:
            if self._db.read_only:
                return self._db.write(work)  # raises ReadOnlyError
            (before_purge,) = connection.execute("PRAGMA secure_delete").fetchone()
            connection.execute("PRAGMA secure_delete = ON")
            try:
                purged = self._db.write(work)
            finally:
                connection.execute(f"PRAGMA secure_delete = {before_purge}")
            if purged:  # the log still has the text; another process that reads keeps it a little longer
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return purged

    def _mark(self, conversation_id: str, deleted_at: float | None) -> Conversation:
        def work(connection: sqlite3.Connection) -> Conversation:
            connection.execute(
                # a second deletion keeps the time of the first
                "UPDATE conversations SET deleted_at = iif(?1 IS NULL, NULL, coalesce(deleted_at, ?1)) WHERE id = ?2",
                (deleted_at, conversation_id),
            )
            return require_conversation(connection, conversation_id)

        return self._db.write(work)
