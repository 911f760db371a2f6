"""A card that lies over the window under a button, until something is chosen, Esc, or a press elsewhere.

It is a child of the window and not a window of its own: it moves with it, needs no grab of keyboard and mouse, and
looks the same on every system.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QFrame, QWidget

from ui.theme import metrics

__all__ = ["Popover"]


class Popover(QFrame):
    """Base of in-window menus. `open_under` shows it; `close_popover` hides it and gives the focus back.

    Signals:
        closed: it went away.
    """

    closed = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.setProperty("card", "surface")
        self.setAutoFillBackground(True)
        self._host = window
        self._anchor: QWidget | None = None
        self._before: QWidget | None = None
        self.hide()

    def open_under(self, anchor: QWidget) -> None:
        """Show it below a widget, inside the window."""
        self._anchor = anchor
        self._remember(QApplication.focusWidget())
        self.place()
        self.show()
        self.raise_()
        app = QApplication.instance()
        if app is not None:
            app.installEventFilter(self)

    def close_popover(self) -> None:
        """Hide it; once."""
        if self.isHidden():
            return
        app = QApplication.instance()
        if app is not None:
            app.removeEventFilter(self)
        self.hide()
        before = self._before
        self._remember(None)
        if before is not None and before.isVisible():
            before.setFocus(Qt.FocusReason.PopupFocusReason)
        self.closed.emit()

    def _remember(self, widget: QWidget | None) -> None:
        """What has the focus. Qt makes editors of its own, and their wrappers do not know when they are gone."""
        if self._before is not None:
            self._before.destroyed.disconnect(self._forget)
        self._before = widget
        if widget is not None:
            widget.destroyed.connect(self._forget)

    def _forget(self) -> None:
        self._before = None

    def place(self) -> None:
        """Take the place under the anchor at the present size."""
        window, anchor = self._host, self._anchor
        if anchor is None:
            return
        self.adjustSize()
        corner = anchor.mapTo(window, QPoint(0, anchor.height() + metrics.xs))
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            corner.setX(corner.x() + anchor.width() - self.width())
        limit = window.width() - self.width() - metrics.s
        self.move(max(metrics.s, min(corner.x(), limit)), corner.y())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress) and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Escape:
                if kind == QEvent.Type.KeyPress:
                    self.close_popover()
                event.accept()
                return True
        elif kind == QEvent.Type.MouseButtonPress and isinstance(event, QMouseEvent) and isinstance(watched, QWidget):
            inside = watched is self or self.isAncestorOf(watched)
            on_anchor = self._anchor is not None and (watched is self._anchor or self._anchor.isAncestorOf(watched))
            if not inside and watched.window() is self.window():
                self.close_popover()
                return on_anchor  # the press that closes it must not open it again
        elif kind == QEvent.Type.Resize and watched is self._host:
            self.close_popover()
        return False
