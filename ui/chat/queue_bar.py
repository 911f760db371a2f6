"""Messages that wait for the answer that is being written: one line each, to be taken back or dropped."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.buttons import IconButton
from ui.widgets.labels import ElidedLabel, text_label

__all__ = ["QueueBar"]


class QueueBar(QWidget):
    """Hidden while nothing waits.

    Signals:
        edit_requested(int), remove_requested(int): the message at that place, counted from 0.
    """

    edit_requested = Signal(int)
    remove_requested = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts: list[str] = []
        self._rows: list[QWidget] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(metrics.m, 0, metrics.m, metrics.xs)
        self._column.setSpacing(0)
        self.setAccessibleName(self.tr("Messages that wait"))
        self.hide()

    def texts(self) -> list[str]:
        """What waits, first to be sent first."""
        return list(self._texts)

    def set_texts(self, texts: Sequence[str]) -> None:
        """What waits now."""
        if list(texts) == self._texts:
            return
        self._texts = list(texts)
        for row in self._rows:
            self._column.removeWidget(row)
            row.hide()
            row.deleteLater()
        self._rows = [self._row(place, text) for place, text in enumerate(texts)]
        self.setVisible(bool(texts))

    def _row(self, place: int, text: str) -> QWidget:
        row = QWidget(self)
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(metrics.s)
        line.addWidget(text_label(self.tr("Next:") if place == 0 else self.tr("Then:"), "secondary"))
        line.addWidget(ElidedLabel(text, "muted"), 1)
        edit = IconButton("edit", self.tr("Take back to change it"), row)
        edit.clicked.connect(lambda: self.edit_requested.emit(place))
        remove = IconButton("close", self.tr("Do not send it"), row)
        remove.clicked.connect(lambda: self.remove_requested.emit(place))
        line.addWidget(edit)
        line.addWidget(remove)
        self._column.addWidget(row)
        return row
