"""The first question: what the model is for."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QPushButton, QSizePolicy, QVBoxLayout, QWidget

from ui.recommend.words import purposes
from ui.theme import metrics
from ui.widgets import text_label

__all__ = ["PurposePage"]


class _Choice(QPushButton):
    """A button of two lines, as high as its words need at its width."""

    def __init__(self, name: str, meaning: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(name)
        self.setAccessibleDescription(meaning)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(metrics.l, metrics.m, metrics.l, metrics.m)
        self._column.setSpacing(metrics.px(2))
        for label in (text_label(name, "heading", wrap=True), text_label(meaning, "secondary", wrap=True)):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            self._column.addWidget(label)

    def sizeHint(self) -> QSize:
        return self._column.sizeHint()

    def minimumSizeHint(self) -> QSize:
        return self._column.minimumSize()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._column.heightForWidth(width)


class PurposePage(QWidget):
    """Signals: chosen(str): a purpose."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[str, QPushButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.s)
        column.addWidget(text_label(self.tr("What do you want to do?"), "heading", wrap=True))
        for purpose, name, meaning in purposes():
            button = _Choice(name, meaning)
            button.clicked.connect(lambda _=False, purpose=purpose: self.chosen.emit(purpose))
            self.buttons[purpose] = button
            column.addWidget(button)
        silent = self.tr("Nothing is sent anywhere for this: the list of models came with Nutshell.")
        column.addWidget(text_label(silent, "muted", wrap=True))
        column.addStretch(1)

    def focus_first(self) -> None:
        """The first choice has the keyboard."""
        next(iter(self.buttons.values())).setFocus(Qt.FocusReason.OtherFocusReason)
