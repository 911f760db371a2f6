"""One SQLite connection shared by threads: pragmas, transactions, and SQLite's errors in plain words."""

from __future__ import annotations

import contextlib
import errno
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from backend.api.errors import (
    DatabaseDamagedError,
    DiskFullError,
    ReadOnlyError,
    StorageError,
)

__all__ = [
    "PAGE_SIZE",
    "SQLITE_ERRORS",
    "Database",
    "check_request",
    "connect",
    "damaged",
    "disk_full",
    "file_error",
    "read_only",
    "translate",
]

T = TypeVar("T")

PAGE_SIZE = 4096  # set explicitly: recovery of a file whose header is gone relies on it
BUSY_MS = 5000
_DISK_RESERVE = 1 << 20  # less free space than this explains a failed write
#: what the sqlite3 module raises; the second where a message of SQLite quotes damaged text
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_CORRUPT_SEARCH_INDEX = 267  # SQLITE_CORRUPT_VTAB: the tables are sound, their full-text index is not


def connect(path: Path, *, uri: str = "") -> sqlite3.Connection:
    """Open a connection with our pragmas. A new file becomes a WAL database. Raises SQLITE_ERRORS."""
    # isolation_level None: transactions begin where we say so. Threads share the connection behind Database's lock.
    connection = sqlite3.connect(uri or path, isolation_level=None, check_same_thread=False, uri=bool(uri))
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")  # notice a damaged page when it is read
        connection.execute("PRAGMA temp_store = MEMORY")
        # NORMAL in WAL mode: a write survives the death of the process; a power cut may cost the last seconds but
        # never the file. FULL would wait for the disk at every streamed piece.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        if not uri and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        raise
    return connection


def check_request(database: Path) -> Path:
    """The file whose existence asks the next opening for a full check."""
    return database.with_name(database.name + "-check")


def disk_full(path: Path, details: str = "") -> DiskFullError:
    """The error for a disk without room."""
    return DiskFullError(
        "There is no room left on the disk that holds your conversations.",
        why=f"{path.parent} is full; what was saved before is safe.",
        remedy="Free some space, then try again.",
        details=details,
    )


def read_only(path: Path, details: str = "") -> ReadOnlyError:
    """The error for a folder or file that cannot be written."""
    return ReadOnlyError(
        "Your conversations cannot be saved.",
        why=f"The folder {path.parent} or a file in it may only be read.",
        remedy="Allow writing there, or choose another data folder, then start Nutshell again.",
        details=details,
    )


def damaged(path: Path, details: str = "") -> DatabaseDamagedError:
    """The error for damage that is found while the database is in use."""
    return DatabaseDamagedError(
        "The file with your conversations is damaged.",
        why=f"A part of {path.name} could not be read.",
        remedy="Close Nutshell and start it again: it then sets the damaged file aside and saves what is readable.",
        details=details,
    )


def file_error(path: Path, error: OSError) -> StorageError:
    """What an operating system error on the database's files means."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return disk_full(path, str(error))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return read_only(path, str(error))
    return StorageError(
        "The file with your conversations cannot be used.",
        why=f"The system refused access to {path}.",
        remedy="Check that the disk is there and that the folder exists, then try again.",
        details=str(error),
    )


def _low_on_space(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _DISK_RESERVE
    except OSError:
        return False


def translate(path: Path, error: Exception) -> StorageError:
    """The error of ours that says what one of SQLITE_ERRORS means."""
    code: int = getattr(error, "sqlite_errorcode", 0) or 0
    name: str = getattr(error, "sqlite_errorname", "") or type(error).__name__
    details = f"{name}: {error}"
    primary = code & 0xFF
    if isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error):
        return damaged(path, details)
    if primary == sqlite3.SQLITE_FULL:
        return disk_full(path, details)
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, details)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return read_only(path, details)
    if primary == sqlite3.SQLITE_IOERR and _low_on_space(path):
        return disk_full(path, details)  # quotas and the -shm file report a full disk as an input/output error
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StorageError(
            "The file with your conversations is busy.",
            why="Another program has been using it for several seconds.",
            remedy="Try again in a moment.",
            details=details,
        )
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return StorageError(
            "The file with your conversations could not be read or written.",
            why=f"The disk reported a fault for {path.name}.",
            remedy="Check that the disk is connected and sound, then try again.",
            details=details,
        )
    return StorageError(
        "The conversations could not be read or written.",
        remedy="Try again; if it stays, start Nutshell again.",
        details=details,
    )


class Database:
    """A connection and its lock.

    Every method is safe to call from any thread and raises only errors of `backend.api.errors`.

    Attributes:
        path: the database file. read_only: True where nothing can be written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._connection = connection
        self._lock = threading.RLock()
        self._open = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading, held by this thread, errors translated."""
        with self._lock:
            self._check_open()
            try:
                yield self._connection
            except SQLITE_ERRORS as error:
                raise self.explain(error) from error

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one transaction: all of it is stored, or none. `work` may run twice."""
        with self._lock:
            self._check_writable()
            try:
                return self._transaction(work)
            except SQLITE_ERRORS as error:
                if getattr(error, "sqlite_errorcode", 0) != _CORRUPT_SEARCH_INDEX:
                    raise self.explain(error) from error
            try:
                self.rebuild_search()
                return self._transaction(work)
            except SQLITE_ERRORS as error:
                raise self.explain(error) from error

    def run(self, sql: str, values: tuple[object, ...]) -> int:
        """Run one statement as its own transaction and give the number of rows it changed."""
        with self._lock:
            self._check_writable()
            try:
                return self._connection.execute(sql, values).rowcount
            except SQLITE_ERRORS as error:
                raise self.explain(error) from error

    def rebuild_search(self) -> None:
        """Build the full-text indexes again from the tables. Raises sqlite3.Error."""
        with self._lock:
            for table in ("message_search", "title_search"):
                self._connection.execute(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")

    def explain(self, error: Exception) -> StorageError:
        """Translate, and where the file is damaged, ask the next opening for a full check."""
        explained = translate(self.path, error)
        if isinstance(explained, DatabaseDamagedError):
            with contextlib.suppress(OSError):
                check_request(self.path).touch()
        return explained

    def close(self) -> None:
        """Close the connection; SQLite then folds its log into the file. Twice is harmless."""
        with self._lock:
            if self._open:
                self._open = False
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite itself rolls back on some errors (a full disk)
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        return result

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("The conversations are closed.", remedy="Start Nutshell again.")

    def _check_writable(self) -> None:
        self._check_open()
        if self.read_only:
            raise read_only(self.path)
