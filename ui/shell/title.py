"""The conversation's title: a line of text that a double click turns into a field."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QLineEdit, QStackedLayout, QWidget

from ui.widgets import ElidedLabel

__all__ = ["EditableTitle"]


class EditableTitle(QWidget):
    """Shows a title; double click or `edit` edits it in place. Enter keeps, Esc and leaving the field give up or keep.

    Signals:
        renamed(str): another title was typed and kept.
    """

    renamed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title = ""
        self._editable = False
        self._open = False
        self._label = ElidedLabel("", "heading")
        self._field = QLineEdit()
        self._field.setMaxLength(200)
        self._field.setAccessibleName(self.tr("Title"))
        self._field.editingFinished.connect(self._keep)
        self._field.installEventFilter(self)
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.addWidget(self._label)
        self._stack.addWidget(self._field)

    def set_title(self, title: str, *, editable: bool) -> None:
        """Show a title. An edit that is under way goes on."""
        self._title, self._editable = title, editable
        self._label.setText(title)
        self.setAccessibleName(title)

    def title(self) -> str:
        """The title shown."""
        return self._title

    @property
    def editing(self) -> bool:
        """Whether the field is open."""
        return self._open

    def edit(self) -> None:
        """Open the field, all of it selected."""
        if self._editable and not self.editing:
            self._open = True
            self._field.setText(self._title)
            self._stack.setCurrentWidget(self._field)
            self._field.selectAll()
            self._field.setFocus(Qt.FocusReason.OtherFocusReason)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.edit()
        event.accept()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.key() == Qt.Key.Key_Escape:
            if event.type() == QEvent.Type.ShortcutOverride:
                event.accept()  # Esc belongs to this field now, not to Stop
                return True
            if event.type() == QEvent.Type.KeyPress:
                self._close()
                return True
        return False

    def _keep(self) -> None:
        if not self.editing:
            return
        title = " ".join(self._field.text().split())
        self._close()
        if title and title != self._title:
            self.set_title(title, editable=True)
            self.renamed.emit(title)

    def _close(self) -> None:
        self._open = False  # first: leaving the field ends the edit once more
        self._stack.setCurrentWidget(self._label)
