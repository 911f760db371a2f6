"""Attachments: the bytes of a file that was given with a message, and the text that was read out of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backend.api.errors import InvalidRequestError, NotFoundError
from backend.api.schemas import Attachment

from .database import Database
from .messages import require_message
from .rows import ATTACHMENT, clean, new_id, to_attachment

__all__ = ["MAX_ATTACHMENT", "Attachments", "StoredFile", "copying", "keep_files", "too_large"]

#: bytes; SQLite reads and writes a blob whole, so this much memory is held twice for a moment
MAX_ATTACHMENT = 64 << 20


def _gone() -> NotFoundError:
    return NotFoundError("This attachment does not exist any more.", remedy="Attach the file again.")


def too_large(size: int) -> InvalidRequestError:
    """A file of `size` bytes is more than MAX_ATTACHMENT."""
    return InvalidRequestError(
        "This file is too large to attach.",
        why=f"It has {size / 1e6:,.0f} MB; the most is {MAX_ATTACHMENT / 1e6:,.0f} MB."
        if size != MAX_ATTACHMENT + 1
        else f"It has more than {MAX_ATTACHMENT / 1e6:,.0f} MB.",
        remedy="Attach a smaller file, or only the part that matters.",
    )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on its way into the database."""

    name: str
    mime: str
    text: str
    content: bytes


def keep_files(connection: sqlite3.Connection, message_id: str, files: Iterable[StoredFile]) -> None:
    """Keep files with a message, inside a transaction."""
    connection.executemany(
        "INSERT INTO attachments (id, message_id, name, mime, size, created_at, text, content)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                new_id(),
                message_id,
                clean(one.name),
                one.mime,
                len(one.content),
                time.time(),
                clean(one.text),
                one.content,
            )
            for one in files
        ),
    )


def copying(files: Iterable[StoredFile], files_of: str | None) -> Callable[[sqlite3.Connection, str], None]:
    """For `add_message(also=...)`: the attachments of another message come along, then `files`."""

    def keep(connection: sqlite3.Connection, message_id: str) -> None:
        if files_of is not None:
            rows = connection.execute("SELECT num FROM attachments WHERE message_id = ? ORDER BY num", (files_of,))
            for (number,) in rows.fetchall():
                connection.execute(
                    "INSERT INTO attachments (id, message_id, name, mime, size, created_at, extra, text, content)"
                    " SELECT ?, ?, name, mime, size, created_at, extra, text, content FROM attachments WHERE num = ?",
                    (new_id(), message_id, number),
                )
        keep_files(connection, message_id, files)

    return keep


class Attachments:
    """The part of the store that keeps attachments."""

    _db: Database

    def add_attachment(self, message_id: str, name: str, mime: str, content: bytes, *, text: str = "") -> Attachment:
        """Keep a copy of a file with a message.

        Raises NotFoundError for an unknown message, InvalidRequestError over MAX_ATTACHMENT bytes.
        """
        if len(content) > MAX_ATTACHMENT:
            raise too_large(len(content))

        def work(connection: sqlite3.Connection) -> Attachment:
            require_message(connection, message_id)
            attachment_id = new_id()
            connection.execute(
                "INSERT INTO attachments (id, message_id, name, mime, size, created_at, text, content)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (attachment_id, message_id, clean(name), mime, len(content), time.time(), clean(text), content),
            )
            row = connection.execute(f"SELECT {ATTACHMENT} FROM attachments WHERE id = ?", (attachment_id,)).fetchone()
            return to_attachment(row)

        return self._db.write(work)

    def attachments(self, message_id: str) -> list[Attachment]:
        """The attachments of a message in the order in which they were added; none for an unknown message."""
        with self._db.reading() as connection:
            rows = connection.execute(
                f"SELECT {ATTACHMENT} FROM attachments WHERE message_id = ? ORDER BY num", (message_id,)
            ).fetchall()
        return [to_attachment(row) for row in rows]

    def attachment(self, attachment_id: str) -> Attachment:
        """One attachment without its bytes. Raises NotFoundError."""
        with self._db.reading() as connection:
            row = connection.execute(f"SELECT {ATTACHMENT} FROM attachments WHERE id = ?", (attachment_id,)).fetchone()
        if row is None:
            raise _gone()
        return to_attachment(row)

    def attachment_content(self, attachment_id: str) -> bytes:
        """The bytes of an attachment. Raises NotFoundError."""
        with self._db.reading() as connection:
            row = connection.execute("SELECT content FROM attachments WHERE id = ?", (attachment_id,)).fetchone()
        if row is None:
            raise _gone()
        return bytes(row[0])

    def delete_attachment(self, attachment_id: str) -> None:
        """Remove an attachment. Raises NotFoundError."""
        if self._db.run("DELETE FROM attachments WHERE id = ?", (attachment_id,)) == 0:
            raise _gone()
