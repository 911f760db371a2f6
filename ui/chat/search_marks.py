"""Words that a search found, marked in the text of a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from PySide6.QtGui import QTextCharFormat, QTextCursor, QTextDocument
from PySide6.QtWidgets import QTextEdit

from ui.theme import color

__all__ = ["marks_in", "words_of"]

_MOST: Final = 200  # marks in one message
_PARTS: Final = re.compile(r'"([^"]+)"?|([^\s"]+)')


def words_of(query: str) -> list[str]:
    """What a query asks for: phrases in quotation marks, and words."""
    return [(phrase or word).strip() for phrase, word in _PARTS.findall(query) if (phrase or word).strip()]


def marks_in(document: QTextDocument, words: Sequence[str]) -> list[QTextEdit.ExtraSelection]:
    """Every place where one of the words stands, whatever its case."""
    look = QTextCharFormat()
    look.setBackground(color("accent_soft"))
    look.setForeground(color("text"))
    found: list[QTextEdit.ExtraSelection] = []
    for word in words:
        cursor = document.find(word, 0)
        while not cursor.isNull() and len(found) < _MOST:
            mark = QTextEdit.ExtraSelection()
            mark.cursor, mark.format = QTextCursor(cursor), look
            found.append(mark)
            cursor = document.find(word, cursor)
    return found
