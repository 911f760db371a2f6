"""Setting a damaged database aside and saving what is readable of it into a new one.

Every page is read for itself (`pages`), so that a bad page costs its own rows only. Rows belong to a table by its tree;
where trees or the list of tables are damaged, a page that nobody claims is known by the look of its rows. What the
new database gets is checked and joined again: a message whose parent is lost hangs under the one before it.

The order of steps survives a kill at any point: the new file is complete before the damaged one is renamed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .database import PAGE_SIZE, check_request, file_error, translate
from .migrations import LATEST, MIGRATIONS, schema_columns
from .pages import Pages, Value
from .wal import newest_pages

__all__ = ["finish_renaming", "recover"]

Row = dict[str, Value]


def _is_id(value: Value) -> bool:
    return isinstance(value, str) and len(value) == 32 and all(digit in "0123456789abcdef" for digit in value)


def _is_time(value: Value) -> bool:
    return isinstance(value, int | float) and 0 <= value < 1e11


def _is_message(row: Row) -> bool:
    return _is_id(row.get("conversation_id")) and row.get("role") in ("system", "user", "assistant")


#: table -> what a row must look like besides a good id, in the order in which they are filled
_TABLES: dict[str, Callable[[Row], bool]] = {
    "folders": lambda row: isinstance(row.get("name"), str) and _is_time(row.get("created_at")),
    "presets": lambda row: isinstance(row.get("name"), str) and "system_prompt" in row,
    "conversations": lambda row: _is_time(row.get("created_at")) and _is_time(row.get("updated_at")),
    "messages": _is_message,
    "message_pieces": lambda row: isinstance(row.get("text"), str),
    "prompts": lambda row: isinstance(row.get("name"), str) and isinstance(row.get("text"), str),
    "attachments": lambda row: _is_id(row.get("message_id")) and isinstance(row.get("content"), bytes),
}
# A page that no tree claims is tried against these, the most telling first.
_BY_LOOK = ("messages", "attachments", "conversations", "message_pieces", "presets", "prompts", "folders")


@dataclass
class _Found:
    rows: dict[str, dict[int, Row]] = field(default_factory=lambda: {table: {} for table in _TABLES})
    unreadable: int = 0  # pages and rows

    def add(self, table: str, number: int, row: Row, *, replace: bool) -> None:
        if replace or number not in self.rows[table]:
            self.rows[table][number] = row


def _fits(table: str, row: Row) -> bool:
    key = "message_id" if table == "message_pieces" else "id"
    return _is_id(row.get(key)) and _TABLES[table](row)


def _named(columns: Sequence[str], number: int, values: Sequence[Value]) -> Row:
    row: Row = dict(zip(columns, values, strict=False))
    row["num"] = number
    return row


def _columns_on_disk(sql: Value, ours: Sequence[str]) -> Sequence[str]:
    """The column names of a CREATE TABLE statement of the damaged file; ours where it is not readable."""
    if isinstance(sql, str) and sql.lstrip().upper().startswith("CREATE TABLE"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(":memory:")) as scratch:
            scratch.execute(sql)
            (columns,) = schema_columns(scratch).values()
            return list(columns)
    return ours


def _salvage(pages: Pages, columns: dict[str, list[str]]) -> _Found:
    found = _Found()
    schema = pages.walk(1)
    roots: dict[str, tuple[int, Sequence[str]]] = {}
    for leaf in schema.leaves:
        for entry in pages.rows(leaf):
            if entry is None or len(entry[1]) < 5:
                found.unreadable += 1
                continue
            kind, name, _, root, sql = entry[1][:5]
            if kind == "table" and isinstance(name, str) and name in _TABLES and isinstance(root, int):
                roots[name] = (root, _columns_on_disk(sql, columns[name]))
    found.unreadable += schema.unreadable
    claimed = set(schema.seen)
    for table, (root, names) in roots.items():
        walk = pages.walk(root)
        found.unreadable += walk.unreadable
        claimed |= walk.seen
        for leaf in walk.leaves:
            for entry in pages.rows(leaf):
                row = None if entry is None else _named(names, *entry)
                if row is None or not _fits(table, row):
                    found.unreadable += 1
                else:
                    found.add(table, int(row["num"] or 0), row, replace=True)
    if found.unreadable or len(roots) < len(_TABLES):
        found.unreadable += len(roots) < len(_TABLES)
        # Some tree is broken: its leaves may still be there. Freed pages hold what was deleted, and stay out.
        free = pages.free_pages()
        for number in range(2, pages.count + 1):
            if number not in claimed and number not in free and pages.kind(number) == 13:
                _by_look(pages, number, roots, columns, found)
    return found


def _by_look(
    pages: Pages,
    number: int,
    roots: dict[str, tuple[int, Sequence[str]]],
    columns: dict[str, list[str]],
    found: _Found,
) -> None:
    for entry in pages.rows(number):
        if entry is None:
            continue
        for table in _BY_LOOK:
            row = _named(roots[table][1] if table in roots else columns[table], *entry)
            if _fits(table, row):
                found.add(table, entry[0], row, replace=False)
                break


def _fill(connection: sqlite3.Connection, found: _Found, columns: dict[str, list[str]]) -> None:
    for table, rows in found.rows.items():
        for number in sorted(rows):
            row = {name: value for name, value in rows[number].items() if name in columns[table] and value is not None}
            if table == "messages":
                row.setdefault("status", "interrupted")
                row.setdefault("created_at", 0.0)
            # OR IGNORE: two versions of one row, or a value that the schema does not take
            connection.execute(
                f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                tuple(row.values()),
            )


def _join(connection: sqlite3.Connection, now: float) -> None:
    """Mend what refers to something lost, so that the foreign keys hold again."""
    connection.execute(
        "INSERT INTO conversations (id, title, created_at, updated_at)"
        " SELECT conversation_id, 'Recovered conversation', min(created_at), ?1 FROM messages"
        " WHERE conversation_id NOT IN (SELECT id FROM conversations) GROUP BY conversation_id",
        (now,),
    )
    # A parent must be an older message of the same conversation. The one before it is the best guess for a lost one.
    connection.execute(
        "UPDATE messages AS m SET parent_id = (SELECT p.id FROM messages p WHERE p.conversation_id = m.conversation_id"
        " AND p.num < m.num ORDER BY p.num DESC LIMIT 1) WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM"
        " messages p WHERE p.id = m.parent_id AND p.conversation_id = m.conversation_id AND p.num < m.num)"
    )
    connection.execute(
        "UPDATE conversations AS c SET head_id = (SELECT id FROM messages WHERE conversation_id = c.id"
        " ORDER BY num DESC LIMIT 1) WHERE head_id IS NULL OR head_id NOT IN (SELECT id FROM messages)"
    )
    connection.execute("UPDATE conversations SET folder_id = NULL WHERE folder_id NOT IN (SELECT id FROM folders)")
    connection.execute("UPDATE conversations SET preset_id = NULL WHERE preset_id NOT IN (SELECT id FROM presets)")
    connection.execute("UPDATE folders SET parent_id = NULL WHERE parent_id NOT IN (SELECT id FROM folders)")
    connection.execute("DELETE FROM message_pieces WHERE message_id NOT IN (SELECT id FROM messages)")
    connection.execute("DELETE FROM attachments WHERE message_id NOT IN (SELECT id FROM messages)")


def _build(path: Path, target: Path, log: bytes) -> tuple[int, int, bool]:
    """Write a new database with what is readable; gives conversations, messages, and whether something is missing."""
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        for migration in MIGRATIONS:
            migration.apply(connection)
        connection.execute(f"PRAGMA user_version = {LATEST}")
        connection.execute("PRAGMA defer_foreign_keys = ON")
        missing = True
        if path.is_file():
            columns = {name: list(names) for name, names in schema_columns(connection).items()}
            with Pages(path, PAGE_SIZE, newest_pages(log, PAGE_SIZE)) as pages:
                found = _salvage(pages, columns)
                missing = found.unreadable > 0 or pages.shortened > 0
            # Indexing all at once takes a quarter of the time that row by row would (5 s for 100,000 messages).
            triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                connection.execute(f"DROP TRIGGER {name}")
            _fill(connection, found, columns)
            _join(connection, time.time())
            for _, sql in triggers:
                connection.execute(sql)
            for index in ("message_search", "title_search"):
                connection.execute(f"INSERT INTO {index} ({index}) VALUES ('rebuild')")
        connection.execute("COMMIT")
        conversations = connection.execute("SELECT count(*) FROM conversations").fetchone()[0]
        messages = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
    return conversations, messages, missing


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _target(path: Path) -> Path:
    return path.with_name(f"{path.stem}.recovered.part")


def _aside(path: Path) -> Path:
    stamp = time.strftime("%Y-%m-%d")
    name = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    count = 2
    while name.exists():
        name = path.with_name(f"{path.stem}.damaged-{stamp}-{count}{path.suffix}")
        count += 1
    return name


def finish_renaming(path: Path) -> None:
    """Finish or undo a recovery that was killed. To be called behind the gate, before the database is opened."""
    target = _target(path)
    if not target.exists():
        return
    if path.exists():
        target.unlink()  # perhaps not complete; the damaged file is still in its place
        _beside(target, "-journal").unlink(missing_ok=True)
        return
    aside = _aside(path)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            _beside(path, suffix).replace(_beside(aside, suffix))
    target.replace(path)


def recover(path: Path, log: bytes) -> str:
    """Set the database at `path` aside and put a new one with what is readable in its place.

    `log` is the write-ahead log as it was before SQLite touched the file. To be called behind the gate, with nobody
    else alive. Gives the sentence for the user. Raises DiskFullError, ReadOnlyError, StorageError; the damaged file is
    then still in its place.
    """
    target = _target(path)
    try:
        target.unlink(missing_ok=True)
        conversations, messages, missing = _build(path, target, log)
        aside = _aside(path)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                _beside(path, suffix).replace(_beside(aside, suffix))
        if len(log) > 32 and not _beside(aside, "-wal").exists():
            _beside(aside, "-wal").write_bytes(log)
        target.replace(path)
        check_request(path).unlink(missing_ok=True)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise translate(path, error) from error
    except OSError as error:
        raise file_error(path, error) from error
    return _sentence(conversations, messages, missing, aside)


def _sentence(conversations: int, messages: int, missing: bool, aside: Path) -> str:
    if conversations:
        saved = (
            f"{conversations:,} conversation{'s' if conversations != 1 else ''} with {messages:,}"
            f" message{'s' if messages != 1 else ''} could be saved"
            + ("; some text may be missing." if missing else ", which is all that was in it.")
        )
    else:
        saved = "Nothing in it could be read."
    return (
        f"The file with your conversations was damaged. {saved}"
        f" The damaged file is kept as {aside.name} in {aside.parent}."
    )
