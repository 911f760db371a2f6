"""Asks for what goes into the places of a prompt."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFormLayout, QPlainTextEdit, QScrollArea, QWidget

from backend.api.schemas import Prompt
from ui.theme import metrics
from ui.viewmodels.prompt_library import fill, places
from ui.widgets.dialogs import ConfirmDialog

__all__ = ["FillDialog"]

_TALLEST = 360
_LINES = 2


class _Field(QPlainTextEdit):
    """Two lines, and more by scrolling: a place may be a word or a whole text. Enter is done, as in the composer."""

    entered = Signal()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setTabChangesFocus(True)
        self.setFixedHeight(_LINES * self.fontMetrics().lineSpacing() + 2 * metrics.m)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.entered.emit()
            event.accept()
            return
        super().keyPressEvent(event)


class FillDialog(ConfirmDialog):
    """A field for each place. It deletes itself when it is closed.

    Signals:
        filled(str): the prompt's text; places that were left empty stay as they are.
    """

    filled = Signal(str)

    def __init__(self, parent: QWidget | None, prompt: Prompt) -> None:
        self._prompt = prompt
        self.fields = {name: _Field(name) for name in places(prompt.text)}
        body = QWidget()
        form = QFormLayout(body)
        form.setContentsMargins(0, 0, metrics.s, 0)
        form.setSpacing(metrics.s)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        for name, field in self.fields.items():
            form.addRow(name, field)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setWidget(body)
        area.setMinimumHeight(min(body.sizeHint().height() + metrics.s, metrics.px(_TALLEST)))
        super().__init__(parent, prompt.name, "", action=self.tr("Insert"), body=area)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.action_button.setDefault(True)
        self.accepted.connect(self._done)
        for field in self.fields.values():
            field.entered.connect(self.accept)
        next(iter(self.fields.values())).setFocus()

    def _done(self) -> None:
        values = {name: text for name, field in self.fields.items() if (text := field.toPlainText())}
        self.filled.emit(fill(self._prompt.text, values))
