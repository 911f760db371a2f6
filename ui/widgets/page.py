"""The frame of a page: in the middle of the window, no wider than can be read, scrolled where it is longer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from ui.theme import metrics

__all__ = ["fill_with_page"]


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
