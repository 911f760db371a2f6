"""The slider of a model that was made at several sizes: from fast to best, with what each position takes and gives."""

from __future__ import annotations

import math
from bisect import bisect_right

from PySide6.QtCore import QRect, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QWheelEvent
from PySide6.QtWidgets import QHBoxLayout, QStyle, QStyleOptionSlider, QVBoxLayout, QWidget

from backend.api.schemas import LoadedModel, ModelSlider, SliderPoint
from ui.inspector.fields import MirroredSlider
from ui.theme import color, metrics, theme_changed
from ui.viewmodels.compression_words import quality_words, speed
from ui.viewmodels.words import size
from ui.widgets import text_label

__all__ = ["PositionPanel"]

#: of the handle: finer than any screen is wide here
_STEPS = 1000
#: the model moves when the handle has rested so long; at once when it is let go
PAUSE_MS = 400


class _Handle(MirroredSlider):
    """A slider with marks under its groove; the wheel scrolls the page behind it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.marks: list[float] = []
        self.setRange(0, _STEPS)
        self.setSingleStep(_STEPS // 50)
        self.setPageStep(_STEPS // 10)
        self.setMinimumHeight(metrics.px(30))  # the handle is taller than the groove, and the marks are below it

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        groove, handle = self._part(QStyle.SubControl.SC_SliderGroove), self._part(QStyle.SubControl.SC_SliderHandle)
        way, half = groove.width() - handle.width(), handle.width() // 2
        top, tall, wide = self.height() - metrics.px(6), metrics.px(5), metrics.px(2)
        for mark in self.marks:
            x = round((1 - mark if self.layoutDirection() == Qt.LayoutDirection.RightToLeft else mark) * way)
            painter.fillRect(groove.left() + half + x - wide // 2, top, wide, tall, color("muted"))

    def _part(self, part: QStyle.SubControl) -> QRect:
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        return self.style().subControlRect(QStyle.ComplexControl.CC_Slider, option, part, self)


class PositionPanel(QWidget):
    """Shows the slider of the loaded model, and asks for another position when the handle rests.

    Signals:
        wanted: another position, 0 (fast) to 1 (best).
    """

    wanted = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider: ModelSlider | None = None
        self._beside = 0
        self._showing = False
        self._moving = self._answering = self._fixed = False
        self.handle = _Handle()
        self.handle.setAccessibleName(self.tr("Speed or quality"))
        self.handle.valueChanged.connect(self._slid)
        self.handle.sliderReleased.connect(self._rested)
        self.takes = text_label("", wrap=True)
        self.holds = text_label("", "secondary", wrap=True)
        self.gives = text_label("", "secondary", wrap=True)
        self.note = text_label("", "secondary", wrap=True)
        ends = QHBoxLayout()
        ends.addWidget(text_label(self.tr("Fast"), "secondary"))
        ends.addStretch(1)
        ends.addWidget(text_label(self.tr("Best"), "secondary"))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self.handle)
        column.addLayout(ends)
        for label in (self.takes, self.gives, self.holds, self.note):
            column.addWidget(label)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._rested)
        theme_changed.connect(self.handle.update)

    def set_model(self, loaded: LoadedModel | None, *, moving: bool, answering: bool) -> None:
        """Another state of the model. A handle that is held, or has not rested yet, stays where it is.

        Args:
            loaded: the model.
            moving: another position was asked for and is on its way.
            answering: an answer is being written.
        """
        self._slider = loaded.slider if loaded is not None else None
        self._moving, self._answering = moving, answering
        self._fixed = loaded is not None and loaded.streamed_bytes > 0
        self.handle.setEnabled(not self._fixed)
        if self._slider is None or loaded is None:
            self._pause.stop()
            return
        self._beside = loaded.kv_bytes
        self.handle.marks = [point.place for point in self._slider.points if point.measured]
        if not (moving or self.handle.isSliderDown() or self._pause.isActive()):
            self._showing = True
            self.handle.setValue(round(self._slider.position * _STEPS))
            self._showing = False
        self.handle.update()
        self._show()

    def point(self) -> SliderPoint | None:
        """The position under the handle: the last one that is not to the right of it."""
        if self._slider is None or not self._slider.points:
            return None
        places = [point.place for point in self._slider.points]
        return self._slider.points[max(bisect_right(places, (self.handle.value() + 0.5) / _STEPS) - 1, 0)]

    def _show(self) -> None:
        point = self.point()
        if point is None:
            return
        takes = " · ".join(word for word in (size(point.bytes), speed(point.tok_s)) if word)
        quality = quality_words(math.expm1(min(point.kl, 50.0)))
        told = self.tr("{0} (measured)") if point.measured else self.tr("{0} (expected)")
        self.takes.setText(takes)
        self.gives.setText(told.format(quality))
        self.holds.setText(self.tr("{0} of memory with the conversation").format(size(point.bytes + self._beside)))
        if self._fixed:
            words = self.tr("Part of the model is read from the disk: it stays at this position while it is loaded.")
        elif self._moving:
            words = self.tr("From the next answer on.") if self._answering else self.tr("Changing…")
        else:
            words = self.tr("Marks were measured when the model was made.")
        self.note.setText(words)
        self.handle.setAccessibleDescription(f"{takes}. {self.gives.text()}. {self.holds.text()}")

    def _slid(self) -> None:
        if self._showing:
            return
        self._show()
        if not self.handle.isSliderDown():
            self._pause.start()

    def _rested(self) -> None:
        self._pause.stop()
        point = self.point()
        if point is not None and self._slider is not None and (self._moving or point.place != self._slider.position):
            self.wanted.emit(point.place)
