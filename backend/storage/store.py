"""The store: conversations, messages, attachments, folders, presets and prompts in one SQLite file.

README.md in this folder describes the tables, what is guaranteed, and how a message lives.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from backend.api.errors import NutshellError

from .attachments import Attachments
from .conversations import Conversations
from .folders import Folders
from .incoming import Incoming
from .mending import Mending
from .messages import Messages, fold_interrupted
from .opening import Opened, open_database
from .presets import Presets
from .prompts import Prompts
from .search import Search

__all__ = ["Store"]


class Store(Conversations, Messages, Mending, Incoming, Attachments, Folders, Presets, Prompts, Search):
    """All that is kept. Safe to call from any thread; every call is short and synchronous.

    Calls raise errors of `backend.api.errors` only: NotFoundError, ConflictError, InvalidRequestError, and StorageError
    with its subclasses DiskFullError, ReadOnlyError and DatabaseDamagedError.

    Attributes:
        notices: sentences for the user about what happened at opening (a recovery, a migration, a read-only folder).
        read_only: True where nothing can be written; every change then raises ReadOnlyError.
    """

    def __init__(self, opened: Opened) -> None:
        """Use `Store.open`."""
        self._db = opened.database
        self._owner = opened.owner
        self._owner_id = opened.owner.id if opened.owner else ""
        self._streams = set()
        self._closing = threading.Event()
        self.notices = opened.notices
        self.read_only = opened.database.read_only
        self.path = opened.database.path

    @classmethod
    def open(cls, path: Path, *, backups: Path | None = None) -> Self:
        """Open the database at `path`, or create it; `backups` is a folder ("backups" beside it by default).

        Ends what a dead process left streaming, migrates (with a backup), sets a damaged file aside and saves what is
        readable. Raises StorageError and its subclasses.
        """
        return cls(open_database(path, backups or path.parent / "backups"))

    def close(self) -> None:
        """Close the file. What this store was still streaming keeps its text and is marked as interrupted."""
        self._end_drawing()
        if self._streams:
            ours = sorted(self._streams)
            self._streams.clear()
            # The next opening does the same; a full disk must not keep the program from ending.
            with contextlib.suppress(NutshellError):
                self._db.write(
                    lambda connection: fold_interrupted(
                        connection,
                        [
                            message
                            for message in ours
                            if connection.execute("SELECT 1 FROM messages WHERE id = ?", (message,)).fetchone()
                        ],
                    )
                )
        self._db.close()
        if self._owner is not None:
            self._owner.leave()
            self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
