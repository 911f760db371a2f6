"""The model that answers: which one is loaded, which one is being loaded, and what else is on this machine."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs
from PySide6.QtCore import QObject, Signal

from backend.api.plan_schemas import ModelLadder, ModelPlan
from backend.api.schemas import BackendStatus, ErrorInfo, Job, KvChoice, LoadedModel, LoadModel, ModelEntry
from backend.api.speculation_schemas import Speculate
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.model_list import ModelListModel
from ui.viewmodels.words import model_name

__all__ = ["ModelSession"]

_LOAD = "load_model"
#: models whose slider's place is remembered
_REMEMBERED = 64


class ModelSession(QObject):
    """Follows the model events of the link and asks for loads."""

    changed = Signal()  # loaded model, loading job or its progress
    problem = Signal(object)  # ErrorInfo: a model could not be loaded
    too_large = Signal(object, object)  # the same, and a ModelPlan: it could be loaded otherwise
    kv_changed = Signal(str)  # how the conversation is to be remembered from now on
    speculation_changed = Signal(object)  # LoadedModel: how it guesses from now on
    positions_changed = Signal(object)  # where the sliders of models stand: {path: 0..1}

    def __init__(self, link: EngineLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.list = ModelListModel(self)
        self.loaded: LoadedModel | None = None
        self.kv: KvChoice = "f16"  # what the user chose for all models
        self.positions: dict[str, float] = {}  # of sliders that the user moved, by the model's path, oldest first
        self.ladder: ModelLadder | None = None  # the loaded model's builds, from fast to best
        self._back: LoadModel | None = None  # loads the build again that was left for another one
        self._moving = False  # another position was asked for
        self._next: float | None = None  # and then another one
        self._job: Job | None = None
        self._asking = False  # a load was asked for and its job is not known yet
        self._asked = ""  # name of the model whose load was asked for here
        self._request: LoadModel | None = None  # the last one
        self._wanted: str | None = None  # path of the model to bring back after the engine died
        link.attached.connect(self._attached)
        link.state_changed.connect(self._state_changed)
        link.model_changed.connect(self._model_changed)
        link.job_changed.connect(self._job_changed)

    # Reading

    @property
    def loading(self) -> bool:
        """Whether a model is on its way."""
        return self._job is not None or self._asking

    @property
    def moving(self) -> bool:
        """Whether the slider's new position, or another build of the model, is on its way."""
        return self._moving or self._back is not None

    @property
    def progress(self) -> float | None:
        """Fraction loaded, 0..1; None when it is not known."""
        job = self._job
        return min(1.0, job.done / job.total) if job is not None and job.total > 0 else None

    @property
    def can_answer(self) -> bool:
        """Whether a turn can be started now."""
        return self._link.ready and self.loaded is not None and not self.loading

    @property
    def will_answer(self) -> bool:
        """Whether waiting helps: the engine or the model is on its way."""
        return self._link.state in ("starting", "restarting") or self.loading

    @property
    def reachable(self) -> bool:
        """Whether models can be listed and loaded now."""
        return self._link.ready

    @property
    def title(self) -> str:
        """What the model button says."""
        if self.loading:
            if self._asked:
                return self.tr("Loading {0}…").format(model_name(self._asked))
            return self.tr("Loading a model…")
        if self.loaded is not None:
            return model_name(self.loaded.entry.name)
        if self._link.state in ("starting", "restarting"):
            return self.tr("Starting the engine…")
        if self._link.state == "failed":
            return self.tr("Engine not running")
        return self.tr("Choose a model")

    # Asking

    def refresh(self) -> None:
        """Read the list of models again."""
        self._link.run(lambda engine: engine.models(), success=self._have_models)

    def _have_models(self, found: list[ModelEntry]) -> None:
        before = {one.path for one in self.list.entries()}
        self.list.set_models(found)
        if before and before != {one.path for one in found}:  # a build may have come or gone
            self.look_for_builds()

    def load(self, entry: ModelEntry) -> None:
        """Load a model of the list."""
        self._load(LoadModel(id=entry.id, kv=self.kv), entry.name)

    def load_path(self, path: str | Path) -> None:
        """Load a model file or folder."""
        self._load(LoadModel(path=str(path), kv=self.kv), Path(path).name)

    def load_as_planned(self, plan: ModelPlan) -> None:
        """Load a model with the change that makes it fit."""
        if plan.change is not None:
            self._load(plan.change, plan.name)

    def take(self, request: LoadModel, name: str) -> None:
        """Load another build of the model in its place; if that fails, the present one comes back."""
        loaded = self.loaded
        if loaded is None and self._back is None:
            return
        if request.path and request.position is not None:  # else it would move to where it was left
            self._remember(request.path, request.position)
        back = self._back
        if loaded is not None and back is None:
            back = LoadModel(
                path=loaded.entry.path, n_ctx=loaded.n_ctx, n_threads=loaded.n_threads, kv=loaded.kv,
                n_gpu_layers=-1 if loaded.n_gpu_layers else 0,
                position=loaded.slider.position if loaded.slider is not None else None,
                memory_budget=loaded.weight_bytes - loaded.streamed_bytes if loaded.streamed_bytes else 0,
                draft_model=loaded.draft_model or "none",
            )  # fmt: skip
        self._load(structs.replace(request, kv=request.kv or self.kv), name, back=back)

    def choose_kv(self, kv: KvChoice) -> None:
        """Remember conversations like this; a model to which it matters is loaded again."""
        if kv == self.kv:
            return
        self.kv = kv
        self.kv_changed.emit(kv)
        if self.loaded is not None and self.loaded.kv not in ("", kv):
            self.load_path(self.loaded.entry.path)

    def speculate(self, choice: Speculate) -> None:
        """Have the loaded model guess like this from the next answer on, and other models, too."""
        self._link.run(lambda engine: engine.speculate(choice), success=self._guesses, failure=self.problem.emit)

    def _guesses(self, model: LoadedModel) -> None:
        if self.loaded is not None and self.loaded.entry.path == model.entry.path:
            self.loaded = model
        self.speculation_changed.emit(model)
        self.changed.emit()

    def move(self, position: float) -> None:
        """Move the loaded model's slider, 0 (fast) to 1 (best); the next answer is of the new position."""
        if self._moving:
            self._next = position
            return
        self._moving, self._next = True, None
        self.changed.emit()
        self._link.run(lambda engine: engine.move_model(position), success=self._moved, failure=self._not_moved)

    def _moved(self, model: LoadedModel) -> None:
        self._moving = False
        if self.loaded is not None and self.loaded.entry.path == model.entry.path:
            self.loaded = model
            if model.slider is not None:
                self._remember(model.entry.path, model.slider.position)
        self._go_on()

    def _remember(self, path: str, position: float) -> None:
        self.positions.pop(path, None)
        self.positions[path] = position
        while len(self.positions) > _REMEMBERED:
            del self.positions[next(iter(self.positions))]
        self.positions_changed.emit(dict(self.positions))

    def _not_moved(self, error: ErrorInfo) -> None:
        self._moving = False
        self.problem.emit(error)
        self._go_on()

    def _go_on(self) -> None:
        following, self._next = self._next, None
        if following is not None and self.loaded is not None:
            self.move(following)
        else:
            self.changed.emit()

    def unload(self) -> None:
        """Let the model go and free its memory."""
        self._link.run(lambda engine: engine.unload_model(), failure=self.problem.emit)

    def cancel(self) -> None:
        """Stop loading."""
        job = self._job
        if job is not None:
            self._link.run(lambda engine: engine.cancel_job(job.id), quiet=True)

    def _load(self, request: LoadModel, name: str, *, back: LoadModel | None = None) -> None:
        self._asking, self._asked, self._request, self._back = True, name, request, back
        self.changed.emit()
        self._link.run(lambda engine: engine.load_model(request), success=self._job_changed, failure=self._refused)

    # Events

    def _attached(self, status: BackendStatus) -> None:
        self._asking, self._asked = False, ""
        wanted, self._wanted = self._wanted, None
        self._set_loaded(status.model)
        if status.loading is not None:
            if self._job is None or self._job.id != status.loading:
                self._job = Job(id=status.loading, kind=_LOAD, title="", state="started")
        else:
            self._job = None
            if status.model is None and wanted is not None:
                self.load_path(wanted)
        self.changed.emit()
        self.refresh()

    def _state_changed(self, state: str, _sentence: str) -> None:
        if state != "ready" and not self._link.alive:
            self._job = None
            self._moving, self._next, self._back = False, None, None
            self._asking, self._asked = False, ""
            self.loaded = None  # but it is still wanted: it comes back with the engine
            self.list.set_loaded(None)
        self.changed.emit()

    def _model_changed(self, model: LoadedModel | None) -> None:
        self._set_loaded(model)
        self.changed.emit()

    def _job_changed(self, job: Job) -> None:
        if job.kind != _LOAD:
            return
        ended = job.state not in ("started", "progress")
        if ended and self._asking and self._job is not None and self._job.id == job.id:
            self._job = None  # it gave way to the load that was asked for since, which says how this ends
            self.changed.emit()
            return
        self._asking = False
        if not ended:
            self._job = job
        elif self._job is None or self._job.id == job.id:
            self._job = None
            self._asked = ""
            back, self._back = self._back, None
            if job.state == "failed" and job.error is not None:
                self._failed(job.error, planned=back is None)
            if job.state != "finished" and back is not None and self.loaded is None:
                self._load(back, Path(back.path or "").name)
        self.changed.emit()

    def _failed(self, error: ErrorInfo, *, planned: bool) -> None:
        """A model could not be loaded. Where memory is short, there may be another way to load it (`planned`: ask)."""
        request = self._request
        if error.code != "out_of_memory" or request is None or not planned:
            self.problem.emit(error)
            return

        def came(plan: ModelPlan) -> None:
            if plan.change is not None:
                self.too_large.emit(error, plan)
            else:
                self.problem.emit(error)

        self._link.run(
            lambda engine: engine.plan_load(request), success=came, failure=lambda _: self.problem.emit(error)
        )

    def _refused(self, error: ErrorInfo) -> None:
        self._asking, self._asked, self._back = False, "", None
        self.changed.emit()
        self.problem.emit(error)

    def _set_loaded(self, model: LoadedModel | None) -> None:
        before, self.loaded = self.loaded, model
        if model is not None and model.slider is not None and (before is None or before.entry.path != model.entry.path):
            position = self.positions.get(model.entry.path)
            fixed = model.streamed_bytes > 0  # what stays in memory was chosen for the position
            if position is not None and position != model.slider.position and not fixed:
                self.move(position)
        # Not while another model is being loaded: a model that ends the engine must not be tried for ever.
        self._wanted = model.entry.path if model is not None else None
        self.list.set_loaded(model)
        if model is not None and (before is None or _setting(before) != _setting(model)):
            self.look_for_builds()

    def look_for_builds(self) -> None:
        """Ask again which builds of the loaded model there are, and which of them fit now."""
        if self.loaded is not None:
            self._link.run(lambda engine: engine.ladder(), success=self._have_ladder, quiet=True)

    def _have_ladder(self, ladder: ModelLadder) -> None:
        if self.loaded is not None and ladder.path == self.loaded.entry.path:
            self.ladder = ladder
            self.changed.emit()


def _setting(model: LoadedModel) -> tuple[object, ...]:
    return model.entry.path, model.n_ctx, model.kv, model.streamed_bytes, model.draft_model
