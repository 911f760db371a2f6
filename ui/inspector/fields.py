"""The small parts of the inspector: a section, a fold, a labelled number with its help."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ui.theme import bind_icon, metrics
from ui.widgets import HoverButton, text_label

__all__ = ["Fold", "MirroredSlider", "WheelShy", "WheelShyWhole", "help_label", "number_row", "section"]


class _WheelGuard(QObject):
    """Keeps the wheel from a field that has not the focus, so that scrolling past it changes nothing."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()  # the page behind it scrolls
            return True
        return False


def _settle(field: QAbstractSpinBox) -> None:
    field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    field.installEventFilter(_WheelGuard(field))
    # the stylesheet's padding does not reach the text of a number field
    field.lineEdit().setTextMargins(metrics.s, 0, metrics.px(6), 0)


class WheelShy(QDoubleSpinBox):
    """A number field that the wheel does not change while the person scrolls past it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _settle(self)


class WheelShyWhole(QSpinBox):
    """The same for whole numbers; its least value may stand for a word."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        _settle(self)


class MirroredSlider(QSlider):
    """A slider whose groove is filled from its beginning also where that is at the right.

    Qt's stylesheets call the left part "sub-page" whichever way the slider runs.
    """

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LayoutDirectionChange:
            self._mirror()
        super().changeEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        self._mirror()
        super().showEvent(event)

    def _mirror(self) -> None:
        mirrored = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        if bool(self.property("mirrored")) is not mirrored:
            self.setProperty("mirrored", mirrored)
            self.style().unpolish(self)
            self.style().polish(self)


def help_label(text: str) -> QWidget:
    """Plain help under a control."""
    return text_label(text, "secondary", wrap=True)


def section(title: str, *parts: QWidget) -> QFrame:
    """A heading with what belongs to it."""
    frame = QFrame()
    column = QVBoxLayout(frame)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(metrics.s)
    if title:
        column.addWidget(text_label(title, "heading"))
    for part in parts:
        column.addWidget(part)
    return frame


def number_row(label: str, field: QWidget, help_text: str) -> QWidget:
    """A name, a field at the end of its line, and a line of help under both."""
    field.setAccessibleName(label)
    field.setAccessibleDescription(help_text)
    field.setFixedWidth(metrics.px(88))
    row = QWidget()
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(metrics.s)
    line.addWidget(text_label(label), 1)
    line.addWidget(field)
    column = QVBoxLayout(row)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(metrics.px(2))
    column.addLayout(line)
    column.addWidget(help_label(help_text))
    return row


class Fold(QWidget):
    """A button that folds something open; it is built when first opened."""

    def __init__(self, title: str, build: Callable[[], QWidget], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._build: Callable[[], QWidget] | None = build
        self.button = HoverButton(title, icon="chevron-right")
        self.button.setProperty("align", "flush")
        self.button.setCheckable(True)
        self.button.toggled.connect(self._toggle)
        self.body: QWidget | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(metrics.s)
        self._column.addWidget(self.button)

    def _toggle(self, opened: bool) -> None:
        if self._build is not None:
            self.body = self._build()
            self._build = None
            self._column.addWidget(self.body)
        bind_icon(self.button, "chevron-down" if opened else "chevron-right", "muted")
        if self.body is not None:
            self.body.setVisible(opened)
