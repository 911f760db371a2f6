"""Messages: a tree per conversation, and answers that are stored piece by piece as they stream."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable

from backend.api.errors import ConflictError, NotFoundError, StorageError
from backend.api.schemas import ErrorInfo, Message, MessageStatus, Role, TurnStats

from .database import Database
from .rows import ATTACHMENT, MESSAGE, clean, dump, merge, new_id, to_attachment, to_message

__all__ = ["Messages", "fold", "with_pieces"]

_ABOUT_FILES = ATTACHMENT.removesuffix(", text")
_AT_ONCE = 500  # names in one question; SQLite takes 32,766
_COLUMNS = ", ".join(f"m.{name.strip()}" for name in MESSAGE.split(","))


def with_pieces(
    connection: sqlite3.Connection, where: str, values: tuple[object, ...], nobody_streams: bool = False
) -> list[Message]:
    """Messages as `m` by the rest of a query; one that streams has the text that has arrived so far.

    `nobody_streams` says that what is marked as streaming was cut off (in a file that can only be read).
    """
    messages = [to_message(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM messages m {where}", values)]
    for message in messages:
        if message.status == "streaming":
            message.content += _pieces(connection, message.id)
            if nobody_streams:
                message.status = "interrupted"
    _add_attachments(connection, messages)
    return messages


def _add_attachments(connection: sqlite3.Connection, messages: list[Message]) -> None:
    """What was given with each message, without text and bytes."""
    by_id = {message.id: message for message in messages if message.role == "user"}
    ids = list(by_id)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        rows = connection.execute(
            f"SELECT {_ABOUT_FILES} FROM attachments WHERE message_id IN ({', '.join('?' * len(some))}) ORDER BY num",
            some,
        )
        for row in rows:
            by_id[row[1]].attachments.append(to_attachment(row))


def _pieces(connection: sqlite3.Connection, message_id: str) -> str:
    rows = connection.execute("SELECT text FROM message_pieces WHERE message_id = ? ORDER BY num", (message_id,))
    return "".join(text for (text,) in rows)


def fold(
    connection: sqlite3.Connection, message_id: str, status: MessageStatus, stats: str | None, error: str | None
) -> None:
    """Join the pieces to the content and end the streaming, inside a transaction. `stats`, `error`: JSON text."""
    connection.execute(
        "UPDATE messages SET content = content || ?, status = ?, owner = NULL, stats = ?, error = ? WHERE id = ?",
        (_pieces(connection, message_id), status, stats, error, message_id),
    )
    connection.execute("DELETE FROM message_pieces WHERE message_id = ?", (message_id,))


def fold_interrupted(connection: sqlite3.Connection, message_ids: Iterable[str]) -> None:
    """End answers that nobody writes any more, inside a transaction; their stats and errors stay."""
    for message_id in message_ids:
        stats, error = connection.execute("SELECT stats, error FROM messages WHERE id = ?", (message_id,)).fetchone()
        fold(connection, message_id, "interrupted", stats, error)


def require_message(connection: sqlite3.Connection, message_id: str) -> Message:
    """The message, without its unfinished pieces. Raises NotFoundError."""
    row = connection.execute(f"SELECT {MESSAGE} FROM messages WHERE id = ?", (message_id,)).fetchone()
    if row is None:
        raise NotFoundError("This message does not exist any more.", remedy="Open the conversation again.")
    return to_message(row)


class Messages:
    """The part of the store that keeps messages."""

    _db: Database
    _owner_id: str
    _streams: set[str]  # ids of the answers that this store is writing

    def add_message(
        self,
        conversation_id: str,
        parent_id: str | None,
        role: Role,
        content: str,
        *,
        status: MessageStatus = "complete",
        model: str | None = None,
        also: Callable[[sqlite3.Connection, str], None] | None = None,
    ) -> Message:
        """A new message under `parent_id` (None: a first message), which becomes the head of its conversation.

        With status "streaming" it belongs to this store until `finish_message`. `also` is called with its id inside the
        same transaction. Raises NotFoundError for an unknown
        conversation or parent, ConflictError for a conversation in the trash.
        """
        message_id = new_id()

        def work(connection: sqlite3.Connection) -> Message:
            row = connection.execute("SELECT deleted_at FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
            if row is None:
                raise NotFoundError("This conversation does not exist any more.", remedy="Start a new one.")
            if row[0] is not None:
                raise ConflictError("This conversation is in the trash.", remedy="Restore it to go on with it.")
            if parent_id is not None:
                found = connection.execute(
                    "SELECT 1 FROM messages WHERE id = ? AND conversation_id = ?", (parent_id, conversation_id)
                ).fetchone()
                if found is None:
                    raise NotFoundError(
                        "The message that this one follows is not part of the conversation.",
                        remedy="Open the conversation again.",
                    )
            now = time.time()
            owner = self._owner_id if status == "streaming" else None
            connection.execute(
                "INSERT INTO messages (id, conversation_id, parent_id, role, content, status, created_at, model, owner)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (message_id, conversation_id, parent_id, role, clean(content), status, now, model, owner),
            )
            connection.execute(
                "UPDATE conversations SET head_id = ?, updated_at = ?, model = coalesce(?, model) WHERE id = ?",
                (message_id, now, model, conversation_id),
            )
            if also is not None:
                also(connection, message_id)
            return with_pieces(connection, "WHERE m.id = ?", (message_id,))[0]

        message = self._db.write(work)
        if status == "streaming":
            self._streams.add(message_id)
        return message

    def append_text(self, message_id: str, text: str) -> None:
        """Store more text of a streaming message. When this returns, the death of the process cannot lose it.

        Raises NotFoundError, and ConflictError when this store is not the one that streams the message.
        """
        if message_id not in self._streams:
            with self._db.reading() as connection:
                status = require_message(connection, message_id).status
            raise ConflictError(
                "Text can only be added to an answer that is being written.",
                details=f"message {message_id} is {status} and not streamed by this store",
            )
        if not text:
            return
        try:
            self._db.run("INSERT INTO message_pieces (message_id, text) VALUES (?, ?)", (message_id, clean(text)))
        except StorageError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):  # purged in the meantime
                self._streams.discard(message_id)
                self.message(message_id)
            raise

    def finish_message(
        self,
        message_id: str,
        *,
        status: MessageStatus,
        stats: TurnStats | None = None,
        error: ErrorInfo | None = None,
    ) -> Message:
        """End the streaming: the pieces become the content, which search then finds.

        Raises NotFoundError, and ConflictError when this store is not the one that streams the message.
        """

        def work(connection: sqlite3.Connection) -> Message:
            row = connection.execute(
                "SELECT status, owner, stats, conversation_id FROM messages WHERE id = ?", (message_id,)
            ).fetchone()
            if row is None:
                require_message(connection, message_id)
            if row[0] != "streaming" or row[1] != self._owner_id:
                raise ConflictError("This answer is finished already.", details=f"message {message_id} is {row[0]}")
            fold(connection, message_id, status, merge(row[2], stats), dump(error))
            connection.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", (time.time(), row[3]))
            return require_message(connection, message_id)

        message = self._db.write(work)
        self._streams.discard(message_id)
        return message

    def reopen_message(self, message_id: str) -> Message:
        """Make a finished message stream again, to continue it; its text stays and its error goes.

        Raises NotFoundError, and ConflictError when it streams already.
        """

        def work(connection: sqlite3.Connection) -> Message:
            if require_message(connection, message_id).status == "streaming":
                raise ConflictError("This answer is being written already.", remedy="Wait for it, or stop it first.")
            connection.execute(
                "UPDATE messages SET status = 'streaming', owner = ?, error = NULL WHERE id = ?",
                (self._owner_id, message_id),
            )
            return require_message(connection, message_id)

        message = self._db.write(work)
        self._streams.add(message_id)
        return message

    def message(self, message_id: str) -> Message:
        """One message; a streaming one with its text so far. Raises NotFoundError."""
        with self._db.reading() as connection:
            found = with_pieces(connection, "WHERE m.id = ?", (message_id,), self._db.read_only)
            return found[0] if found else require_message(connection, message_id)

    def branch(self, message_id: str) -> list[Message]:
        """The messages from the root to this one, both included. Raises NotFoundError."""
        with self._db.reading() as connection:
            found = with_pieces(
                connection,
                # A parent is always older than its child, so that even a damaged tree cannot make this run for ever.
                "JOIN (WITH RECURSIVE up (id, parent_id, num) AS ("
                "SELECT id, parent_id, num FROM messages WHERE id = ? UNION ALL "
                "SELECT p.id, p.parent_id, p.num FROM up CROSS JOIN messages p"
                " WHERE p.id = up.parent_id AND p.num < up.num"
                ") SELECT id FROM up) AS path ON path.id = m.id ORDER BY m.num",
                (message_id,),
                self._db.read_only,
            )
            if not found:
                require_message(connection, message_id)
            return found

    def siblings(self, message_id: str) -> list[Message]:
        """The versions of a message: those with the same parent, itself included, oldest first.

        Raises NotFoundError.
        """
        with self._db.reading() as connection:
            message = require_message(connection, message_id)
            return with_pieces(
                connection,
                # The + keeps roots away from the index on parent_id, where those of all conversations stand together.
                "WHERE m.conversation_id = ? AND +m.parent_id IS ? ORDER BY m.num"
                if message.parent_id is None
                else "WHERE m.conversation_id = ? AND m.parent_id = ? ORDER BY m.num",
                (message.conversation_id, message.parent_id),
                self._db.read_only,
            )

    def newest_leaf(self, message_id: str) -> Message:
        """The end of the newest branch that goes through this message: the head to show when it is chosen.

        Raises NotFoundError.
        """
        with self._db.reading() as connection:
            row = connection.execute(
                "WITH RECURSIVE down (id, num) AS (SELECT id, num FROM messages WHERE id = ? UNION ALL"
                " SELECT c.id, c.num FROM down CROSS JOIN messages c WHERE c.num ="
                " (SELECT max(num) FROM messages WHERE parent_id = down.id AND num > down.num)"
                ") SELECT id FROM down ORDER BY num DESC LIMIT 1",
                (message_id,),
            ).fetchone()
            require_message(connection, message_id)
            return with_pieces(connection, "WHERE m.id = ?", (row[0],), self._db.read_only)[0]
