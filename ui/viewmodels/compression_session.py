"""Making models smaller, as the window knows it: what can be made, what is being made, and what was left unfinished."""

from __future__ import annotations

import msgspec
from PySide6.QtCore import QObject, Signal

from backend.api.compression import (
    Answer,
    ComparePrompts,
    Compression,
    CompressionOptions,
    CompressionPlan,
    CompressionSource,
    CompressionStatus,
    ExportBuild,
    Exported,
    ExportFormat,
    NewCompression,
    PlanCompression,
)
from backend.api.schemas import BackendStatus, CompressionProgress, ErrorInfo, Job
from ui.bridge.engine_link import EngineLink

__all__ = ["CompressionSession"]

_COMPRESS, _COMPARE, _EXPORT = "compress", "compare", "export"


class CompressionSession(QObject):
    """Follows the jobs of the link and asks for compressions. Nothing is asked before `refresh`, but for the status
    when an engine has come: whether something was left unfinished must be said without being asked.
    """

    changed = Signal()  # status, sources, plan, or which one is shown
    moved = Signal()  # the running one went on
    answered = Signal()  # the comparison went on or ended
    export_changed = Signal()  # the export went on or ended
    problem = Signal(object)  # ErrorInfo of a request
    ended = Signal(object)  # Compression: it is finished, failed or paused
    unfinished_found = Signal(object)  # Compression: one that an earlier engine did not finish

    def __init__(self, link: EngineLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.status: CompressionStatus | None = None
        self.sources: list[CompressionSource] | None = None
        self.plan: CompressionPlan | None = None
        self.plan_error: ErrorInfo | None = None
        self.planning = ""  # name of the model whose plan is awaited
        self.job: Job | None = None  # the running compression's
        self.shown = ""  # id of the compression that the pages show
        self.answers: list[Answer] = []
        self.comparing = False
        self.exporting = False
        self.export_fraction = 0.0
        self.exported: Exported | None = None
        self.stopping = False
        self._compare_job = self._export_job = ""
        self._wanted = False  # the list of models too
        self._told: set[str] = set()  # unfinished ones that were announced
        self._asked = 0  # plans are answered out of order
        link.attached.connect(self._attached)
        link.state_changed.connect(self._state_changed)
        link.job_changed.connect(self._job_changed)

    # Reading

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._link.ready

    @property
    def installed(self) -> bool:
        """Whether the packages are there; True until it is known."""
        return self.status is None or self.status.installed

    @property
    def unfinished(self) -> list[Compression]:
        """Those that can go on, newest first."""
        known = self.status.compressions if self.status is not None else []
        return [one for one in known if one.state in ("paused", "interrupted", "failed")]

    @property
    def finished(self) -> list[Compression]:
        """Those whose build is there, newest first."""
        known = self.status.compressions if self.status is not None else []
        return [one for one in known if one.state == "finished" and one.result is not None]

    @property
    def running(self) -> Compression | None:
        """The one that is being made."""
        known = self.status.compressions if self.status is not None else []
        return next((one for one in known if one.job is not None), None)

    @property
    def current(self) -> Compression | None:
        """The one that the pages show."""
        known = self.status.compressions if self.status is not None else []
        return next((one for one in known if one.id == self.shown), None)

    @property
    def progress(self) -> CompressionProgress | None:
        """Where the running one is."""
        return self.job.compression if self.job is not None else None

    @property
    def fraction(self) -> float | None:
        """How far the running one is, 0..1; None while that is not known."""
        job = self.job
        return min(1.0, job.done / job.total) if job is not None and job.total > 0 else None

    # Asking

    def refresh(self) -> None:
        """Read the status and the list of models again; when the engine is there, if it is not yet."""
        self._wanted = True
        if not self._link.ready:
            return
        self._read_status()
        self._link.run(lambda engine: engine.compression_sources(), success=self._set_sources, quiet=True)

    def make_plan(self, request: PlanCompression, name: str) -> None:
        """Ask what this machine can hold of a model; `changed` says when `plan` or `plan_error` is there."""
        self.plan, self.plan_error, self.planning = None, None, name
        self._asked += 1
        turn = self._asked

        def came(plan: CompressionPlan) -> None:
            if turn == self._asked:
                self.plan, self.planning = plan, ""
                self.changed.emit()

        def refused(error: ErrorInfo) -> None:
            if turn == self._asked:
                self.plan_error, self.planning = error, ""
                self.changed.emit()

        self._link.run(lambda engine: engine.plan_compression(request), success=came, failure=refused)
        self.changed.emit()

    def forget_plan(self) -> None:
        """Back to the choice of a model; an answer that is on its way is not waited for."""
        self._asked += 1
        self.plan, self.plan_error, self.planning = None, None, ""
        self.changed.emit()

    def start(self, source: CompressionSource, levels: list[str], options: CompressionOptions, name: str = "") -> None:
        """Begin. One level is a build; several are a build with a slider."""
        request = NewCompression(path=source.entry.path, levels=levels, options=options, name=name)
        self._link.run(lambda engine: engine.start_compression(request), success=self._began, failure=self._refused)

    def resume(self, compression_id: str) -> None:
        """Go on with one."""
        self.shown = compression_id
        self._link.run(
            lambda engine: engine.resume_compression(compression_id), success=self._began, failure=self._refused
        )

    def pause(self) -> None:
        """Stop the running one and keep what is done."""
        running = self.running
        if running is None or self.stopping:
            return
        self.stopping = True
        self.moved.emit()
        self._link.run(
            lambda engine: engine.pause_compression(running.id),
            success=lambda _: self._read_status(),
            failure=self._refused,
        )

    def delete(self, compression_id: str) -> None:
        """Stop it and delete what is done; a finished build stays."""
        self._told.add(compression_id)
        self.stopping = True
        self.moved.emit()

        def gone(_: None) -> None:
            self.stopping = False
            if self.shown == compression_id:
                self.shown = ""
            self._read_status()

        self._link.run(lambda engine: engine.delete_compression(compression_id), success=gone, failure=self._refused)

    def compare(self, compression_id: str) -> None:
        """Let source and build answer the same questions."""
        self.answers, self.comparing = [], True
        self.answered.emit()

        def began(job: Job) -> None:
            self._compare_job = job.id
            self._compared(job)

        def refused(error: ErrorInfo) -> None:
            self.comparing = False
            self.answered.emit()
            self.problem.emit(error)

        self._link.run(
            lambda engine: engine.compare_compression(compression_id, ComparePrompts()), success=began, failure=refused
        )

    def export(self, build: str, out: str, form: ExportFormat) -> None:
        """Write a build as a folder for other programs."""
        self.exporting, self.export_fraction, self.exported = True, 0.0, None
        self.export_changed.emit()

        def began(job: Job) -> None:
            self._export_job = job.id
            self._export_moved(job)

        def refused(error: ErrorInfo) -> None:
            self.exporting = False
            self.export_changed.emit()
            self.problem.emit(error)

        request = ExportBuild(build=build, out=out, format=form)
        self._link.run(lambda engine: engine.export_build(request), success=began, failure=refused)

    def show(self, compression_id: str) -> None:
        """Which one the pages show."""
        if compression_id != self.shown:
            self.shown, self.answers, self.exported = compression_id, [], None
            self._told.add(compression_id)  # its end is on the page already
            self.changed.emit()

    # Events

    def _attached(self, _status: BackendStatus) -> None:
        if self._wanted:
            self.refresh()
        else:
            self._read_status()

    def _state_changed(self, state: str, _sentence: str) -> None:
        if state != "ready" and not self._link.alive:
            self.job, self.stopping, self.comparing, self.exporting = None, False, False, False
            self.planning = ""
            self.changed.emit()

    def _read_status(self) -> None:
        self._link.run(lambda engine: engine.compression(), success=self._set_status, quiet=True)

    def _set_status(self, status: CompressionStatus) -> None:
        self.status = status
        running = self.running
        if running is None:
            self.job, self.stopping = None, False
        else:
            self._told.discard(running.id)
            self.shown = self.shown or running.id
            if self.job is None:
                self.job = Job(
                    id=running.job or "", kind=_COMPRESS, title="", state="started", done=running.done,
                    total=running.total,
                )  # fmt: skip
        self.changed.emit()
        current = self.current
        if current is not None and current.job is None and current.id not in self._told:
            self._told.add(current.id)
            self.ended.emit(current)
        for one in self.unfinished:
            if one.id not in self._told and one.state == "interrupted":
                self._told.add(one.id)
                self.unfinished_found.emit(one)

    def _set_sources(self, sources: list[CompressionSource]) -> None:
        self.sources = sources
        self.changed.emit()

    def _began(self, job: Job) -> None:
        self.job = job
        self.shown = ""
        self.stopping = False
        self._read_status()

    def _refused(self, error: ErrorInfo) -> None:
        self.stopping = False
        self.moved.emit()
        self.problem.emit(error)
        self._read_status()

    def _job_changed(self, job: Job) -> None:
        if job.kind == _COMPARE and job.id == self._compare_job:
            self._compared(job)
        if job.kind == _EXPORT and job.id == self._export_job:
            self._export_moved(job)
        if job.kind != _COMPRESS:
            return
        if job.ended_at is None and job.state in ("started", "progress"):
            known = self.job is not None and self.job.id == job.id
            self.job = job
            if known:
                self.moved.emit()
            else:  # begun elsewhere: by the terminal, or before this window followed
                self._read_status()
        elif self.job is None or self.job.id == job.id:
            self._read_status()  # the record says more than the job

    def _compared(self, job: Job) -> None:
        if job.state == "finished" and job.result is not None:
            self.answers = msgspec.convert(job.result.get("answers", []), list[Answer])
        if job.ended_at is not None or job.state in ("finished", "failed", "cancelled"):
            self.comparing = False
            if job.error is not None:
                self.problem.emit(job.error)
        self.answered.emit()

    def _export_moved(self, job: Job) -> None:
        self.export_fraction = job.done / job.total if job.total > 0 else 0.0
        if job.state == "finished" and job.result is not None:
            self.exported = msgspec.convert(job.result, Exported)
        if job.ended_at is not None or job.state in ("finished", "failed", "cancelled"):
            self.exporting = False
            if job.error is not None:
                self.problem.emit(job.error)
        self.export_changed.emit()
