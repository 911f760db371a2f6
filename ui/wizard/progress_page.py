"""The third page: what is done, how long it will take, the error of each layer; pause, cancel, and going on."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from backend.api.compression import Compression
from ui.theme import bind_icon, metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.compression_words import duration, level_code, level_name, state_words
from ui.viewmodels.words import error_words, model_name, size
from ui.widgets import ElidedLabel, NoticeBar, text_label
from ui.wizard.error_plot import ErrorPlot
from ui.wizard.stage_list import StageList, stages_for

__all__ = ["ProgressPage"]

_STEPS = 1000
#: from this width on the plot stands beside the stages, below it under them
_ACROSS = 520


class ProgressPage(QWidget):
    """Signals: delete_requested(str): the id, after Cancel; the question is the wizard's to ask. back_requested."""

    delete_requested = Signal(str)
    back_requested = Signal()

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.title = ElidedLabel("", "heading", mode=Qt.TextElideMode.ElideMiddle)
        self.detail = ElidedLabel("", "muted", mode=Qt.TextElideMode.ElideMiddle)
        self.problem = NoticeBar()
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(self.tr("Progress"))
        self.line = text_label("", "", wrap=True)
        self.memory = text_label("", "muted", wrap=True)
        self.stages = StageList()
        self.plot = ErrorPlot()
        self.about_plot = text_label(
            self.tr("Each point is a part of the model: how far its answers are from the original's. Lower is better."),
            "secondary",
            wrap=True,
        )
        self.hint = text_label("", "secondary", wrap=True)
        self.back = QPushButton(self.tr("Back"))
        self.back.clicked.connect(self.back_requested)
        self.cancel = QPushButton(self.tr("Cancel…"))
        self.cancel.clicked.connect(self._cancel)
        self.pause = QPushButton(self.tr("Pause"))
        bind_icon(self.pause, "pause", "muted")
        self.pause.clicked.connect(session.pause)
        self.resume = QPushButton(self.tr("Go on"))
        self.resume.setProperty("kind", "primary")
        self.resume.clicked.connect(self._resume)

        right = QVBoxLayout()
        right.setSpacing(metrics.xs)
        right.addWidget(self.plot, 1)
        right.addWidget(self.about_plot)
        middle = self._middle = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        middle.setSpacing(metrics.l)
        middle.addWidget(self.stages)
        middle.addLayout(right, 1)
        card = QFrame()
        card.setProperty("card", "surface")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(metrics.l, metrics.l, metrics.l, metrics.l)
        inside.setSpacing(metrics.s)
        inside.addWidget(self.bar)
        inside.addWidget(self.line)
        inside.addWidget(self.memory)
        inside.addSpacing(metrics.s)
        inside.addLayout(middle, 1)
        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addWidget(self.back)
        row.addStretch(1)
        row.addWidget(self.cancel)
        row.addWidget(self.pause)
        row.addWidget(self.resume)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        for widget in (self.title, self.detail, self.problem):
            column.addWidget(widget)
        column.addWidget(card, 1)
        column.addWidget(self.hint)
        column.addLayout(row)
        self.refresh()

    def refresh(self) -> None:
        """Show the compression that the session shows."""
        one = self._session.current
        if one is None:
            return
        self.title.setText(self.tr("Making {0}").format(one.name))
        levels = ", ".join(f"{level_name(level)} ({level_code(level)})" for level in one.levels)
        self.detail.setText(self.tr("{0} from {1}").format(levels, model_name(one.source_name)))
        self.stages.set_stages(stages_for(one.options.tuning, len(one.levels)))
        running = one.job is not None
        self.pause.setVisible(running)
        self.resume.setVisible(not running)
        self.back.setVisible(not running)
        self._show_problem(one)
        self.hint.setText(
            self.tr(
                "You can go on chatting meanwhile. Everything that is done is kept, also when the power fails; closing "
                "Nutshell stops the work, and it can go on at the next start."
            )
            if running
            else self.tr("What is done is kept and nothing has to be made again.")
        )
        self.move_on()

    def move_on(self) -> None:
        """Show the newest progress."""
        session, one = self._session, self._session.current
        if one is None:
            return
        running, progress = one.job is not None, self._session.progress
        stopping = session.stopping
        self.pause.setEnabled(running and not stopping)
        self.cancel.setEnabled(not stopping)
        if not running:
            words = state_words(one)
            share = min(1.0, one.done / one.total) if one.total > 0 else 0.0
            self.bar.setValue(round(share * _STEPS))
            self.line.setText(words)
            self.memory.hide()
            self.stages.set_now("quantize" if one.total > 0 else "check", stopped=True)
            return
        fraction = session.fraction
        self.bar.setValue(round((fraction or 0.0) * _STEPS))
        stage = progress.stage if progress is not None else "check"
        parts = []
        if stopping:
            parts.append(self.tr("Stopping where nothing is lost…"))
        elif stage == "measure":
            parts.append(self.tr("The build is finished. Its quality is being measured from the file…"))
            if fraction is not None:
                parts.append(f"{int(100 * fraction)} %")
        elif fraction is None:
            parts.append(self.tr("Starting…"))
        else:
            parts.append(f"{int(100 * fraction)} %")
            if progress is not None and stage in ("quantize", "tune") and progress.layers:
                layer = min(progress.layer + 1, progress.layers)
                parts.append(self.tr("layer {0} of {1}").format(layer, progress.layers))
            left = progress.seconds_left if progress is not None else None
            parts.append(self.tr("{0} left").format(duration(left)) if left is not None else self.tr("time not known"))
            if progress is not None and progress.rate > 0:
                parts.append(self.tr("{0} million weights a second").format(f"{progress.rate:.1f}"))
        self.line.setText(" · ".join(parts))
        self.bar.setAccessibleDescription(self.line.text())
        self.stages.set_now(stage)
        if progress is not None:
            self.plot.set_points(progress.errors, progress.layers or one.layers)
            self.memory.setText(self.tr("The work holds {0} of memory.").format(size(progress.memory)))
        self.memory.setVisible(progress is not None and progress.memory > 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        across = self.width() >= metrics.px(_ACROSS)
        way = QBoxLayout.Direction.LeftToRight if across else QBoxLayout.Direction.TopToBottom
        self._middle.setDirection(way)

    def focus_first(self) -> None:
        """The keyboard to the button that is most likely wanted."""
        (self.pause if self.pause.isVisible() else self.resume).setFocus(Qt.FocusReason.OtherFocusReason)

    def forget_points(self) -> None:
        """Another compression is shown."""
        self.plot.set_points([], 0)

    def _show_problem(self, one: Compression) -> None:
        if one.state == "failed" and one.error is not None:
            self.problem.set_notice(error_words(one.error), level="error", details=one.error.details)
        else:
            self.problem.set_notice("")

    def _cancel(self) -> None:
        one = self._session.current
        if one is not None:
            self.delete_requested.emit(one.id)

    def _resume(self) -> None:
        one = self._session.current
        if one is not None and one.job is None:
            self._session.resume(one.id)
