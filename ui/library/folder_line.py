"""Where models are kept: one line, a button that moves them, and how far a move is."""

from __future__ import annotations

from collections import deque
from time import monotonic

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from backend.api.hub_schemas import FolderState, MoveFolder
from backend.api.schemas import BackendStatus, ErrorInfo, Job
from ui.bridge.engine_link import EngineLink
from ui.theme import metrics
from ui.viewmodels.words import size
from ui.widgets import ElidedLabel, HoverButton, text_label

__all__ = ["FolderLine"]

_STEPS = 1000
_KIND = "move_models"
_WINDOW_S = 8.0


class FolderLine(QWidget):
    """Signals: problem(ErrorInfo): what went wrong; moved: models are elsewhere now."""

    problem = Signal(object)
    moved = Signal()

    def __init__(self, link: EngineLink, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.known: FolderState | None = None
        self._job: Job | None = None
        self._points: deque[tuple[float, float]] = deque()
        self.words = ElidedLabel("", "muted", mode=Qt.TextElideMode.ElideMiddle)
        self.change = HoverButton(self.tr("Move the models…"), icon="folder")
        self.change.clicked.connect(self._choose)
        self.usual = HoverButton(self.tr("Back to the usual place"), icon="undo")
        self.usual.clicked.connect(lambda: self.move_to(""))
        self.go_on = HoverButton(self.tr("Go on moving"), icon="continue")
        self.go_on.clicked.connect(self._go_on)
        self.stop = HoverButton(self.tr("Stop"), icon="stop")
        self.stop.setAccessibleName(self.tr("Stop moving the models"))
        self.stop.clicked.connect(self._stop)
        self.bar = QProgressBar()
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.state = text_label("", "secondary", wrap=True)
        buttons = QHBoxLayout()
        buttons.setSpacing(metrics.s)
        for button in (self.go_on, self.stop, self.change, self.usual):
            buttons.addWidget(button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(metrics.xs)
        column.addWidget(self.words)
        column.addWidget(self.bar)
        column.addWidget(self.state)
        column.addLayout(buttons)
        link.attached.connect(self._attached)
        link.job_changed.connect(self._job_changed)
        self.setVisible(False)

    def refresh(self) -> None:
        """Ask where they are."""
        self._link.run(lambda engine: engine.models_folder(), success=self.show_state, quiet=True)

    def show_state(self, state: FolderState) -> None:
        """How it is now."""
        self.known = state
        place = state.folder or state.downloads
        self.words.setText(self.tr("Models go to {0} · {1} free").format(place, size(state.free)))
        moving = self._job is not None or state.job is not None
        self.bar.setVisible(moving)
        self.stop.setVisible(moving)
        self.change.setVisible(not moving)
        self.usual.setVisible(bool(state.folder) and not moving)
        self.go_on.setVisible(state.unfinished and not moving)
        if moving:
            self.state.setText(self._far())
        elif state.unfinished:
            self.state.setText(self.tr("A move did not end. Nothing is lost: models of both places can be used."))
        elif state.also:
            self.state.setText(self.tr("Some models are still in {0}.").format(", ".join(state.also)))
        else:
            self.state.setText("")
        self.state.setVisible(bool(self.state.text()))
        self.setVisible(True)

    def move_to(self, folder: str) -> None:
        """Move them there; "" is the usual place."""
        request = MoveFolder(folder=folder)
        self._link.run(lambda engine: engine.move_models(request), success=self._job_changed, failure=self._refused)

    def _choose(self) -> None:
        dialog = QFileDialog(self.window(), self.tr("Keep models in"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.move_to)
        dialog.open()

    def _go_on(self) -> None:
        if self.known is not None:
            self.move_to(self.known.folder)

    def _stop(self) -> None:
        job = self._job.id if self._job is not None else self.known.job if self.known is not None else None
        if job:
            self._link.run(lambda engine: engine.cancel_job(job), quiet=True)

    def _attached(self, _status: BackendStatus) -> None:
        self._job = None
        if self.isVisible():
            self.refresh()

    def _job_changed(self, job: Job) -> None:
        if job.kind != _KIND:
            return
        if job.ended_at is not None:
            self._job = None
            self._points.clear()
            if job.error is not None:
                self.problem.emit(job.error)
            elif job.result is not None and (left := job.result.get("left")):
                self._told_left(left)
            self.moved.emit()
            self.refresh()
            return
        self._job = job
        self._points.append((monotonic(), job.done))
        while len(self._points) > 2 and self._points[0][0] < self._points[-1][0] - _WINDOW_S:
            self._points.popleft()
        self.bar.setValue(round(_STEPS * job.done / job.total) if job.total else 0)
        if self.known is not None:
            self.show_state(self.known)

    def _told_left(self, left: object) -> None:
        names = " ".join(map(str, left)) if isinstance(left, list) else ""
        self.problem.emit(
            ErrorInfo(code="conflict", what=self.tr("Some models stayed where they are."), why=names, remedy="")
        )

    def _far(self) -> str:
        """As in: Copied and compared: 40 % · 210 MB a second · 3 min left."""
        job = self._job
        if job is None or not job.total:
            return self.tr("Moving the models…")
        share = self.tr("Copied and compared: {0} %").format(round(100 * job.done / job.total))
        (then, before), (now, done) = self._points[0], self._points[-1]
        if now - then < 1.0 or done <= before:
            return share
        rate = (done - before) / (now - then)
        seconds = (job.total - done) / rate
        left = (
            self.tr("{0} s left").format(round(seconds))
            if seconds < 90
            else self.tr("{0} min left").format(round(seconds / 60))
        )
        return " · ".join((share, self.tr("{0} a second").format(size(int(rate))), left))

    def _refused(self, error: ErrorInfo) -> None:
        self.problem.emit(error)
        self.refresh()
