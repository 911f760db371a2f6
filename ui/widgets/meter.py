"""A labelled bar: "Context   1,240 of 8,192"."""

from __future__ import annotations

from typing import Literal

from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from ui.theme import metrics
from ui.widgets.labels import ElidedLabel, Tone, set_tone, text_label

__all__ = ["Meter"]

_STEPS = 1000  # of the bar: finer than any screen is wide here


class Meter(QWidget):
    """A name, a thin bar and its value in words; the colour warns near the end, and the words say so too."""

    def __init__(self, label: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = text_label(label, "muted")
        self._value = ElidedLabel("", "secondary")
        self._bar = QProgressBar()
        self._bar.setRange(0, _STEPS)
        self._bar.setTextVisible(False)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.addWidget(self._label)
        top.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addLayout(top)
        column.addWidget(self._bar)
        column.addWidget(self._value)
        self.setAccessibleName(label)

    def set_label(self, label: str) -> None:
        """Another name."""
        self._label.setText(label)
        self.setAccessibleName(label)

    def set_value(self, fraction: float, words: str, level: Literal["", "warn", "danger"] = "") -> None:
        """Fills the bar to `fraction` (0..1) and says it in words ("1,240 of 8,192")."""
        self._bar.setValue(round(min(1.0, max(0.0, fraction)) * _STEPS))
        self._value.setText(words)
        tone: Tone = level or "secondary"
        set_tone(self._value, tone)
        set_tone(self._bar, level)
        self._bar.setAccessibleName(self._label.text())
        self.setAccessibleDescription(words)

    def fraction(self) -> float:
        """How full the bar is, 0..1."""
        return self._bar.value() / _STEPS

    def words(self) -> str:
        """The value in words, as shown."""
        return self._value.text()
