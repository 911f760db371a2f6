"""Three panes side by side; in a narrow window the side bars become drawers over the middle."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QRect, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QWidget

from ui.theme import color, metrics, theme_changed

__all__ = ["INSPECTOR_FLOATS_BELOW", "SIDEBAR_FLOATS_BELOW", "Panes"]

#: Widths in pixels at 100 %: of the bars, and of the window below which each is a drawer.
SIDEBAR_WIDTH, INSPECTOR_WIDTH = 264, 296
SIDEBAR_FLOATS_BELOW, INSPECTOR_FLOATS_BELOW = 640, 900


class _Veil(QWidget):
    """Dims the middle while a drawer lies over it; a click on it closes the drawer."""

    clicked = Signal()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.clicked.emit()
        event.accept()

    def paintEvent(self, event: QPaintEvent) -> None:
        veil = color("text" if not _dark() else "window")
        veil.setAlpha(70 if not _dark() else 150)
        QPainter(self).fillRect(event.rect(), veil)


def _dark() -> bool:
    return color("window").lightness() < 128


class Panes(QWidget):
    """Places a left bar, the middle and a right bar.

    What the user wants (`set_wanted`) is remembered for wide windows; a drawer in a narrow one is opened and closed
    without changing that.

    Signals:
        shown_changed: a bar appeared or went away.
    """

    shown_changed = Signal()

    def __init__(self, left: QWidget, middle: QWidget, right: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._left, self._middle, self._right = left, middle, right
        self._wanted = {"left": True, "right": True}
        self._drawer = ""
        self._veil = _Veil(self)
        self._veil.hide()
        self._veil.clicked.connect(self.close_drawer)
        for pane in (middle, self._veil, left, right):
            pane.setParent(self)
        for bar in (left, right):
            bar.installEventFilter(self)
        theme_changed.connect(self._place)
        self._place()

    def floats(self, side: str) -> bool:
        """Whether that bar would be a drawer at this width."""
        limit = SIDEBAR_FLOATS_BELOW if side == "left" else INSPECTOR_FLOATS_BELOW
        return self.width() < metrics.px(limit)

    def wanted(self, side: str) -> bool:
        """Whether the user wants that bar in a wide window."""
        return self._wanted[side]

    def set_wanted(self, side: str, wanted: bool) -> None:
        """Show or hide a bar in a wide window."""
        self._wanted[side] = wanted
        self._place()

    def shown(self, side: str) -> bool:
        """Whether that bar is on the screen now."""
        return self._drawer == side if self.floats(side) else self._wanted[side]

    def toggle(self, side: str) -> None:
        """Show or hide a bar, as a drawer where the window is narrow."""
        if self.floats(side):
            self._drawer = "" if self._drawer == side else side
            self._place()
        else:
            self.set_wanted(side, not self._wanted[side])

    def close_drawer(self) -> bool:
        """Close the drawer; whether one was open."""
        if not self._drawer:
            return False
        self._drawer = ""
        self._place()
        return True

    @property
    def drawer(self) -> str:
        """The open drawer: "left", "right" or ""."""
        return self._drawer

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.KeyPress and self._drawer and event.key() == Qt.Key.Key_Escape:  # type: ignore[attr-defined]
            return self.close_drawer()
        return False

    def _place(self) -> None:
        before = (self._left.isVisibleTo(self), self._right.isVisibleTo(self))
        if self._drawer and not self.floats(self._drawer):
            self._drawer = ""
        width, height = self.width(), self.height()
        # A drawer leaves a strip of the middle to click on.
        left = min(metrics.px(SIDEBAR_WIDTH), max(0, width - metrics.px(40)))
        right = min(metrics.px(INSPECTOR_WIDTH), max(0, width - metrics.px(40)))
        docked_left = left if self.shown("left") and not self.floats("left") else 0
        docked_right = right if self.shown("right") and not self.floats("right") else 0
        self._put(self._middle, QRect(docked_left, 0, width - docked_left - docked_right, height))
        self._put(self._left, QRect(0, 0, left, height))
        self._put(self._right, QRect(width - right, 0, right, height))
        self._left.setVisible(self.shown("left"))
        self._right.setVisible(self.shown("right"))
        self._veil.setGeometry(self.rect())
        self._veil.setVisible(bool(self._drawer))
        if self._drawer:
            self._veil.raise_()
            (self._left if self._drawer == "left" else self._right).raise_()
        if before != (self._left.isVisibleTo(self), self._right.isVisibleTo(self)):
            self.shown_changed.emit()

    def _put(self, pane: QWidget, area: QRect) -> None:
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            area.moveLeft(self.width() - area.x() - area.width())
        pane.setGeometry(area)
