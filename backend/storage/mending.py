"""What a person changes in a conversation afterwards: an answer in other words, a turn taken out."""

from __future__ import annotations

import sqlite3
import time

from backend.api.errors import ConflictError
from backend.api.schemas import Conversation, Message

from .conversations import require_conversation
from .database import Database
from .messages import require_message
from .rows import clean, new_id

__all__ = ["Mending"]


class Mending:
    """The part of the store that mends conversations."""

    _db: Database

    def add_version(self, message_id: str, text: str) -> Message:
        """The same message in other words: a sibling of it, complete, that becomes the head. The first one stays.

        Raises NotFoundError, and ConflictError while the message is being written.
        """

        def work(connection: sqlite3.Connection) -> Message:
            old = require_message(connection, message_id)
            _require_quiet(connection, old.conversation_id)
            version_id, now = new_id(), time.time()
            connection.execute(
                "INSERT INTO messages (id, conversation_id, parent_id, role, content, status, created_at, model)"
                " VALUES (?, ?, ?, ?, ?, 'complete', ?, ?)",
                (version_id, old.conversation_id, old.parent_id, old.role, clean(text), now, old.model),
            )
            connection.execute(
                "UPDATE conversations SET head_id = ?, updated_at = ? WHERE id = ?",
                (version_id, now, old.conversation_id),
            )
            return require_message(connection, version_id)

        return self._db.write(work)

    def delete_turn(self, message_id: str) -> Conversation:
        """Takes a question with all its answers out, or an answer, with its question where it has no other one.

        What came after goes on from what came before. Raises NotFoundError, and ConflictError while an answer is being
        written in the conversation.
        """

        def work(connection: sqlite3.Connection) -> Conversation:
            message = require_message(connection, message_id)
            _require_quiet(connection, message.conversation_id)
            top = message
            if message.role == "assistant" and message.parent_id is not None:
                others = connection.execute(
                    "SELECT count(*) FROM messages WHERE parent_id = ?", (message.parent_id,)
                ).fetchone()[0]
                question = require_message(connection, message.parent_id)
                if others == 1 and question.role == "user":
                    top = question
            gone = [top.id]
            if top.role == "user":
                gone += [
                    key
                    for (key,) in connection.execute(
                        "SELECT id FROM messages WHERE parent_id = ? AND role = 'assistant'", (top.id,)
                    )
                ]
            _remove(connection, message.conversation_id, gone, top.parent_id)
            return require_conversation(connection, message.conversation_id)

        return self._db.write(work)


def _require_quiet(connection: sqlite3.Connection, conversation_id: str) -> None:
    found = connection.execute(
        "SELECT 1 FROM messages WHERE conversation_id = ? AND status = 'streaming'", (conversation_id,)
    ).fetchone()
    if found is not None:
        raise ConflictError("An answer is being written in this conversation.", remedy="Wait for it, or stop it first.")


def _remove(connection: sqlite3.Connection, conversation_id: str, gone: list[str], parent_id: str | None) -> None:
    """Deletes messages and hangs what followed them under `parent_id`; the head moves up where it is among them."""
    marks = ", ".join("?" * len(gone))
    # A parent is always older than its child, so the rows keep their order.
    connection.execute(
        f"UPDATE messages SET parent_id = ? WHERE parent_id IN ({marks}) AND id NOT IN ({marks})",
        (parent_id, *gone, *gone),
    )
    (head,) = connection.execute("SELECT head_id FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
    if head in gone:
        newest = connection.execute(
            "WITH RECURSIVE down (id, num) AS (SELECT id, num FROM messages WHERE id = ? UNION ALL"
            " SELECT c.id, c.num FROM down CROSS JOIN messages c WHERE c.num ="
            f" (SELECT max(num) FROM messages WHERE parent_id = down.id AND num > down.num AND id NOT IN ({marks}))"
            ") SELECT id FROM down ORDER BY num DESC LIMIT 1",
            (parent_id, *gone),
        ).fetchone()
        connection.execute(
            "UPDATE conversations SET head_id = ? WHERE id = ?", (newest[0] if newest else None, conversation_id)
        )
    # Deepest first: a question refers to nothing that its answers do not.
    for key in reversed(gone):
        connection.execute("DELETE FROM messages WHERE id = ?", (key,))
