"""Where in a shown answer the text stands that was guessed and found right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from PySide6.QtGui import QTextCharFormat, QTextCursor, QTextDocument
from PySide6.QtWidgets import QTextEdit

from ui.chat.markdown.formula_object import OBJECT
from ui.chat.markdown.styles import CODE_HEADER, KIND
from ui.theme import color

__all__ = ["guessed_spans", "shades_in"]

_PARTS: Final = re.compile(rf"\w+|[^\w\s{OBJECT}]")
#: Parts of the source that may be passed over at once: marks, addresses of links.
_FAR: Final = 64
#: Beyond so many, the next part must be found as well: a part that only the screen has would lead astray.
_NEAR: Final = 8


def guessed_spans(text: str, runs: Sequence[int]) -> list[tuple[int, int]]:
    """Where guessed text begins and ends, in code points.

    Args:
        text: of the answer. Where it was continued, `runs` are of its last part, so they are counted from the end.
        runs: code points, in turns not guessed and guessed (`TurnStats.guessed`).
    """
    at = len(text) - sum(runs)
    if at < 0:
        return []
    spans: list[tuple[int, int]] = []
    for number, run in enumerate(runs):
        if number % 2 and run:
            spans.append((at, at + run))
        at += run
    return spans


def shades_in(document: QTextDocument, source: str, spans: Sequence[tuple[int, int]]) -> list[QTextEdit.ExtraSelection]:
    """The spans as they stand in a document that was made from this Markdown.

    Marks of the source are not on the screen, so words and signs are followed in their order: 20,000 of them take
    55 ms, and a screen of them, 4,000 spans in all, is then painted in 4 ms instead of 1.

    Args:
        document: as `MarkdownDocument` writes it.
        source: its Markdown.
        spans: of the source, ascending.
    """
    look = QTextCharFormat()
    look.setBackground(color("accent_soft"))  # every colour of text and code reads at 4.9 : 1 or more on it
    found = []
    for begin, end in _joined(_pieces(document, source, spans)):
        mark = QTextEdit.ExtraSelection()
        cursor = QTextCursor(document)
        cursor.setPosition(begin)
        cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
        mark.cursor, mark.format = cursor, look
        found.append(mark)
    return found


def _joined(pieces: Iterator[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end, follows in pieces:
        if follows and joined:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _pieces(document: QTextDocument, source: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, bool]]:
    """(begin, end, whether it goes on with the piece before), in positions of the document."""
    there = [(match[0], match.start()) for match in _PARTS.finditer(source)]
    at = span = 0
    block = document.firstBlock()
    while block.isValid() and span < len(spans):
        text = block.text()
        units = _units(text)
        shown = [] if block.blockFormat().intProperty(KIND) == CODE_HEADER else list(_PARTS.finditer(text))
        last = -1  # where the piece before ends in this block, if it is of a whole part
        for i, part in enumerate(shown):
            hit = _find(there, at, part[0], shown[i + 1][0] if i + 1 < len(shown) else "")
            if hit < 0:
                continue
            at = hit + 1
            start = there[hit][1]
            end = start + len(part[0])
            while span < len(spans) and spans[span][1] <= start:
                span += 1
            number = span
            while number < len(spans) and spans[number][0] < end:
                begin, stop = max(spans[number][0], start) - start, min(spans[number][1], end) - start
                first, behind = part.start() + begin, part.start() + stop
                follows = last >= 0 and not text[last:first].strip()
                yield block.position() + units[first], block.position() + units[behind], follows
                last = behind if stop == len(part[0]) else -1
                number += 1
            if number == span:
                last = -1
        block = block.next()


def _find(there: Sequence[tuple[str, int]], at: int, part: str, next_: str) -> int:
    """Where the part is in the source from number `at` on; -1: nowhere near."""
    for number in range(at, min(at + _FAR, len(there))):
        if there[number][0] != part:
            continue
        if number - at < _NEAR or not next_ or any(next_ == p for p, _ in there[number + 1 : number + 1 + _NEAR]):
            return number
    return -1


def _units(text: str) -> Sequence[int]:
    """Code point -> place in UTF-16, in which Qt counts."""
    if not text or max(text) <= "\uffff":
        return range(len(text) + 1)
    places = [0]
    for sign in text:
        places.append(places[-1] + 1 + (sign > "\uffff"))
    return places
