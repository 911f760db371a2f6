"""Size against expected quality, one mark a position: a click chooses it. The list beside it says the same in words."""

from __future__ import annotations

import math
from itertools import pairwise

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from backend.api.compression import CompressionPlan, Position
from ui.theme import Role, color, metrics, theme_changed
from ui.viewmodels.compression_words import level_name, percent
from ui.viewmodels.words import size

__all__ = ["CurvePlot"]

#: growth of perplexity at the upper and the lower edge; what is beyond is drawn at the edge
_BEST, _WORST = 0.001, 2.0
_TICKS = (0.01, 0.1, 1.0)
_REACH = 22  # pixels from a mark within which a click counts


class CurvePlot(QWidget):
    """Marks are outlined, for they are expected and not measured; what does not fit is crossed.

    Signals:
        chosen(int): number of the position that was clicked.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._plan: CompressionPlan | None = None
        self._current = -1
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(self.tr("Size and expected quality"))
        self.setAccessibleDescription(self.tr("The list of sizes says the same in words."))
        theme_changed.connect(self.update)

    def set_plan(self, plan: CompressionPlan | None) -> None:
        """Another plan."""
        self._plan = plan
        self.update()

    def set_current(self, number: int) -> None:
        """Which position is chosen."""
        self._current = number
        self.update()

    def place_of(self, number: int) -> QPointF:
        """Where a position is drawn."""
        return self._place(self._positions()[number], self._area())

    def sizeHint(self) -> QSize:
        return QSize(metrics.px(320), metrics.px(130))

    def minimumSizeHint(self) -> QSize:
        return QSize(metrics.px(200), metrics.px(130))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        at, area = event.position(), self._area()
        near = [
            (math.hypot(at.x() - place.x(), at.y() - place.y()), number)
            for number, one in enumerate(self._positions())
            for place in (self._place(one, area),)
            if one.bytes
        ]
        if near and min(near)[0] <= metrics.px(_REACH):
            self.chosen.emit(min(near)[1])

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setLayoutDirection(Qt.LayoutDirection.LeftToRight)  # as plots run everywhere
        painter.setFont(metrics.font("secondary"))
        area = self._area()
        self._frame(painter, area)
        drawn = [(number, one) for number, one in enumerate(self._positions()) if one.bytes and one.loss_high]
        painter.setPen(QPen(color("line"), metrics.focus_width))
        places = [self._place(one, area) for _, one in drawn]
        for start, end in pairwise(places):
            painter.drawLine(start, end)
        for draw in (self._name, self._mark):  # no name on a mark, no line through a name
            for (number, one), place in zip(drawn, places, strict=True):
                draw(painter, area, one, place, chosen=number == self._current)
        painter.end()

    def _mark(self, painter: QPainter, area: QRectF, one: Position, place: QPointF, *, chosen: bool) -> None:
        role: Role = "accent" if one.verdict == "fits" else "warn" if one.verdict == "if" else "danger"
        radius = metrics.px(6 if chosen else 5)
        painter.setPen(QPen(color(role), 1))
        low, high = self._height(one.loss_low or _BEST, area), self._height(one.loss_high or _BEST, area)
        painter.drawLine(QPointF(place.x(), low), QPointF(place.x(), high))
        painter.setPen(QPen(color(role), metrics.focus_width))
        painter.setBrush(color("accent_soft" if chosen else "window"))
        painter.drawEllipse(place, radius, radius)
        if one.verdict == "no":
            reach = radius * 0.6
            painter.drawLine(place + QPointF(-reach, -reach), place + QPointF(reach, reach))
            painter.drawLine(place + QPointF(-reach, reach), place + QPointF(reach, -reach))

    def _name(self, painter: QPainter, area: QRectF, one: Position, place: QPointF, *, chosen: bool) -> None:
        radius = metrics.px(6 if chosen else 5)
        painter.setPen(color("text" if chosen else "muted"))
        name = level_name(one.level)
        fm = painter.fontMetrics()
        width = fm.horizontalAdvance(name) + 2
        left = place.x() + radius + metrics.xs
        if left + width > self.width():
            left = place.x() - radius - metrics.xs - width
        top = min(max(place.y() + metrics.px(2), area.top()), area.bottom() - fm.height())
        box = QRectF(left, top, width, fm.height())
        painter.fillRect(box.adjusted(-2, 2, 2, -2), color("window"))
        painter.drawText(box, int(Qt.AlignmentFlag.AlignLeft), name)

    def _frame(self, painter: QPainter, area: QRectF) -> None:
        fm = painter.fontMetrics()
        for growth in _TICKS:
            y = self._height(growth, area)
            painter.setPen(QPen(color("line"), 1, Qt.PenStyle.DotLine))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(color("muted"))
            box = QRectF(0, y - fm.height() / 2, area.left() - metrics.s, fm.height())
            painter.drawText(box, int(Qt.AlignmentFlag.AlignRight), "+" + percent(growth).replace(".0", ""))
        painter.setPen(QPen(color("line"), 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.setPen(color("muted"))
        under = QRectF(area.left(), area.bottom() + metrics.px(2), area.width(), fm.height())
        painter.drawText(under, int(Qt.AlignmentFlag.AlignLeft), "0")
        painter.drawText(under, int(Qt.AlignmentFlag.AlignRight), size(self._widest()))
        painter.drawText(under, int(Qt.AlignmentFlag.AlignHCenter), self.tr("size; higher is better"))

    def _area(self) -> QRectF:
        fm = self.fontMetrics()
        left = fm.horizontalAdvance("+100 %") + metrics.s
        return QRectF(left, metrics.s, self.width() - left - metrics.s, self.height() - metrics.s - fm.height() - 4)

    def _positions(self) -> list[Position]:
        return self._plan.positions if self._plan is not None else []

    def _widest(self) -> int:
        """Bytes at the right edge: a tenth beyond the largest."""
        return int(max((one.bytes for one in self._positions()), default=1) * 1.15) or 1

    def _place(self, one: Position, area: QRectF) -> QPointF:
        low, high = max(one.loss_low or 0.0, _BEST), max(one.loss_high or 0.0, _BEST)
        x = area.left() + area.width() * one.bytes / self._widest()
        return QPointF(x, self._height(math.sqrt(low * high), area))

    @staticmethod
    def _height(growth: float, area: QRectF) -> float:
        share = math.log(min(max(growth, _BEST), _WORST) / _BEST) / math.log(_WORST / _BEST)
        return area.top() + area.height() * share
