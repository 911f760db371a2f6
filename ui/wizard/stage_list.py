"""The stages of the work in a column: done, now, still to come. A word for each state, not only a mark."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ui.theme import Role, metrics, pixmap, theme_changed
from ui.viewmodels.compression_words import stage_name
from ui.widgets import ElidedLabel
from ui.widgets.labels import set_tone

__all__ = ["StageList", "stages_for"]

_MARKS: dict[str, tuple[str, Role]] = {
    "done": ("check", "ok"), "now": ("chevron-right", "accent"), "next": ("dot", "line"), "stopped": ("pause", "warn")
}  # fmt: skip


def stages_for(tuning: str, levels: int) -> list[str]:
    """The stages that a compression goes through, in order."""
    stages = ["check", "calibrate", "quantize"]
    if tuning in ("p", "pv"):
        stages.append("tune")
    if levels > 1:
        stages.append("sensitivity")
    return [*stages, "write", "measure"]


class StageList(QWidget):
    """Names of stages with a mark before each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stages: list[str] = []
        self._now = ""
        self._stopped = False
        self._rows: list[tuple[QLabel, QLabel, QWidget]] = []
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(metrics.xs)
        self._column.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setMinimumWidth(metrics.px(210))
        theme_changed.connect(self._paint_rows)

    def set_stages(self, stages: list[str]) -> None:
        """Other stages."""
        if stages == self._stages:
            return
        self._stages = list(stages)
        for _, _, row in self._rows:
            self._column.removeWidget(row)
            row.deleteLater()
        self._rows = []
        for stage in stages:
            row = QWidget()
            line = QHBoxLayout(row)
            line.setContentsMargins(0, 0, 0, 0)
            line.setSpacing(metrics.s)
            mark, words = QLabel(), ElidedLabel(stage_name(stage))
            line.addWidget(mark)
            line.addWidget(words, 1)
            self._column.addWidget(row)
            self._rows.append((mark, words, row))
        self._paint_rows()

    def set_now(self, stage: str, *, stopped: bool = False) -> None:
        """Which one is at work; one that is not in the list changes nothing."""
        if stage in self._stages:
            self._now = stage
        self._stopped = stopped
        self._paint_rows()

    def _paint_rows(self) -> None:
        now = self._stages.index(self._now) if self._now in self._stages else -1
        states = {"done": self.tr("done"), "now": self.tr("now"), "next": self.tr("to come"),
                  "stopped": self.tr("stopped")}  # fmt: skip
        for number, (mark, words, row) in enumerate(self._rows):
            state = "done" if number < now else "next" if number > now else "stopped" if self._stopped else "now"
            name, role = _MARKS[state]
            mark.setPixmap(pixmap(name, role, self.devicePixelRatioF()))
            set_tone(words, "" if state in ("now", "stopped") else "muted")
            title = stage_name(self._stages[number])
            row.setAccessibleName(f"{title}, {states[state]}")
