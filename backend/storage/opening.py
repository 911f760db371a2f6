"""Opening the database: one at a time, checked where there is a reason, mended, migrated.

A clean stop leaves no log file behind. Where one lies there (the process was killed, or the power went), where damage
was noticed at run time, and where the file is small, the whole file is checked: 0.6 ms per MB, so that a start after a
kill with 160 MB of conversations costs 0.1 s, and a clean one never more than 5 ms.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backend.api.errors import DatabaseDamagedError, DiskFullError, ReadOnlyError, StorageError

from .database import (
    PAGE_SIZE,
    SQLITE_ERRORS,
    Database,
    check_request,
    connect,
    damaged,
    file_error,
    read_only,
    translate,
)
from .liveness import Owner, living_owners
from .locks import FileLock
from .messages import fold_interrupted
from .migrations import LATEST, MIGRATIONS, Migration, migrate, schema_columns
from .recovery import finish_renaming, recover
from .wal import committed_frames

__all__ = ["Opened", "open_database"]

APPLICATION_ID = 0x4E757473
_GATE_SECONDS = 30.0  # another process may be checking or migrating a large file
_ALWAYS_CHECKED = 8 << 20  # bytes
_LARGEST_LOG = 1 << 28  # a log is 4 MB as a rule; above this it is not kept in memory for a recovery


@dataclass
class Opened:
    """An open database, who has it, and what the user must be told."""

    database: Database
    owner: Owner | None
    notices: list[str] = field(default_factory=list)


def open_database(path: Path, backups: Path, migrations: Sequence[Migration] = MIGRATIONS) -> Opened:
    """Open or create the database at `path`.

    Where nothing can be written (a read-only folder, a full disk) it opens for reading, with a notice. Raises
    StorageError and its subclasses.
    """
    gate = FileLock(path.with_name(path.name + "-lock"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        entered = gate.acquire(_GATE_SECONDS)
    except OSError as error:
        return _open_for_reading(path, file_error(path, error))
    if not entered:
        raise StorageError(
            "Your conversations are being opened by another Nutshell.",
            why="It has been checking them for half a minute.",
            remedy="Wait until it has finished, then try again.",
        )
    try:
        return _open_behind_gate(path, backups, migrations)
    except (DiskFullError, ReadOnlyError) as error:
        return _open_for_reading(path, error)
    except OSError as error:
        raise file_error(path, error) from error
    finally:
        gate.release()


def _open_behind_gate(path: Path, backups: Path, migrations: Sequence[Migration]) -> Opened:
    finish_renaming(path)
    others = living_owners(path)
    log = _left_log(path) if not others else b""
    suspicious = bool(log) or (check_request(path).exists() and not others)
    notices: list[str] = []
    try:
        connection = _connect_checked(path, log, suspicious=suspicious, alone=not others)
    except DatabaseDamagedError as error:
        if others:
            error.remedy = "Close every window and command of Nutshell, then start it again."
            raise
        notices.append(recover(path, log))
        connection = _connect_checked(path, b"", suspicious=False, alone=True)
    owner = Owner(path)
    try:
        if suspicious:
            check_request(path).unlink(missing_ok=True)
        notices += _fit_version(connection, path, backups, migrations)
        owner.register()
        _end_orphans(connection, path, others)
    except BaseException:
        owner.leave()
        connection.close()
        raise
    return Opened(Database(path, connection), owner, notices)


def _left_log(path: Path) -> bytes:
    log = path.with_name(path.name + "-wal")
    if not path.exists():
        return b""  # the log of a file that somebody removed
    try:
        return log.read_bytes() if log.stat().st_size <= _LARGEST_LOG else b"\0"
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b""


def _connect_checked(path: Path, log: bytes, *, suspicious: bool, alone: bool) -> sqlite3.Connection:
    """A connection to a sound file of ours. Raises DatabaseDamagedError and other StorageErrors."""
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise damaged(path, "not a file")
    if path.exists() and not _writable(path):
        raise read_only(path)
    if len(log) > 32 and path.exists() and path.stat().st_size == 0:
        raise damaged(path, "empty, with a log")  # SQLite would take it for new and remove the log
    try:
        connection = connect(path)
    except SQLITE_ERRORS as error:
        raise translate(path, error) from error
    try:
        _check_ours(connection, path)
        if suspicious:
            _check_log(connection, path, log)
        if suspicious or (alone and path.stat().st_size <= _ALWAYS_CHECKED):
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise damaged(path, str(problem))
        if check_request(path).exists():
            _read_all(connection)
    except SQLITE_ERRORS as error:
        connection.close()
        raise translate(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _writable(path: Path) -> bool:
    try:
        with path.open("r+b"):
            return True
    except PermissionError:
        return False
    except OSError as error:
        raise file_error(path, error) from error


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    if tables and mark != APPLICATION_ID:
        raise damaged(path, f"application_id {mark:#x}")
    if not tables and connection.execute("PRAGMA user_version").fetchone()[0]:
        raise damaged(path, "no tables")


def _check_log(connection: sqlite3.Connection, path: Path, log: bytes) -> None:
    """Raise DatabaseDamagedError where SQLite stops at a damaged frame and forgets the rest of the log."""
    expected = committed_frames(log, PAGE_SIZE)
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if expected is None or frames < expected:
        raise damaged(path, f"write-ahead log: {frames} of {expected} frames")


def _read_all(connection: sqlite3.Connection) -> None:
    """Read every row: damage inside a text breaks no rule of the file, and only reading shows it."""
    for table in schema_columns(connection):
        if not table.endswith("_search"):
            for _ in connection.execute(f'SELECT * FROM "{table}"'):
                pass


def _fit_version(
    connection: sqlite3.Connection, path: Path, backups: Path, migrations: Sequence[Migration]
) -> Iterable[str]:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version <= migrations[-1].version:
        return migrate(connection, path, backups, migrations)
    _check_newer(connection, path, version)
    return [
        "Your conversations were last used with a newer version of Nutshell; what this version does not know is kept."
    ]


def _check_newer(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """A newer file is fine when it has all that we use, and asks for nothing that we do not know."""
    with contextlib.closing(sqlite3.connect(":memory:")) as scratch:
        for migration in MIGRATIONS:
            migration.apply(scratch)
        ours = schema_columns(scratch)
    theirs = schema_columns(connection)
    usable = all(
        table in theirs
        and columns.keys() <= theirs[table].keys()
        and not any(required and name not in columns for name, required in theirs[table].items())
        for table, columns in ours.items()
    )
    if not usable:
        raise StorageError(
            "Your conversations belong to a newer version of Nutshell.",
            why=f"They have form {version}, and this version knows {LATEST}; they were not changed.",
            remedy="Use the newer version again, or choose another data folder for this one.",
        )


def _end_orphans(connection: sqlite3.Connection, path: Path, living: set[str]) -> None:
    """Answers whose process is gone keep the text that arrived, and say that they were interrupted."""
    query = "SELECT id, owner FROM messages WHERE status = 'streaming'"
    try:
        orphans = [message for message, owner in connection.execute(query) if owner not in living]
        if orphans:
            connection.execute("BEGIN IMMEDIATE")
            fold_interrupted(connection, orphans)
            connection.execute("COMMIT")
    except SQLITE_ERRORS as error:
        raise translate(path, error) from error


def _open_for_reading(path: Path, reason: StorageError) -> Opened:
    """The last way to show what is there. Raises `reason` where there is nothing to show."""
    if not path.is_file():
        raise reason
    address = path.resolve().as_uri()
    # A log can only be read with a file for shared memory beside it; without a log the file alone is the whole.
    for uri in (f"{address}?mode=ro", f"{address}?mode=ro&immutable=1"):
        connection = None
        try:
            connection = connect(path, uri=uri)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < LATEST:
                break  # it would have to be migrated
            if version > LATEST:
                _check_newer(connection, path, version)
        except (*SQLITE_ERRORS, StorageError):
            if connection is not None:
                connection.close()
            continue
        log = path.with_name(path.name + "-wal")
        missing = "immutable" in uri and log.exists() and log.stat().st_size > 0
        notice = f"{reason.what} {reason.why} You can read them, but nothing new is kept. {reason.remedy}"
        if missing:
            notice += " The last messages may not be shown."
        return Opened(Database(path, connection, read_only=True), None, [notice])
    if connection is not None:
        connection.close()
    raise reason
