"""What could be asked next: up to three questions over the composer; one that is chosen is put into it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.buttons import HoverButton

__all__ = ["NextBar"]

#: of a row, what is not text: icon and padding
_BESIDE = 48


class NextBar(QWidget):
    """Hidden while there is nothing to suggest. Signals: chosen(str)."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: list[HoverButton] = []
        self._questions: list[str] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(metrics.xs, 0, metrics.xs, metrics.xs)
        self._column.setSpacing(0)
        self.setMinimumWidth(1)  # long questions must not widen the window
        self.setAccessibleName(self.tr("What you could ask next"))
        self.hide()

    def set_questions(self, questions: Sequence[str]) -> None:
        """What is suggested now."""
        for button in self.buttons:
            self._column.removeWidget(button)
            button.hide()
            button.deleteLater()
        self._questions = list(questions)
        self.buttons = [self._button(question) for question in questions]
        self._fit()
        self.setVisible(bool(questions))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _button(self, question: str) -> HoverButton:
        button = HoverButton("", self, icon="continue")
        button.setAccessibleName(self.tr("Ask: {0}").format(question))
        button.clicked.connect(lambda: self.chosen.emit(question))
        self._column.addWidget(button, 0, Qt.AlignmentFlag.AlignLeading)
        return button

    def _fit(self) -> None:
        for button, question in zip(self.buttons, self._questions, strict=True):
            room = self.width() - metrics.px(_BESIDE)
            shown = button.fontMetrics().elidedText(question, Qt.TextElideMode.ElideRight, max(room, 1))
            button.setText(shown.replace("&", "&&"))
            button.setToolTip(question if shown != question else "")
