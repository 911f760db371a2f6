"""The slider from fast to best: the model's own positions and its other builds, with what each takes and gives."""

from __future__ import annotations

import math

from PySide6.QtCore import QRect, Qt, QTimer, Signal
from PySide6.QtGui import QBrush, QPainter, QPaintEvent, QRegion, QWheelEvent
from PySide6.QtWidgets import QHBoxLayout, QStyle, QStyleOptionSlider, QVBoxLayout, QWidget

from backend.api.plan_schemas import ModelLadder
from backend.api.schemas import LoadedModel
from ui.inspector.fields import MirroredSlider
from ui.theme import color, metrics, theme_changed
from ui.viewmodels.compression_words import level_code, percent, quality_words, speed
from ui.viewmodels.track import Stop, Track, track_of
from ui.viewmodels.words import count, model_name, rate, size
from ui.widgets import HoverButton, text_label
from ui.widgets.announce import announce

__all__ = ["PositionPanel"]

#: of the handle: finer than any screen is wide here
_STEPS = 1000
#: the model moves when the handle has rested so long; at once when it is let go
PAUSE_MS = 400


class _Handle(MirroredSlider):
    """A slider with marks under its groove, hatched behind its limit; the wheel scrolls the page behind it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(Qt.Orientation.Horizontal, parent)
        self.marks: list[float] = []
        self.limit = 1.0
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
        rtl = self.layoutDirection() == Qt.LayoutDirection.RightToLeft
        for mark in self.marks:
            x = round((1 - mark if rtl else mark) * way)
            painter.fillRect(groove.left() + half + x - wide // 2, top, wide, tall, color("muted"))
        if self.limit < 1:
            begin = round(self.limit * way) + handle.width() + metrics.px(2)
            far = QRect(groove.left() + begin, groove.center().y() - metrics.px(4), 0, metrics.px(8))
            far.setRight(groove.right())
            if rtl:
                far.moveLeft(groove.left() + groove.right() - far.right())
            painter.setClipRegion(QRegion(self.rect()) - QRegion(handle, QRegion.RegionType.Ellipse))
            painter.fillRect(far, QBrush(color("muted"), Qt.BrushStyle.BDiagPattern))

    def _part(self, part: QStyle.SubControl) -> QRect:
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        return self.style().subControlRect(QStyle.ComplexControl.CC_Slider, option, part, self)


class PositionPanel(QWidget):
    """Shows the track of the loaded model, and asks for another stop when the handle rests.

    Signals:
        wanted(float): another position of the loaded model's own slider, 0 (fast) to 1 (best).
        taken(Stop): another build.
        stale: the handle is taken hold of, or was let go where nothing fits: what fits may have changed.
        others_wanted(str): other builds of the model with this name are to be looked for.
        smaller_wanted(str): a smaller build is to be made from this file.
    """

    wanted = Signal(float)
    taken = Signal(object)
    stale = Signal()
    others_wanted = Signal(str)
    smaller_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.track = Track()
        self._loaded: LoadedModel | None = None
        self._showing = False
        self._moving = self._answering = self._fixed = False
        self._refused = ""  # why the stop cannot be taken that the handle was let go at
        self.handle = _Handle()
        self.handle.setAccessibleName(self.tr("Speed or quality"))
        self.handle.valueChanged.connect(self._slid)
        self.handle.sliderReleased.connect(self._rested)
        self.handle.sliderPressed.connect(self.stale)
        self.takes = text_label("", wrap=True)
        self.build = text_label("", "secondary", wrap=True)
        self.holds = text_label("", "secondary", wrap=True)
        self.gives = text_label("", "secondary", wrap=True)
        self.note = text_label("", "secondary", wrap=True)
        self.ends = QWidget()
        ends = QHBoxLayout(self.ends)
        ends.setContentsMargins(0, 0, 0, 0)
        ends.addWidget(text_label(self.tr("Fast"), "secondary"))
        ends.addStretch(1)
        ends.addWidget(text_label(self.tr("Best"), "secondary"))
        self.others = HoverButton(self.tr("Find other builds…"), icon="download")
        self.others.clicked.connect(lambda: self.others_wanted.emit(self.track.model))
        self.smaller = HoverButton(self.tr("Make a smaller one…"), icon="compress")
        self.smaller.clicked.connect(self._make_smaller)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self.handle)
        column.addWidget(self.ends)
        for label in (self.takes, self.gives, self.holds, self.build, self.note):
            column.addWidget(label)
        for button in (self.others, self.smaller):
            button.setProperty("align", "flush")
            column.addWidget(button)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._rested)
        theme_changed.connect(self.handle.update)

    def set_model(
        self, loaded: LoadedModel | None, ladder: ModelLadder | None, *, moving: bool, answering: bool
    ) -> None:
        """Another state of the model. A handle that is held, or has not rested yet, stays where it is.

        Args:
            loaded: the model.
            ladder: its other builds, where they are known.
            moving: another stop was asked for and is on its way.
            answering: an answer is being written.
        """
        if loaded is None and moving:
            return  # the old build has gone, and the new one is on its way
        another = loaded is None or self._loaded is None or loaded.entry.path != self._loaded.entry.path
        limit = self.track.limit
        self._loaded, self.track = loaded, track_of(loaded, ladder)
        self._moving, self._answering = moving, answering
        if another or moving or self.track.limit != limit:
            self._refused = ""
        alone = all(one.load is None for one in self.track.stops)
        self._fixed = loaded is not None and loaded.streamed_bytes > 0 and alone
        self.handle.setEnabled(not self._fixed)
        self.handle.setVisible(self.track.chooses)
        self.ends.setVisible(self.track.chooses)
        if not self.track.stops:
            self._pause.stop()
            return
        self.others.setVisible(bool(self.track.model))
        self.smaller.setVisible(loaded is not None and not loaded.entry.path.endswith(".nutshell"))  # it was made here
        self.handle.marks = [one.place for one in self.track.stops if one.measured or one.position is None]
        self.handle.limit = self.track.limit
        if not (moving or self.handle.isSliderDown() or self._pause.isActive()):
            self._stand()
        self.handle.update()
        self._show()

    def stop(self) -> Stop | None:
        """What the handle is at."""
        number = self.track.at(self.handle.value() / _STEPS)
        return self.track.stops[number] if number >= 0 else None

    def _stand(self) -> None:
        """The handle goes to where the loaded model is."""
        if self.track.here >= 0:
            self._showing = True
            self.handle.setValue(round(self.track.stops[self.track.here].place * _STEPS))
            self._showing = False

    def _show(self) -> None:
        stop = self.stop()
        if stop is None:
            return
        pace = speed(stop.tok_s)
        if pace and stop.high > stop.low > 0:
            pace = self.tr("{0} ({1} to {2})").format(pace, rate(stop.low), rate(stop.high))
        takes = " · ".join(word for word in (size(stop.bytes), pace) if word)
        growth = math.expm1(min(stop.loss, 50.0))
        told = (
            self.tr("{0} · perplexity +{1} (measured)")
            if stop.measured
            else self.tr("{0} · perplexity +{1} (expected)")
        )
        self.takes.setText(takes)
        self.gives.setText(told.format(quality_words(growth), percent(growth)))
        self.holds.setText(self.tr("{0} of memory with the conversation").format(size(stop.held)))
        self.build.setText(self._build_words(stop))
        self.build.setVisible(bool(self.build.text()))
        self.note.setText(self._note_words(stop))
        self.note.setVisible(bool(self.note.text()))
        parts = (takes, self.gives.text(), self.holds.text(), self.build.text())
        self.handle.setAccessibleDescription(". ".join(part for part in parts if part))

    def _build_words(self, stop: Stop) -> str:
        """Which build it is and how it would be loaded: what moves together with the handle."""
        if stop.position is not None and all(one.position is not None for one in self.track.stops):
            return ""
        if stop.load is None:
            name = model_name(self._loaded.entry.name) if self._loaded is not None else ""
            words = [name, "" if stop.position is not None else level_code(stop.scheme)]
        else:
            words = [model_name(stop.name), level_code(stop.scheme)]
        words += self._settings_words(stop.context, stop.kv, stop.budget, stop.draft)
        return " · ".join(word for word in words if word)

    def _note_words(self, stop: Stop) -> str:
        if self._fixed:
            return self.tr("Part of the model is read from the disk: it stays at this position while it is loaded.")
        if self._moving:
            return self.tr("From the next answer on.") if self._answering else self.tr("Changing…")
        if stop.why or self._refused:
            return self.tr("It does not fit now. {0}").format(stop.why or self._refused)
        if stop.load is not None:
            return self.tr("This build is loaded when you let go; the chat stays.")
        if not self.track.chooses:
            return self.tr("It is the only build of this model on this machine.")
        own = self._own_settings()
        if own:
            return self.tr("Loaded with settings of your own. Planned: {0}.").format(own)
        return self.tr("Marks were measured when the model was made.") if stop.position is not None else ""

    def _own_settings(self) -> str:
        """How the loaded build would be loaded now, where it was loaded otherwise."""
        loaded, plan = self._loaded, self.track.planned
        if loaded is None or plan is None:
            return ""
        as_planned = (plan.context, plan.kv or loaded.kv, plan.budget > 0, plan.draft != "")
        if as_planned == (loaded.n_ctx, loaded.kv, loaded.streamed_bytes > 0, loaded.draft_bytes > 0):
            return ""
        return " · ".join(self._settings_words(plan.context, plan.kv, plan.budget, plan.draft))

    def _settings_words(self, context: int, kv: str, budget: int, draft: str) -> list[str]:
        words = [self.tr("{0} tokens of context").format(count(context))] if context else []
        if kv == "q8":
            words.append(self.tr("half the conversation memory"))
        if budget:
            words.append(self.tr("{0} of it in memory, the rest read from the disk").format(size(budget)))
        if draft:
            words.append(self.tr("{0} guesses ahead").format(model_name(draft)))
        return words

    def _make_smaller(self) -> None:
        if self._loaded is not None:
            self.smaller_wanted.emit(self._loaded.entry.path)

    def _slid(self) -> None:
        if self._showing:
            return
        self._refused = ""
        self._show()
        if self.handle.hasFocus():  # its value is a number of steps, which says nothing
            announce(self.handle, self.handle.accessibleDescription())
        if not self.handle.isSliderDown():
            self._pause.start()

    def _rested(self) -> None:
        self._pause.stop()
        stop = self.stop()
        if stop is None:
            return
        if stop.why:
            self._stand()
            self._refused = stop.why
            self._show()
            self.stale.emit()
        elif stop.load is not None:
            self.taken.emit(stop)
        elif stop.position is None:
            self._stand()  # between two builds: back to the loaded one
            self._show()
        else:
            slider = self._loaded.slider if self._loaded is not None else None
            if slider is not None and (self._moving or stop.position != slider.position):
                self.wanted.emit(stop.position)
