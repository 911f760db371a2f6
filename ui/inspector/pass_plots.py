"""Two small plots of guessing ahead: what a pass costs by its size, and what the passes of the last answer brought."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from ui.theme import color, metrics, theme_changed

__all__ = ["CostPlot", "PassPlot"]


class _Plot(QWidget):
    """A plot of the panel's width with a line of words under it."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)
        theme_changed.connect(self.update)

    def sizeHint(self) -> QSize:
        return QSize(metrics.px(200), metrics.px(96))

    def _tell(self, words: str) -> None:
        self.setAccessibleDescription(words)
        self.setToolTip(words)
        self.update()

    def _begin(self, top: str, left: str, right: str) -> tuple[QPainter, QRectF]:
        """A painter and the area of the plot, with what its height is and what its ends are."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setLayoutDirection(Qt.LayoutDirection.LeftToRight)  # as plots run everywhere
        painter.setFont(metrics.font("secondary"))
        tall = painter.fontMetrics().height()
        area = QRectF(0, tall + metrics.xs, self.width() - 1, self.height() - 2 * tall - 2 * metrics.xs)
        painter.setPen(QPen(color("line"), 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.setPen(color("muted"))
        painter.drawText(QRectF(0, 0, self.width(), tall), int(Qt.AlignmentFlag.AlignLeft), top)
        under = QRectF(0, area.bottom() + metrics.xs, self.width() - 1, tall)
        painter.drawText(under, int(Qt.AlignmentFlag.AlignLeft), left)
        painter.drawText(under, int(Qt.AlignmentFlag.AlignRight), right)
        return painter, area


class CostPlot(_Plot):
    """T(n): how long a pass over n words takes, with the line on which n words are worth n passes."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setAccessibleName(self.tr("Cost of a pass by the number of guesses"))
        self._curve: list[tuple[int, float]] = []

    def set_curve(self, curve: Sequence[tuple[int, float]]) -> None:
        """(tokens of a pass, seconds), ascending."""
        self._curve = [(n, seconds) for n, seconds in curve if n > 0 and seconds > 0]
        if self._curve:
            (_, first), (n, last) = self._curve[0], self._curve[-1]
            self._tell(
                self.tr("A pass over {0} tokens takes {1} times as long as one.").format(n, f"{last / first:.1f}")
            )
        self.setVisible(len(self._curve) > 1)

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._curve) < 2:
            return
        (_, first), (most, _) = self._curve[0], self._curve[-1]
        top = max(seconds for _, seconds in self._curve) / first
        painter, area = self._begin(
            self.tr("{0} ms a pass").format(f"{top * first * 1000:.0f}"),
            self.tr("1 token"),
            self.tr("{0} tokens").format(most),
        )

        def place(n: float, ratio: float) -> QPointF:
            x = area.left() + area.width() * (n - 1) / (most - 1)
            return QPointF(x, area.bottom() - area.height() * min(ratio / top, 1.0))

        painter.setPen(QPen(color("line"), 1, Qt.PenStyle.DashLine))
        painter.drawLine(place(1, 1), place(min(most, top), min(most, top)))
        painter.setPen(QPen(color("accent"), metrics.px(2)))
        painter.drawPolyline(QPolygonF([place(n, seconds / first) for n, seconds in self._curve]))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color("accent"))
        for n, seconds in self._curve:
            painter.drawEllipse(place(n, seconds / first), metrics.px(2), metrics.px(2))
        painter.end()


class PassPlot(_Plot):
    """A bar for each pass: how many tokens were tried, and how many of them came out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", parent)
        self.setAccessibleName(self.tr("Passes of the last answer"))
        self._passes: list[tuple[int, int]] = []

    def set_passes(self, passes: Sequence[tuple[int, int, float]]) -> None:
        """(tokens tried, tokens that came out, seconds) of each pass."""
        self._passes = [(nodes, tokens) for nodes, tokens, _ in passes]
        if self._passes:
            tried, out = (sum(one[i] for one in self._passes) for i in (0, 1))
            words = self.tr("{0} passes tried {1} tokens; {2} of them came out.")
            self._tell(words.format(len(self._passes), tried, out))
        self.setVisible(bool(self._passes))

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._passes:
            return
        top = max(nodes for nodes, _ in self._passes)
        painter, area = self._begin(
            self.tr("Up to {0} tokens a pass").format(top),
            self.tr("first pass"),
            self.tr("pass {0}").format(len(self._passes)),
        )
        painter.setPen(Qt.PenStyle.NoPen)
        most = max(int(area.width()) // metrics.px(3), 1)
        shown = self._folded(most)
        step = area.width() / len(shown)
        width = max(min(step - 1, metrics.px(10)), 1.0)
        for i, (nodes, tokens) in enumerate(shown):
            for value, brush in ((nodes, color("accent_soft")), (tokens, color("accent"))):
                tall = area.height() * value / top
                painter.setBrush(brush)
                painter.drawRect(QRectF(area.left() + i * step, area.bottom() - tall, width, tall))
        painter.end()

    def _folded(self, most: int) -> list[tuple[float, float]]:
        """At most `most` bars: means of neighbours where there are more passes."""
        size = math.ceil(len(self._passes) / most)
        parts = [self._passes[i : i + size] for i in range(0, len(self._passes), size)]
        return [(sum(n for n, _ in part) / len(part), sum(t for _, t in part) / len(part)) for part in parts]
