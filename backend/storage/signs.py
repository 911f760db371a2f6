"""Signatures of messages: 504 bits that say which pairs of letters a search letter by letter may find in a text.

A bit stands for a sign or a letter of a script without spaces, or for two letters side by side of which one is such.
Pairs of Latin letters and digits are left out: words are the full-text index's business, and a text of 1,400 letters
would fill every bit. What a query needs is a subset of what a text has wherever the text contains the query, so a
signature never hides a match; that a text only seems to match is found out by reading it.
"""

from __future__ import annotations

import re
import sqlite3
import string
import zlib
from collections.abc import Iterable

__all__ = ["COLUMNS", "condition", "draw_signatures", "signature"]

COLUMNS = tuple(f"s{number}" for number in range(8))
_BITS = 63  # of an SQLite integer, the sign bit left alone
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # LIKE ignores the case of these
# A sign: neither space nor control (between words they are everywhere), nor a letter or digit with spaces around words.
_SIGN = re.compile(
    r"[!-/:-@\[-`{-~\u00a1-\u00bf\u00d7\u00f7\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2000-\u2bff\u2e00-\uabff\uf900-\uffff]"
    "|[\U00010000-\U0010ffff]"
)


def signature(text: str) -> tuple[int, ...]:
    """The bits of a text, 63 to a column."""
    columns = [0] * len(COLUMNS)
    for bit in _bits(text):
        columns[bit // _BITS] |= 1 << bit % _BITS
    return tuple(columns)


def _bits(text: str) -> set[int]:
    text = text.translate(_LOWER) if not text.islower() else text
    grams: set[str] = set()
    for found in _SIGN.finditer(text):
        at = found.start()
        grams.add(text[at])
        grams.add(text[at : at + 2])
        if at:
            grams.add(text[at - 1 : at + 1])
    return {zlib.crc32(gram.encode("utf-8", "surrogatepass")) % (_BITS * len(COLUMNS)) for gram in grams}


def condition(literals: Iterable[str]) -> tuple[str, list[int]]:
    """SQL that is true of the signatures of all texts that contain `literals` (of others now and then), and values."""
    wanted = [0] * len(COLUMNS)
    for literal in literals:
        wanted = [have | more for have, more in zip(wanted, signature(literal), strict=True)]
    parts = [f"s.{name} & ? = ?" for name, bits in zip(COLUMNS, wanted, strict=True) if bits]
    return " AND ".join(parts), [bits for bits in wanted if bits for _ in range(2)]


def draw_signatures(connection: sqlite3.Connection, limit: int) -> int:
    """Give signatures to the newest `limit` messages that have none, inside a transaction; how many had none."""
    rows = connection.execute(
        "SELECT t.num, m.content FROM message_search_todo t JOIN messages m ON m.num = t.num"
        " WHERE m.status <> 'streaming' ORDER BY t.num DESC LIMIT ?",
        (limit,),
    ).fetchall()
    marks = ", ".join("?" * (1 + len(COLUMNS)))
    connection.executemany(
        f"INSERT OR REPLACE INTO message_search_signs (num, {', '.join(COLUMNS)}) VALUES ({marks})",
        ((number, *signature(content)) for number, content in rows),
    )
    connection.executemany("DELETE FROM message_search_todo WHERE num = ?", ((number,) for number, _ in rows))
    return len(rows)
