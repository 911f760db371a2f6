"""Models of the hub, as the window knows them: what was searched, what a repository has, what is being fetched."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from PySide6.QtCore import QCoreApplication, QObject, Signal

from backend.api.downloads import Download, NewDownload, Offer, RemoteRepository, SearchResult
from backend.api.hub_schemas import RepositoryFits
from backend.api.schemas import BackendStatus, ErrorInfo, Job
from ui.bridge.engine_client import EngineClient
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.words import size

__all__ = ["DownloadSession", "state_words"]

T = TypeVar("T")
_DOWNLOAD = "download"
_REPOSITORY = re.compile(r"(?:https?://[^/\s]+/)?([\w.-]+/[\w.-]+)/?", re.ASCII)
#: Seconds over which the rate is taken.
_WINDOW_S = 8.0


class DownloadSession(QObject):
    """Follows the download jobs of the link and asks for more. The hub is asked only when the user asks."""

    changed = Signal()  # results, repository, or the list of downloads
    fitted = Signal()  # it is known what of the open repository would run here
    moved = Signal(str)  # id of a download that went on
    problem = Signal(object)  # ErrorInfo of a request
    ended = Signal(object)  # Download: finished or failed, begun here

    def __init__(self, link: EngineLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.link = self._link = link
        self.results: list[SearchResult] | None = None
        self.repository: RemoteRepository | None = None
        self.fits: RepositoryFits | None = None  # of the open repository, when they have come
        self.planning = False  # whether they are asked for
        self.downloads: list[Download] = []
        self.offers: list[Offer] | None = None  # the catalogue for this machine, when it has come
        self.asking = ""  # what the hub is asked for now
        self._turn = 0  # answers come out of order
        self._points: dict[str, deque[tuple[float, float]]] = {}  # of each job: (time, bytes)
        self._told: set[str] = set()  # ids whose end was announced, or lies before this window
        link.attached.connect(self._attached)
        link.job_changed.connect(self._job_changed)

    # Reading

    @property
    def active(self) -> list[Download]:
        """Those that are not finished, newest first."""
        return [one for one in self.downloads if one.state != "finished"]

    def rate(self, one: Download) -> float:
        """Bytes a second, 0 while that is not known."""
        points = self._points.get(one.job or "")
        if points is None or len(points) < 2 or points[-1][0] - points[0][0] < 1.0:
            return 0.0
        return max(0.0, (points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0]))

    # Asking

    def refresh(self) -> None:
        """Read the list of downloads again."""
        self._link.run(lambda engine: engine.downloads(), success=self._set_downloads, quiet=True)

    def plan(self) -> None:
        """Ask the engine what of the catalogue this machine can run; nothing leaves the machine."""
        self._link.run(lambda engine: engine.offers(), success=self._set_offers, quiet=True)

    def find(self, text: str) -> None:
        """Search the hub; a whole name, or the address of a page, opens that repository."""
        text = text.strip()
        name = _REPOSITORY.fullmatch(text)
        if not text:
            self.results = self.repository = None
            self.changed.emit()
        elif name is not None:
            self.open(name[1])
        else:
            self.repository = None
            self._ask(text, lambda engine: engine.search_hub(text), self._set_results)

    def open(self, repository: str) -> None:
        """Ask what a repository has."""
        self._ask(repository, lambda engine: engine.repository(repository), self._set_repository)

    def back(self) -> None:
        """From a repository to the results."""
        self._turn += 1
        self.repository, self.asking = None, ""
        self.changed.emit()

    def start(self, choice: str) -> None:
        """Fetch a model of the open repository."""
        if self.repository is not None:
            request = NewDownload(repository=self.repository.repository, choice=choice)
            self._link.run(lambda engine: engine.start_download(request), success=self._began, failure=self._refused)

    def resume(self, download_id: str) -> None:
        """Go on with one."""
        self._told.discard(download_id)
        self._link.run(lambda engine: engine.resume_download(download_id), success=self._began, failure=self._refused)

    def pause(self, download_id: str) -> None:
        """Stop one and keep what has arrived."""
        self._link.run(lambda engine: engine.pause_download(download_id), success=self._read, failure=self._refused)

    def delete(self, download_id: str) -> None:
        """Stop one and delete what has arrived; a finished model stays."""
        self._told.add(download_id)
        self._link.run(lambda engine: engine.delete_download(download_id), success=self._read, failure=self._refused)

    def _ask(
        self, what: str, request: Callable[[EngineClient], Coroutine[Any, Any, T]], came: Callable[[T], None]
    ) -> None:
        self._turn += 1
        turn = self._turn
        self.asking = what

        def answered(answer: T) -> None:
            if turn == self._turn:
                self.asking = ""
                came(answer)
                self.changed.emit()

        def refused(error: ErrorInfo) -> None:
            if turn == self._turn:
                self.asking = ""
                self.changed.emit()
                self.problem.emit(error)

        self._link.run(request, success=answered, failure=refused)
        self.changed.emit()

    # Events

    def _attached(self, _status: BackendStatus) -> None:
        self.asking = ""
        self.refresh()

    def _read(self, _what: object = None) -> None:
        self.refresh()

    def _began(self, job: Job) -> None:
        self._job_changed(job)
        self.refresh()

    def _refused(self, error: ErrorInfo) -> None:
        self.problem.emit(error)
        self.refresh()

    def _set_results(self, results: list[SearchResult]) -> None:
        self.results = results

    def _set_repository(self, repository: RemoteRepository) -> None:
        self.repository, self.fits = repository, None
        self.planning = bool(repository.choices)
        if self.planning:
            self._link.run(
                lambda engine: engine.repository_fits(repository.repository),
                success=lambda fits: self._planned(repository, fits),
                failure=lambda error: self._planned(repository, RepositoryFits(fits=[], notice=_sentence(error))),
            )

    def _planned(self, repository: RemoteRepository, fits: RepositoryFits) -> None:
        if self.repository is repository:
            self.fits, self.planning = fits, False
            self.fitted.emit()

    def _set_offers(self, offers: list[Offer]) -> None:
        if offers != self.offers:
            self.offers = offers
            self.changed.emit()

    def _set_downloads(self, downloads: list[Download]) -> None:
        before = {one.id: one for one in self.downloads}
        self.downloads = downloads
        self.changed.emit()
        for one in downloads:
            known = before.get(one.id)
            if one.state in ("queued", "running"):
                self._told.discard(one.id)
            elif one.state in ("finished", "failed") and one.id not in self._told:
                self._told.add(one.id)
                if known is not None:  # it ended under our eyes
                    self.ended.emit(one)

    def _job_changed(self, job: Job) -> None:
        if job.kind != _DOWNLOAD:
            return
        if job.ended_at is not None:
            self._points.pop(job.id, None)
            self.refresh()
            return
        points = self._points.setdefault(job.id, deque())
        now = time.monotonic()
        if points and job.done < points[-1][1]:
            points.clear()
        if job.stage == _DOWNLOAD:
            points.append((now, job.done))
        while len(points) > 2 and points[0][0] < now - _WINDOW_S:
            points.popleft()
        one = next((one for one in self.downloads if one.job == job.id), None)
        if one is None:
            self.refresh()
            return
        one.done = int(job.done)
        if job.stage == _DOWNLOAD and one.state == "queued":
            one.state = "running"
        self.moved.emit(one.id)


def _sentence(error: ErrorInfo) -> str:
    return " ".join(part for part in (error.what, error.why) if part)


def state_words(one: Download, rate: float = 0.0) -> str:
    """How far one is: "1.2 GB of 4.1 GB, 12 MB a second, 4 min left"."""

    def tr(text: str) -> str:
        return QCoreApplication.translate("DownloadSession", text)

    share = tr("{0} of {1}").format(size(one.done), size(one.bytes))
    if one.state == "finished":
        return tr("{0}, on this machine").format(size(one.bytes))
    if one.state == "queued":
        return tr("waits for the one before it · {0}").format(share)
    if one.state == "running":
        if rate <= 0:
            return share
        seconds = (one.bytes - one.done) / rate
        left = (
            tr("{0} s left").format(round(seconds)) if seconds < 90 else tr("{0} min left").format(round(seconds / 60))
        )
        return " · ".join((share, tr("{0} a second").format(size(int(rate))), left))
    words = {"paused": tr("paused"), "interrupted": tr("was interrupted"), "failed": tr("stopped")}
    return f"{words[one.state]} · {share}"
