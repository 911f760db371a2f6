"""Labels: a toned one, one that ends in an ellipsis, and the hairline."""

from __future__ import annotations

import unicodedata
from typing import Literal

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QStyle, QWidget

__all__ = ["ElidedLabel", "Tone", "rule", "set_tone", "text_direction", "text_label"]

Tone = Literal["", "muted", "secondary", "title", "heading", "ok", "warn", "danger"]


def set_tone(widget: QWidget, tone: Tone) -> None:
    """Another tone for a label that is on screen already; the stylesheet looks at the property again."""
    if widget.property("tone") == tone:
        return
    widget.setProperty("tone", tone)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


class _Label(QLabel):
    """Begins at the side where the window begins, also with words that run the other way.

    Qt's own label goes to the left with any text in Latin letters, so that names and untranslated words would stand
    apart from what they head.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lead()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LayoutDirectionChange:
            self._lead()
        super().changeEvent(event)

    def _lead(self) -> None:
        across = self.alignment() & Qt.AlignmentFlag.AlignHorizontal_Mask
        if across & (Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignJustify):
            return
        if across & Qt.AlignmentFlag.AlignAbsolute or self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            right = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
            side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
            down = self.alignment() & Qt.AlignmentFlag.AlignVertical_Mask
            self.setAlignment(side | Qt.AlignmentFlag.AlignAbsolute | down)


def text_label(text: str = "", tone: Tone = "", parent: QWidget | None = None, *, wrap: bool = False) -> QLabel:
    """A label that never reads its text as HTML."""
    label = _Label(parent)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(text)
    label.setWordWrap(wrap)
    if tone:
        label.setProperty("tone", tone)
    return label


def rule(direction: Literal["h", "v"] = "h", parent: QWidget | None = None) -> QFrame:
    """A hairline."""
    line = QFrame(parent)
    line.setProperty("rule", direction)
    return line


def text_direction(text: str) -> Qt.LayoutDirection:
    """As the first letter says; numbers and marks say nothing."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return Qt.LayoutDirection.LeftToRight if strong == "L" else Qt.LayoutDirection.RightToLeft


class ElidedLabel(QLabel):
    """One line of text that is cut with an ellipsis where it does not fit; the whole text is then the tooltip."""

    def __init__(
        self,
        text: str = "",
        tone: Tone = "",
        parent: QWidget | None = None,
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight,
    ) -> None:
        super().__init__(parent)
        self._mode = mode
        self._own_tooltip = False
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        if tone:
            self.setProperty("tone", tone)
        self.setText(text)

    def setText(self, text: str) -> None:
        """One line: line breaks become spaces."""
        super().setText(" ".join(text.split()))
        self.updateGeometry()
        self._refresh_tooltip()

    def is_elided(self) -> bool:
        """Whether the text does not fit."""
        return self.fontMetrics().horizontalAdvance(self.text()) > self.contentsRect().width()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self.text()) + 2, metrics.height())

    def minimumSizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance("…"), metrics.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._refresh_tooltip()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.updateGeometry()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        shown = self.fontMetrics().elidedText(self.text(), self._mode, self.contentsRect().width())
        # The text runs as its own first letter says, at the side where the window's direction puts it.
        side = QStyle.visualAlignment(self.layoutDirection(), self.alignment())
        painter.setLayoutDirection(text_direction(shown))
        flags = side | Qt.AlignmentFlag.AlignAbsolute | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(self.contentsRect(), int(flags), shown)

    def _refresh_tooltip(self) -> None:
        if self.is_elided() and (self._own_tooltip or not self.toolTip()):
            self._own_tooltip = True
            self.setToolTip(self.text())
        elif self._own_tooltip:
            self._own_tooltip = False
            self.setToolTip("")
