"""The error of each linear as it comes: layers to the right, a logarithmic scale upwards, a colour and mark a kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from backend.api.schemas import LayerError
from ui.theme import Role, color, metrics, theme_changed

__all__ = ["ErrorPlot", "decades"]

#: kinds of linears by what they belong to; marks differ as well as colours
_KINDS: tuple[tuple[str, tuple[str, ...], Role, str], ...] = (
    ("attention", ("q_proj", "k_proj", "v_proj", "o_proj"), "link", "circle"),
    ("up", ("gate_proj", "up_proj"), "accent", "square"),
    ("down", ("down_proj",), "danger", "diamond"),
)
_LEAST = 1e-9


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten between which positive values lie, at least one decade; -3 and 0 without any."""
    positive = [max(value, _LEAST) for value in values if value > 0]
    if not positive:
        return -3, 0
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return low, max(high, low + 1)


class ErrorPlot(QWidget):
    """Points that arrive. For a screen reader it says the newest and the largest in words."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._points: list[LayerError] = []
        self._layers = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Error of each layer"))
        theme_changed.connect(self.update)

    def set_points(self, points: Sequence[LayerError], layers: int) -> None:
        """All points so far, and how many layers there will be."""
        if len(points) == len(self._points) and layers == self._layers:
            return
        self._points, self._layers = list(points), layers
        if points:
            worst = max(points, key=lambda one: one.error)
            self.setAccessibleDescription(
                self.tr("{0} parts done. Newest error {1}; largest {2}, in layer {3}.").format(
                    len(points), f"{points[-1].error:.2g}", f"{worst.error:.2g}", worst.layer + 1
                )
            )
            self.setToolTip(self.accessibleDescription())
        else:
            self.setAccessibleDescription("")
        self.update()

    def points(self) -> list[LayerError]:
        """What is drawn."""
        return list(self._points)

    def sizeHint(self) -> QSize:
        return QSize(metrics.px(480), metrics.px(200))

    def minimumSizeHint(self) -> QSize:
        return QSize(metrics.px(200), metrics.px(140))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setLayoutDirection(Qt.LayoutDirection.LeftToRight)  # as plots run everywhere
        painter.setFont(metrics.font("secondary"))
        fm = QFontMetrics(painter.font())
        low, high = decades([one.error for one in self._points])
        label = fm.horizontalAdvance("0.0001") + metrics.s
        area = QRectF(label, fm.height() + metrics.s, self.width() - label - metrics.s, 0)
        area.setBottom(self.height() - fm.height() - metrics.s)
        self._frame(painter, area, low, high)
        self._legend(painter, area)
        painter.setPen(Qt.PenStyle.NoPen)
        for one in self._points:
            if one.error > 0:
                role, mark = _kind(one)
                painter.setBrush(color(role))
                painter.drawPath(_mark(mark, self._place(area, one, low, high), metrics.px(3)))
        if not self._points:
            painter.setPen(color("muted"))
            painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter), self.tr("The first points come in a moment."))
        painter.end()

    def _place(self, area: QRectF, one: LayerError, low: int, high: int) -> QPointF:
        # Linears of one layer stand side by side within its column, in the order in which they are made.
        names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        within = (names.index(one.module) + 1) / (len(names) + 1) if one.module in names else 0.5
        x = area.left() + area.width() * (one.layer + within) / max(self._layers, one.layer + 1, 1)
        y = (math.log10(max(one.error, _LEAST)) - low) / (high - low)
        return QPointF(x, area.bottom() - area.height() * min(max(y, 0.0), 1.0))

    def _frame(self, painter: QPainter, area: QRectF, low: int, high: int) -> None:
        fm = painter.fontMetrics()
        step = max(1, math.ceil((high - low) * fm.height() * 1.4 / max(area.height(), 1)))
        for power in range(low, high + 1, step):
            y = area.bottom() - area.height() * (power - low) / (high - low)
            painter.setPen(QPen(color("line"), 1))
            painter.drawLine(QPointF(area.left(), y), QPointF(area.right(), y))
            painter.setPen(color("muted"))
            text = f"{10.0**power:g}" if power >= -4 else f"1e{power}"
            box = QRectF(0, y - fm.height() / 2, area.left() - metrics.s, fm.height())
            painter.drawText(box, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), text)
        under = QRectF(area.left(), area.bottom() + metrics.xs, area.width(), fm.height())
        layers = max(self._layers, 1)
        painter.drawText(under, int(Qt.AlignmentFlag.AlignLeft), self.tr("layer {0}").format(1))
        if layers > 1:
            painter.drawText(under, int(Qt.AlignmentFlag.AlignRight), str(layers))

    def _legend(self, painter: QPainter, area: QRectF) -> None:
        words = {"attention": self.tr("attention"), "up": self.tr("gate and up"), "down": self.tr("down")}
        fm = painter.fontMetrics()
        x = area.left()
        middle = fm.height() / 2
        for kind, _, role, mark in _KINDS:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color(role))
            painter.drawPath(_mark(mark, QPointF(x + metrics.px(4), middle), metrics.px(3)))
            x += metrics.px(12)
            painter.setPen(color("muted"))
            width = fm.horizontalAdvance(words[kind])
            painter.drawText(QRectF(x, 0, width + 2, fm.height()), int(Qt.AlignmentFlag.AlignLeft), words[kind])
            x += width + metrics.m


def _kind(one: LayerError) -> tuple[Role, str]:
    for _, modules, role, mark in _KINDS:
        if one.module in modules:
            return role, mark
    return "muted", "circle"


def _mark(shape: str, at: QPointF, radius: float) -> QPainterPath:
    path = QPainterPath()
    if shape == "square":
        path.addRect(at.x() - radius * 0.9, at.y() - radius * 0.9, radius * 1.8, radius * 1.8)
    elif shape == "diamond":
        r = radius * 1.35
        path.moveTo(at.x(), at.y() - r)
        for dx, dy in ((r, 0.0), (0.0, r), (-r, 0.0)):
            path.lineTo(at.x() + dx, at.y() + dy)
        path.closeSubpath()
    else:
        path.addEllipse(at, radius, radius)
    return path
