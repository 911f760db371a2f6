"""Creativity, and behind it every knob of how the next word is chosen, each in plain words."""

from __future__ import annotations

from msgspec import structs
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from backend.api.schemas import Sampling
from ui.inspector.fields import Fold, MirroredSlider, WheelShy, WheelShyWhole, number_row
from ui.theme import metrics
from ui.widgets import HoverButton, text_label

__all__ = ["SamplingPanel"]

_STEPS = 40  # of the slider: 0 to 2 in steps of 0.05
_TOP = 2.0


class _ShySlider(MirroredSlider):
    def wheelEvent(self, event) -> None:  # type: ignore[no-untyped-def]
        event.ignore()


class SamplingPanel(QWidget):
    """Edits a `Sampling`. None means the model's defaults, which are then shown.

    Signals:
        changed: the user changed something; `value` is the new choice.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._defaults = Sampling()
        self._value: Sampling | None = None
        self._showing = False
        self.slider = _ShySlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setPageStep(4)
        self.slider.setMinimumHeight(metrics.px(24))  # the handle is taller than the groove that Qt measures
        self.slider.setAccessibleName(self.tr("Creativity"))
        self.slider.valueChanged.connect(self._slid)
        self._word = text_label("", "secondary")
        self.reset = HoverButton(self.tr("Model's defaults"), icon="undo")
        self.reset.setProperty("align", "flush")
        self.reset.clicked.connect(self._reset)
        ends = QHBoxLayout()
        ends.addWidget(text_label(self.tr("Exact"), "secondary"))
        ends.addStretch(1)
        ends.addWidget(self._word)
        ends.addStretch(1)
        ends.addWidget(text_label(self.tr("Inventive"), "secondary"))
        self.fold = Fold(self.tr("More about word choice"), self._build_more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self.slider)
        column.addLayout(ends)
        column.addWidget(self.fold)
        column.addWidget(self.reset)
        self._show()

    @property
    def value(self) -> Sampling | None:
        """What is chosen; None for the model's defaults."""
        return self._value

    def set_value(self, value: Sampling | None, defaults: Sampling) -> None:
        """Show a choice and the defaults that stand behind it."""
        self._value, self._defaults = value, defaults
        self._show()

    # Building and showing

    def _build_more(self) -> QWidget:
        self.temperature = self._decimal(0, 5, 0.05)
        self.top_k = WheelShyWhole()
        self.top_k.setRange(0, 1000)
        self.top_k.setSpecialValueText(self.tr("all"))
        self.top_p = self._decimal(0, 1, 0.05)
        self.min_p = self._decimal(0, 1, 0.01)
        self.repetition = self._decimal(0.5, 2, 0.05)
        self.frequency = self._decimal(-2, 2, 0.1)
        self.presence = self._decimal(-2, 2, 0.1)
        self.longest = WheelShyWhole()
        self.longest.setRange(0, 1_000_000)
        self.longest.setSpecialValueText(self.tr("no limit"))
        self.seed = QLineEdit()
        self.seed.setPlaceholderText(self.tr("random"))
        self.seed.setMaxLength(10)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(metrics.xs, 0, 0, metrics.s)
        column.setSpacing(metrics.m)
        for label, field, words in (
            (self.tr("Temperature"), self.temperature, self.tr("0 always takes the likeliest word.")),
            (self.tr("Top-k"), self.top_k, self.tr("Choose among this many likeliest words.")),
            (self.tr("Top-p"), self.top_p, self.tr("Leave out words beyond this share of the likelihood.")),
            (self.tr("Min-p"), self.min_p, self.tr("Leave out words far less likely than the best one.")),
            (self.tr("Repetition"), self.repetition, self.tr("Above 1: words that were used are less likely.")),
            (self.tr("Frequency"), self.frequency, self.tr("Above 0: less likely with each use.")),
            (self.tr("Presence"), self.presence, self.tr("Above 0: less likely after the first use.")),
            (self.tr("Longest answer"), self.longest, self.tr("In tokens, pieces of about four letters.")),
            (self.tr("Seed"), self.seed, self.tr("The same number gives the same answer again.")),
        ):
            column.addWidget(number_row(label, field, words))
        for spin in (self.temperature, self.top_p, self.min_p, self.repetition, self.frequency, self.presence):
            spin.valueChanged.connect(self._typed)
        self.top_k.valueChanged.connect(self._typed)
        self.longest.valueChanged.connect(self._typed)
        self.seed.textEdited.connect(self._typed)
        self._showing = True
        self._show_more(self._value or self._defaults)
        self._showing = False
        return body

    def _decimal(self, low: float, high: float, step: float) -> WheelShy:
        field = WheelShy()
        field.setDecimals(2)
        field.setRange(low, high)
        field.setSingleStep(step)
        return field

    def _show(self) -> None:
        self._showing = True
        sampling = self._value or self._defaults
        self.slider.setValue(round(min(sampling.temperature, _TOP) / _TOP * _STEPS))
        self._show_word(sampling.temperature)
        self.reset.setEnabled(self._value is not None)
        if self.fold.body is not None:
            self._show_more(sampling)
        self._showing = False

    def _show_more(self, sampling: Sampling) -> None:
        self.temperature.setValue(sampling.temperature)
        self.top_k.setValue(sampling.top_k)
        self.top_p.setValue(sampling.top_p)
        self.min_p.setValue(sampling.min_p)
        self.repetition.setValue(sampling.repetition_penalty)
        self.frequency.setValue(sampling.frequency_penalty)
        self.presence.setValue(sampling.presence_penalty)
        self.longest.setValue(sampling.max_tokens or 0)
        seed = "" if sampling.seed is None else str(sampling.seed)
        if self.seed.text() != seed:
            self.seed.setText(seed)

    def _show_word(self, temperature: float) -> None:
        words = (
            (0.001, self.tr("always the likeliest")),
            (0.35, self.tr("focused")),
            (0.85, self.tr("balanced")),
            (1.25, self.tr("lively")),
            (1.65, self.tr("daring")),
        )
        word = next((word for limit, word in words if temperature <= limit), self.tr("wild"))
        self._word.setText(f"{temperature:.2f}".rstrip("0").rstrip(".") + f" · {word}")
        self.slider.setAccessibleDescription(self._word.text())

    # What the user does

    def _slid(self, step: int) -> None:
        if not self._showing:
            self._set(structs.replace(self._value or self._defaults, temperature=round(step * _TOP / _STEPS, 2)))

    def _typed(self) -> None:
        if self._showing:
            return
        seed = self.seed.text().strip()
        self._set(
            structs.replace(
                self._value or self._defaults,
                temperature=round(self.temperature.value(), 2),
                top_k=self.top_k.value(),
                top_p=round(self.top_p.value(), 2),
                min_p=round(self.min_p.value(), 2),
                repetition_penalty=round(self.repetition.value(), 2),
                frequency_penalty=round(self.frequency.value(), 2),
                presence_penalty=round(self.presence.value(), 2),
                max_tokens=self.longest.value() or None,
                seed=int(seed) if seed.isdecimal() else None,
            )
        )

    def _reset(self) -> None:
        self._set(None)

    def _set(self, value: Sampling | None) -> None:
        self._value = value
        self._show()
        self.changed.emit()
