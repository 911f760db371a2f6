"""The text of an answer with what was guessed shaded, and what the guessing brought."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QDialog, QHBoxLayout, QPlainTextEdit, QPushButton, QTextEdit, QVBoxLayout, QWidget

from backend.api.schemas import Message
from ui.chat import words
from ui.theme import color, metrics, theme_changed
from ui.widgets import text_label

__all__ = ["GuessedDialog", "guessed_spans"]


def guessed_spans(text: str, runs: Sequence[int]) -> list[tuple[int, int]]:
    """Where guessed text begins and ends, in Qt's positions (UTF-16 units).

    Args:
        text: of the answer. Where it was continued, `runs` are of its last part, so they are counted from the end.
        runs: code points, in turns not guessed and guessed (`TurnStats.guessed`).
    """
    at = len(text) - sum(runs)
    if at < 0:
        return []
    spans: list[tuple[int, int]] = []
    place = _units(text[:at])
    for number, run in enumerate(runs):
        end = place + _units(text[at : at + run])
        if number % 2 and run:
            spans.append((place, end))
        at, place = at + run, end
    return spans


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class GuessedDialog(QDialog):
    """Shows one answer as it was written. It deletes itself when it is closed."""

    def __init__(self, parent: QWidget | None, message: Message) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("What was guessed"))
        self.setModal(True)
        stats = message.stats
        told = words.guesses(stats.passes, stats.drafted, stats.accepted, stats.speedup) if stats else ""
        self._runs = list(stats.guessed) if stats else []
        self.text = QPlainTextEdit(message.content)
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setFont(metrics.font("code"))
        self.text.setAccessibleName(self.tr("Answer; guessed text is shaded"))
        self.text.setAccessibleDescription(told)
        close = QPushButton(self.tr("Close"))
        close.setDefault(True)
        close.clicked.connect(self.accept)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(close)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xl, metrics.xl, metrics.xl, metrics.l)
        column.setSpacing(metrics.m)
        column.addWidget(text_label(self.tr("What was guessed"), "heading"))
        column.addWidget(
            text_label(self.tr("Shaded text was guessed and found right, several words in one step."), wrap=True)
        )
        column.addWidget(text_label(told, "secondary", wrap=True))
        column.addWidget(self.text, 1)
        column.addLayout(row)
        self.resize(metrics.px(620), metrics.px(520))
        theme_changed.connect(self._shade)
        self._shade()

    def _shade(self) -> None:
        shade = QTextCharFormat()
        shade.setBackground(color("accent_soft"))
        marks = []
        for begin, end in guessed_spans(self.text.toPlainText(), self._runs):
            mark = QTextEdit.ExtraSelection()
            mark.format = shade
            cursor = QTextCursor(self.text.document())
            cursor.setPosition(begin)
            cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
            mark.cursor = cursor
            marks.append(mark)
        self.text.setExtraSelections(marks)
