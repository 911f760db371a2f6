"""The thin line over the wizard that says which of the four steps this is."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from ui.theme import color, metrics, theme_changed

__all__ = ["StepLine"]


class StepLine(QWidget):
    """Words over a line in as many parts as there are steps; what is done and what is now is in the accent colour."""

    def __init__(self, names: list[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names = names
        self._current = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme_changed.connect(self.updateGeometry)
        theme_changed.connect(self.update)
        self.set_current(0)

    def set_current(self, step: int) -> None:
        """Which step it is, from 0."""
        self._current = step
        self.setAccessibleName(self.tr("Step {0} of {1}: {2}").format(step + 1, len(self._names), self._names[step]))
        self.update()

    def current(self) -> int:
        """The step, from 0."""
        return self._current

    def sizeHint(self) -> QSize:
        return QSize(metrics.px(320), QFontMetrics(metrics.font("secondary")).height() + metrics.px(10))

    def minimumSizeHint(self) -> QSize:
        return QSize(metrics.px(160), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(metrics.font("secondary"))
        gap, count = metrics.s, len(self._names)
        width = (self.width() - gap * (count - 1)) / count
        thick = metrics.px(3)
        for number, name in enumerate(self._names):
            place = count - 1 - number if self.layoutDirection() == Qt.LayoutDirection.RightToLeft else number
            left, right = round(place * (width + gap)), round(place * (width + gap) + width)
            painter.setPen(color("text" if number == self._current else "muted"))
            text = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, right - left)
            area = QRect(left, 0, right - left, self.height() - thick - metrics.px(3))
            painter.drawText(area, int(Qt.AlignmentFlag.AlignLeading | Qt.AlignmentFlag.AlignVCenter), text)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("accent" if number <= self._current else "line"))
            painter.drawRoundedRect(left, self.height() - thick, right - left, thick, thick / 2, thick / 2)
        painter.end()
