"""Full-text search over titles and messages.

Words match whole, the last one as a beginning, "quoted words" as a phrase; case and accents do not matter, and all
words must be there. The index cuts text into words at spaces and punctuation. So what is not a word to it (Chinese,
Japanese, Thai: no spaces; `->` or the end of `C++`: no letters) is looked for letter by letter instead, in what the
words have left over or in everything; signatures (`signs.py`) tell which messages need not be read for that. Nothing
that a user types is an error.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import threading
import unicodedata
from dataclasses import dataclass

from backend.api.errors import NutshellError
from backend.api.schemas import SearchHit

from .database import SQLITE_ERRORS, Database
from .signs import condition, draw_signatures

__all__ = ["MARK_END", "MARK_START", "Query", "Search", "parse"]

MARK_START = "\u2068"
MARK_END = "\u2069"
_SNIPPET_WORDS = 20
_SNIPPET_CHARS = 60  # on each side of a match that was found letter by letter
_MAX_WORDS = 32
_CORRUPT_SEARCH_INDEX = 267
_DRAWN_AT_ONCE, _DRAW_PAUSE_S = 50, 0.005  # signatures: 50 take 2 ms of English, 15 of Chinese
_LONGEST_PATTERN = 1000  # SQLite takes 50,000 bytes
_SPECIAL = re.compile(r"[%_~]")  # in a pattern of LIKE

_PARTS = re.compile(r'"([^"]*)"?|([^\s"]+)')
_LANGUAGE = re.compile(r"[A-Za-z0-9]+[+#]+")  # C++, C#, F#
# Scripts that put no spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


@dataclass(frozen=True)
class Query:
    """A query as understood: `match` for the index ("" for none), and texts that must occur letter by letter."""

    match: str
    literal: tuple[str, ...]


def _indexed(text: str) -> bool:
    """Say whether the index sees a word in this text."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def parse(text: str) -> Query:
    """Understand what a user typed. Never raises."""
    text = text.replace("\0", " ").encode("utf-8", "replace").decode()
    words: list[str] = []
    literal: list[str] = []
    for phrase, word in _PARTS.findall(text):
        part = (phrase or word).strip()
        if not part:
            continue
        if _UNSPACED.search(part) or not _indexed(part):
            literal.append(part)
        else:
            words.append(f'"{part}"')  # quoted: operators and punctuation of the index's own language are only text
            if _LANGUAGE.fullmatch(part):
                literal.append(part)  # the index finds "c", this the rest
    words = words[:_MAX_WORDS]
    if words and not text.rstrip().endswith(('"', "+", "#")):
        words[-1] += "*"
    return Query(" ".join(words), tuple(literal[:_MAX_WORDS]))


def _snippet(text: str, literal: str) -> str:
    at = text.casefold().find(literal.casefold())
    if at < 0 or text[at : at + len(literal)].casefold() != literal.casefold():  # folding may change the length
        at = max(text.find(literal), 0)
    end = at + len(literal)
    start, stop = max(at - _SNIPPET_CHARS, 0), min(end + _SNIPPET_CHARS, len(text))
    before = ("…" if start else "") + text[start:at]
    return f"{before}{MARK_START}{text[at:end]}{MARK_END}{text[end:stop]}" + ("…" if stop < len(text) else "")


def _message_hits(connection: sqlite3.Connection, query: Query, limit: int) -> list[SearchHit]:
    if query.match or not query.literal:
        return [hit for _, hit in _hits(connection, query, limit, titles=False)]
    known = _hits(connection, query, limit, titles=False, signs="message_search_signs")
    unknown = _hits(connection, query, limit, titles=False, signs="message_search_todo")
    return [hit for _, hit in sorted([*known, *unknown], key=lambda found: -found[0])[:limit]]


def _hits(
    connection: sqlite3.Connection, query: Query, limit: int, *, titles: bool, signs: str = ""
) -> list[tuple[int, SearchHit]]:
    """Matches in titles or in messages with their row numbers, newest first; `signs`: of messages in that table only.

    Newest first and not best first: the index yields rows in that order and stops at the limit, where a score would
    have to be computed for every match (at 100,000 messages a common word took 25 times as long).
    """
    index = "title_search" if titles else "message_search"
    text = "c.title" if titles else "m.content"
    row_number = "c.num" if titles else "m.num"
    if titles:
        source, message_id = "conversations c", "NULL"
    else:
        source, message_id = "messages m CROSS JOIN conversations c ON c.id = m.conversation_id", "m.id"
    conditions: list[str] = ["c.deleted_at IS NULL"]
    values: list[str | int] = []
    if query.match:
        source = f"{index} CROSS JOIN {source}" + (" AND" if not titles else " ON") + f" {row_number} = {index}.rowid"
        conditions.insert(0, f"{index} MATCH ?")
        values.append(query.match)
        snippet = f"snippet({index}, 0, '{MARK_START}', '{MARK_END}', '…', {_SNIPPET_WORDS})"
        order = f"{index}.rowid"
    else:
        snippet, order = text, row_number
    if query.literal and not titles:
        needed, bits = condition(query.literal)
        if signs:
            source, order = f"{signs} s CROSS JOIN {source} AND m.num = s.num", "s.num"
            needed = needed if signs == "message_search_signs" else ""
        else:
            index_and_rest = source.split(" CROSS JOIN ", 1)
            source = f" LEFT JOIN message_search_signs s ON s.num = {index}.rowid CROSS JOIN ".join(index_and_rest)
            needed = f"(s.num IS NULL OR ({needed}))" if needed else ""
        if needed:
            conditions.insert(1, needed)
            values += bits
    for literal in query.literal:
        if len(literal) > _LONGEST_PATTERN:
            conditions.append(f"instr({text}, ?)")
            values.append(literal)
        else:
            # 53 ms for 147 MB where it is nowhere and begins with an ASCII sign, 105 ms else; instr takes 125 ms
            conditions.append(f"{text} LIKE ? ESCAPE '~'")
            values.append("%" + _SPECIAL.sub(r"~\g<0>", literal) + "%")
    rows = connection.execute(
        f"SELECT {row_number}, c.id, {message_id}, c.title, {snippet} FROM {source} WHERE {' AND '.join(conditions)}"
        f" ORDER BY {order} DESC LIMIT ?",
        (*values, limit),
    )
    return [
        (
            number,
            SearchHit(
                conversation_id=conversation_id,
                message_id=message,
                title=title,
                snippet=found if query.match else _snippet(found, query.literal[0]),
            ),
        )
        for number, conversation_id, message, title, found in rows
    ]


class Search:
    """The part of the store that searches."""

    _db: Database
    _drawing: threading.Thread | None = None
    _closing: threading.Event

    def search(self, query: str, limit: int = 50) -> list[SearchHit]:
        """Conversations whose title matches, then messages, each newest first; none for an empty query.

        Conversations in the trash are not searched. A damaged index is built again on the way.
        """
        parsed = parse(query)
        if limit < 1 or not (parsed.match or parsed.literal):
            return []
        if parsed.literal:
            self._draw_in_background()
        with self._db.reading() as connection:
            try:
                return self._search(connection, parsed, limit)
            except SQLITE_ERRORS as error:
                if getattr(error, "sqlite_errorcode", 0) != _CORRUPT_SEARCH_INDEX or self._db.read_only:
                    raise
            self._db.rebuild_search()
            return self._search(connection, parsed, limit)

    @staticmethod
    def _search(connection: sqlite3.Connection, query: Query, limit: int) -> list[SearchHit]:
        hits = [hit for _, hit in _hits(connection, query, limit, titles=True)]
        return hits + _message_hits(connection, query, limit - len(hits)) if len(hits) < limit else hits

    # Signatures are drawn when somebody looks for what needs them: neither a start nor an answer waits for one.

    def draw_signatures(self) -> None:
        """Give every message its signature (20 to 300 µs each). Raises StorageError."""
        while not self._closing.is_set() and self._draw_some() == _DRAWN_AT_ONCE:
            self._closing.wait(_DRAW_PAUSE_S)

    def _draw_some(self) -> int:
        return self._db.write(lambda connection: draw_signatures(connection, _DRAWN_AT_ONCE))

    def _draw_in_background(self) -> None:
        if self._db.read_only or (self._drawing is not None and self._drawing.is_alive()):
            return

        def draw() -> None:
            with contextlib.suppress(NutshellError):  # a full disk: the messages are read letter by letter as before
                self.draw_signatures()

        self._drawing = threading.Thread(target=draw, name="signatures", daemon=True)
        self._drawing.start()

    def _end_drawing(self) -> None:
        self._closing.set()
        if self._drawing is not None:
            self._drawing.join()
