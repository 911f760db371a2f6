"""The second page: the sizes that this machine can hold, and the options folded away."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from backend.api.compression import CompressionOptions
from ui.theme import bind_icon, metrics
from ui.viewmodels.compression_session import CompressionSession
from ui.viewmodels.compression_words import loss_words, source_note
from ui.viewmodels.words import error_words, model_name, size
from ui.widgets import ElidedLabel, HoverButton, NoticeBar, text_label
from ui.wizard.curve_plot import CurvePlot
from ui.wizard.options_form import OptionsForm
from ui.wizard.position_list import PositionList

__all__ = ["PlanPage"]

#: from this width on the words stand beside the curve, below it under it
_ACROSS = 480


class PlanPage(QWidget):
    """Signals: back_requested, plan_requested(options), start_requested(levels, options, name), unfolded(widget)."""

    back_requested = Signal()
    plan_requested = Signal(object)
    start_requested = Signal(object, object, str)
    unfolded = Signal(object)

    def __init__(self, session: CompressionSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: object = None
        self.title = ElidedLabel("", "heading", mode=Qt.TextElideMode.ElideMiddle)
        self.facts = text_label("", "muted", wrap=True)
        self.note = text_label("", "muted", wrap=True)
        self.waiting = text_label("", "muted", wrap=True)
        self.error = NoticeBar()
        self.error.action_triggered.connect(self._again)
        self.list = PositionList()
        self.list.installEventFilter(self)
        self.curve = CurvePlot()
        self.curve.chosen.connect(self._choose)
        self.expected = text_label("", "secondary", wrap=True)
        self.fold = HoverButton(self.tr("Options"), icon="chevron-down")
        self.fold.setCheckable(True)
        self.form = OptionsForm()
        self.form.changed.connect(self._again)
        card = QFrame()
        card.setProperty("card", "surface")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(metrics.l, metrics.m, metrics.l, metrics.m)
        inside.addWidget(self.form)
        card.hide()
        self.fold.toggled.connect(card.setVisible)
        self.fold.toggled.connect(lambda on: self.unfolded.emit(card) if on else None)
        self.fold.toggled.connect(lambda on: bind_icon(self.fold, "chevron-up" if on else "chevron-down", "muted"))
        self.back = QPushButton(self.tr("Back"))
        self.back.clicked.connect(self.back_requested)
        self.start = QPushButton(self.tr("Start"))
        self.start.setProperty("kind", "primary")
        self.start.clicked.connect(self._start)
        row = QHBoxLayout()
        row.setSpacing(metrics.s)
        row.addWidget(self.back)
        row.addWidget(self.fold)
        row.addStretch(1)
        row.addWidget(self.start)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.m)
        for widget in (self.title, self.facts, self.note, self.waiting, self.error, self.list):
            column.addWidget(widget)
        beside = self._beside = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        beside.setSpacing(metrics.m)
        beside.addWidget(self.curve, 3)
        beside.addWidget(self.expected, 2)
        column.addLayout(beside)
        column.addWidget(card)
        column.addStretch(1)
        column.addLayout(row)
        self.list.selectionModel().currentChanged.connect(lambda *_: self._choice_changed())
        self.refresh()

    def refresh(self) -> None:
        """Show the session's plan, or that it is on its way, or why there is none."""
        session, plan = self._session, self._session.plan
        name = plan.source.entry.name if plan is not None else session.planning
        if name:
            self.title.setText(self.tr("How small? {0}").format(model_name(name)))
        self.waiting.setText(self.tr("Looking at the model and at this machine…") if session.planning else "")
        self.waiting.setVisible(bool(session.planning))
        if session.plan_error is not None:
            self.error.set_notice(
                error_words(session.plan_error), level="error", action=self.tr("Try again"),
                details=session.plan_error.details,
            )  # fmt: skip
        else:
            self.error.set_notice("")
        came = False
        if plan is not self._shown:
            self._shown = plan
            self.list.set_plan(plan)
            self.curve.set_plan(plan)
            came = plan is not None
        for widget in (self.list, self.curve, self.facts, self.fold):
            widget.setVisible(plan is not None)
        if came and self.isVisible():
            self.list.setFocus(Qt.FocusReason.OtherFocusReason)
        note = ""
        if plan is not None:
            self.facts.setText(
                self.tr("The original takes {0}. Here, {1} of {2} memory and {3} on the disk are free.").format(
                    size(plan.source.entry.bytes), size(plan.memory_free), size(plan.memory_total),
                    size(plan.disk_free),
                )
            )  # fmt: skip
            note = source_note(plan.source)
        self.note.setText(note + "." if note else "")
        self.note.setVisible(bool(note))
        self._choice_changed()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        pressed = watched is self.list and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress
        if pressed and isinstance(event, QKeyEvent) and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._start()
            return True
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        across = self.width() >= metrics.px(_ACROSS)
        way = QBoxLayout.Direction.LeftToRight if across else QBoxLayout.Direction.TopToBottom
        self._beside.setDirection(way)

    def _choice_changed(self) -> None:
        position = self.list.position() if self._session.plan is not None else None
        self.curve.set_current(self.list.currentIndex().row())
        self.start.setEnabled(position is not None and position.verdict != "no")
        words = ""
        if position is not None and position.error is None:
            words = self.tr("{0} From builds measured before; this one is measured when it is done.").format(
                loss_words(position)
            )
            plan = self._session.plan
            if plan is not None and position.bytes >= plan.source.entry.bytes > 0:
                words += " " + self.tr("It would be larger than the original.")
        self.expected.setText(words)
        self.expected.setVisible(bool(words))

    def _choose(self, number: int) -> None:
        self.list.setCurrentIndex(self.list.positions.index(number))

    def _options(self) -> CompressionOptions:
        return self.form.options()

    def _again(self) -> None:
        self.plan_requested.emit(self._options())

    def _start(self) -> None:
        position, plan = self.list.position(), self._session.plan
        if position is not None and plan is not None and position.verdict != "no":
            levels = self.form.levels(position.level, [one.level for one in plan.positions])
            self.start_requested.emit(levels, self._options(), self.form.name.text().strip())
