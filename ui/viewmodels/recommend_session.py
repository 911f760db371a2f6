"""From what someone wants to do to a model that answers: recommended, fetched, tried. Kept across restarts."""

from __future__ import annotations

import os
from typing import Literal, get_args

import msgspec
from PySide6.QtCore import QObject, Signal

from backend.api.downloads import Download, NewDownload, Purpose, Recommendation, Recommendations, RemoteRepository
from backend.api.plan_schemas import ModelTrial
from backend.api.schemas import ErrorInfo, Job
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.download_session import DownloadSession
from ui.viewmodels.model_session import ModelSession

__all__ = ["RecommendSession", "Stage"]

Stage = Literal["purpose", "models", "arriving", "trial", "done"]


class _Kept(msgspec.Struct):
    purpose: Purpose | Literal[""] = ""
    picked: Recommendation | None = None
    done: bool = False


class RecommendSession(QObject):
    """Where someone is on the way to a first model.

    Attributes:
        purpose: what it is for; "" while that is not known.
        answer: the models recommended for it, when they have come.
        picked: the one that was chosen of them.
        trial: how it did; None before it was tried.
    """

    changed = Signal()
    moved = Signal()  # the download went on
    kept = Signal(str)  # what to remember of it
    problem = Signal(object)  # ErrorInfo

    def __init__(
        self, link: EngineLink, downloads: DownloadSession, models: ModelSession, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._link, self._downloads, self._models = link, downloads, models
        self.purpose: Purpose | Literal[""] = ""
        self.answer: Recommendations | None = None
        self.picked: Recommendation | None = None
        self.trial: ModelTrial | None = None
        self._asking = False  # the hub is asked for the model that was picked
        self._loading = False  # it is being loaded to be tried
        self._trying = False
        self._done = False
        self._stopped = False  # the load or the try went wrong; it waits for the person
        downloads.changed.connect(self._downloads_changed)
        downloads.moved.connect(self._download_moved)
        downloads.ended.connect(self._downloads_changed)
        models.changed.connect(self._models_changed)
        models.problem.connect(self._refused)
        models.too_large.connect(lambda error, _plan: self._refused(error))
        link.state_changed.connect(self._link_changed)
        link.attached.connect(lambda _status: self._ask_models())

    # Reading

    @property
    def stage(self) -> Stage:
        """Which screen it is."""
        if self.picked is None:
            return "models" if self.purpose else "purpose"
        if self._done:
            return "done"
        one = self.download
        return "trial" if one is not None and one.state == "finished" else "arriving"

    @property
    def download(self) -> Download | None:
        """That of the model that was picked, the newest."""
        picked = self.picked
        if picked is None:
            return None
        wanted = picked.offer.repository, picked.choice
        return next((one for one in self._downloads.downloads if (one.repository, one.choice) == wanted), None)

    @property
    def rate(self) -> float:
        """Bytes a second that arrive; 0 while that is not known."""
        one = self.download
        return self._downloads.rate(one) if one is not None else 0.0

    @property
    def waiting(self) -> Literal["", "hub", "load", "trial"]:
        """What it waits for now."""
        return "hub" if self._asking else "load" if self._loading else "trial" if self._trying else ""

    @property
    def stopped(self) -> bool:
        """Whether the try ended with a problem."""
        return self._stopped

    @property
    def ready(self) -> bool:
        """Whether the engine can be asked."""
        return self._link.ready

    # Keeping

    def restore(self, text: str) -> None:
        """Where it was left; what cannot be read is forgotten."""
        try:
            kept = msgspec.json.decode(text or "{}", type=_Kept)
        except msgspec.DecodeError:
            return
        self.purpose, self.picked, self._done = kept.purpose, kept.picked, kept.done
        self.changed.emit()

    def _keep(self) -> None:
        kept = _Kept(self.purpose, self.picked, self._done)
        self.kept.emit(msgspec.json.encode(kept).decode())
        self.changed.emit()

    # Going on and back

    def choose(self, purpose: str) -> None:
        """Takes what the model is for."""
        assert purpose in get_args(Purpose)
        self.purpose = purpose  # type: ignore[assignment]
        self.answer = None
        self._keep()
        self._ask_models()

    def pick(self, one: Recommendation) -> None:
        """Fetch this one. What is here already is not fetched again."""
        self.picked, self.trial, self._done, self._stopped = one, None, False, False
        self._keep()
        self.fetch()

    def back(self) -> None:
        """One screen back; a download goes on, and can be found on its page."""
        if self.picked is not None:
            self.picked = self.trial = None
            self._done = self._stopped = self._asking = self._loading = self._trying = False
            self._ask_models()
        else:
            self.purpose, self.answer = "", None
        self._keep()

    def start_over(self) -> None:
        """From the first screen, as if it had never been left."""
        self.picked = self.trial = self.answer = None
        self.purpose = ""
        self._done = self._stopped = False
        self._keep()

    # Asking

    def _ask_models(self) -> None:
        """The three models, once more where memory may have changed."""
        purpose = self.purpose
        if not purpose or self.picked is not None or not self._link.ready:
            return

        def came(answer: Recommendations) -> None:
            if answer.purpose == self.purpose:
                self.answer = answer
                self.changed.emit()

        self._link.run(lambda engine: engine.recommended(purpose), success=came, failure=self.problem.emit)

    def refresh(self) -> None:
        """Ask again what has to be asked for the screen that is shown."""
        self._downloads.refresh()
        self._ask_models()

    def fetch(self) -> None:
        """Begin with the download, or go on with it."""
        picked, one = self.picked, self.download
        if picked is None or self._asking:
            return
        if one is not None:
            if one.state not in ("queued", "running", "finished"):
                self._downloads.resume(one.id)
            return
        self._asking = True
        self.changed.emit()
        repository = picked.offer.repository
        self._link.run(
            lambda engine: engine.repository(repository),
            success=lambda found: self._found(picked, found),
            failure=self._not_asked,
        )

    def pause(self) -> None:
        """Stop the download and keep what has arrived."""
        one = self.download
        if one is not None:
            self._downloads.pause(one.id)

    def _found(self, picked: Recommendation, found: RemoteRepository) -> None:
        if self.picked is not picked:
            return
        names = [choice.name for choice in found.choices]
        exact = [name for name in names if name == picked.choice]
        alike = [name for name in names if picked.choice.casefold() in name.casefold()]
        if not exact and not alike:
            self._not_asked(
                ErrorInfo(
                    code="not_found",
                    what=self.tr("{0} has no build of this kind any more.").format(picked.offer.repository),
                    remedy=self.tr("Go back and choose another model."),
                )
            )
            return
        name = (exact or alike)[0]
        if name != picked.choice:
            picked.choice = name
            self._keep()
        request = NewDownload(repository=picked.offer.repository, choice=name)
        self._link.run(lambda engine: engine.start_download(request), success=self._began, failure=self._not_asked)

    def _began(self, _job: Job) -> None:
        self._asking = False
        self._downloads.refresh()
        self.changed.emit()

    def _not_asked(self, error: ErrorInfo) -> None:
        self._asking = False
        self.changed.emit()
        self.problem.emit(error)

    # Trying

    def try_out(self) -> None:
        """Load the model that has arrived, and have it write a few words."""
        one = self.download
        if one is None or one.state != "finished" or self._loading or self._trying:
            return
        self._stopped = False
        if self._is_loaded(one):
            self._try()
        else:
            self._loading = True
            self._models.load_path(one.path)
        self.changed.emit()

    def _is_loaded(self, one: Download) -> bool:
        loaded = self._models.loaded
        return loaded is not None and os.path.realpath(loaded.entry.path) == os.path.realpath(one.path)

    def _models_changed(self) -> None:
        one = self.download
        if self._loading and one is not None and not self._models.loading and self._is_loaded(one):
            self._loading = False
            self._try()

    def _try(self) -> None:
        self._trying = True
        self.changed.emit()
        self._link.run(lambda engine: engine.try_model(), success=self._tried, failure=self._refused)

    def _tried(self, trial: ModelTrial) -> None:
        if self._trying:
            self._trying, self.trial, self._done = False, trial, True
            self._keep()

    def _refused(self, error: ErrorInfo) -> None:
        """The model could not be loaded, or not be tried."""
        if self._loading or self._trying:
            by_trial = self._trying
            self._loading = self._trying = False
            self._stopped = True
            self.changed.emit()
            if by_trial:  # what went wrong with a load is said over every page
                self.problem.emit(error)

    # Events

    def _link_changed(self, state: str, _sentence: str) -> None:
        if state != "ready":
            self._stopped = self._stopped or self._loading or self._trying
            self._asking = self._loading = self._trying = False
        self.changed.emit()

    def _downloads_changed(self, _one: object = None) -> None:
        if self.picked is not None:
            self.changed.emit()

    def _download_moved(self, key: str) -> None:
        one = self.download
        if one is not None and one.id == key:
            self.moved.emit()
