"""The frame of a page: in the middle of the window, no wider than can be read, scrolled where it is longer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from ui.theme import metrics

__all__ = ["PageStack", "fill_with_page"]


def fill_with_page(screen: QWidget, page: QWidget, *, sideways: bool = False) -> None:
    """Fills a screen that has no layout yet with a page; `sideways`: it may be scrolled to the side too."""
    centred = QWidget()
    row = QHBoxLayout(centred)
    row.setContentsMargins(metrics.xl, metrics.xl, metrics.xl, metrics.xl)
    row.addStretch(1)
    row.addWidget(page, 1000)
    row.addStretch(1)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    if not sideways:
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(centred)
    outer = QVBoxLayout(screen)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)


class PageStack(QWidget):
    """Pages of which one is shown, and as tall as that one: a QStackedWidget is as tall as its tallest page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._current: QWidget | None = None

    def add(self, page: QWidget) -> None:
        """One more; it is shown by `show_page`."""
        page.hide()
        self._column.addWidget(page)

    def current(self) -> QWidget | None:
        """The one that is shown."""
        return self._current

    def show_page(self, page: QWidget) -> None:
        """Shows one, and no other."""
        if self._current is not None:
            self._current.hide()
        self._current = page
        page.show()
