"""Numbered migrations: `PRAGMA user_version` says how many have run.

To change the schema, add `000N_what.sql` here and one line to MIGRATIONS; never edit one that has been released. Where
SQL is not enough, give a function instead of the file's. The tests keep the schema of every version.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.api.errors import StorageError
from backend.storage.database import file_error, translate

__all__ = ["LATEST", "MIGRATIONS", "Migration", "migrate", "schema_columns", "script"]

_KEEP_BACKUPS = 5


@dataclass(frozen=True)
class Migration:
    """One step of the schema. `apply` runs inside a transaction and must not end it."""

    version: int
    name: str
    apply: Callable[[sqlite3.Connection], None]


def _statements(text: str) -> Iterator[str]:
    # Connection.executescript would commit the transaction that the migration must stay inside.
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def script(name: str) -> Callable[[sqlite3.Connection], None]:
    """A migration from an SQL file of this folder."""

    def apply(connection: sqlite3.Connection) -> None:
        for statement in _statements((Path(__file__).parent / name).read_text("utf-8")):
            connection.execute(statement)

    return apply


MIGRATIONS: tuple[Migration, ...] = (
    Migration(1, "initial", script("0001_initial.sql")),
    Migration(2, "signs", script("0002_signs.sql")),
    Migration(3, "prompts", script("0003_prompts.sql")),
)
LATEST = MIGRATIONS[-1].version


def schema_columns(connection: sqlite3.Connection) -> dict[str, dict[str, bool]]:
    """Table -> column -> True where an INSERT must give the column a value. Indexes' own tables are left out."""
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return {
        name: {
            column: bool(required) and default is None and not primary
            for _, column, _, required, default, primary in connection.execute(f'PRAGMA table_info("{name}")')
        }
        for (name,) in tables
        if not name.startswith("sqlite_") and not name.startswith(("message_search_", "title_search_"))
    }


def migrate(
    connection: sqlite3.Connection, path: Path, backups: Path, migrations: Sequence[Migration] = MIGRATIONS
) -> list[str]:
    """Bring the database up to date, one transaction and one backup per step; gives sentences for the user.

    Raises StorageError when a step fails: the database is then as it was before that step, and its backup is kept.
    """
    notices = []
    fresh = connection.execute("PRAGMA user_version").fetchone()[0] == 0  # nothing to keep a copy of
    for migration in migrations:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if migration.version <= version:
            continue
        saved = None if fresh else _back_up(connection, path, backups, version)
        connection.execute("PRAGMA foreign_keys = OFF")  # has no effect inside a transaction
        try:
            connection.execute("BEGIN IMMEDIATE")
            migration.apply(connection)
            if broken := connection.execute("PRAGMA foreign_key_check").fetchall():
                raise sqlite3.IntegrityError(f"foreign keys broken after migration: {broken[:3]}")
            connection.execute(f"PRAGMA user_version = {migration.version}")
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise _failure(path, migration, saved, error) from error
        finally:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA foreign_keys = ON")
        if saved is not None:
            notices.append(f"Your conversations were brought up to date; a copy from before is {saved.name}.")
    return notices


def _failure(path: Path, migration: Migration, saved: Path | None, error: Exception) -> StorageError:
    if isinstance(error, sqlite3.Error):
        explained = translate(path, error)
        if type(explained) is not StorageError:  # a full disk, a read-only file, damage: these have their own words
            return explained
    return StorageError(
        "Your conversations could not be brought up to date for this version of Nutshell.",
        why="They are unchanged" + (f", and a copy is kept as {saved}." if saved else "."),
        remedy="Go on with the version of Nutshell that you used before, and report this.",
        details=f"migration {migration.version} ({migration.name}): {type(error).__name__}: {error}",
    )


def _back_up(connection: sqlite3.Connection, path: Path, backups: Path, version: int) -> Path:
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    target = backups / f"{path.stem}-v{version}-{stamp}.db"
    part = target.with_suffix(".part")
    try:
        backups.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(part)) as copy:
            connection.backup(copy)
        part.replace(target)
        # the stamp sorts by time within a version, and versions only grow
        kept = sorted(backups.glob(f"{path.stem}-v*.db"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-_KEEP_BACKUPS]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise file_error(target, error) from error
    except sqlite3.Error as error:
        part.unlink(missing_ok=True)
        raise translate(target, error) from error
    return target
