"""Saying something to a screen reader that nothing on the screen has the focus for."""

from __future__ import annotations

import re

from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent
from PySide6.QtWidgets import QWidget

from backend.api.thinking import without_thought

__all__ = ["announce", "spoken"]

#: of an answer are said by themselves; the rest is read on with the reader's own keys
_SPOKEN = 300
_MARKS = re.compile(r"[*`_#>|]+|^\s*[-+]\s+", re.MULTILINE)


def announce(widget: QWidget, text: str, *, urgent: bool = False) -> None:
    """Has a screen reader say a sentence in place of `widget`; `urgent`: at once, whatever it is saying.

    Without one running this does nothing.
    """
    if not text:
        return
    event = QAccessibleAnnouncementEvent(widget, text)
    if urgent:
        event.setPoliteness(QAccessible.AnnouncementPoliteness.Assertive)
    QAccessible.updateAccessibility(event)


def spoken(answer: str) -> str:
    """The beginning of an answer in words: without its thoughts, and without the marks of Markdown."""
    words = " ".join(_MARKS.sub("", without_thought(answer[:4000])).split())
    return words if len(words) <= _SPOKEN else words[:_SPOKEN].rsplit(" ", 1)[0] + "…"
