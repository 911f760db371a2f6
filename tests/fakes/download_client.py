"""The part of `FakeClient` that fetches models: a small hub, and downloads that a test moves by hand."""

from __future__ import annotations

import time
from copy import deepcopy
from itertools import count
from typing import TYPE_CHECKING, Any

from backend.api.downloads import (
    Download,
    NetworkState,
    NewDownload,
    Offer,
    Purpose,
    Recommendations,
    RemoteChoice,
    RemoteRepository,
    SearchResult,
)
from backend.api.errors import NotFoundError
from backend.api.hub_schemas import Fit, FolderState, MoveFolder, NewToken, RepositoryFits, TokenState
from backend.api.schemas import ErrorInfo, Job, JobChanged

__all__ = ["FakeDownloads", "fake_download", "fake_offers", "fake_recommendations", "fake_repository"]

_ids = count(1)


def fake_repository(name: str = "bartowski/Qwen2.5-7B-Instruct-GGUF") -> RemoteRepository:
    """Three sizes of one model; of the second a part is here."""
    return RemoteRepository(
        repository=name, commit="c" * 40, licence="apache-2.0", gated=False,
        choices=[
            RemoteChoice(name="Q2_K", files=["a-Q2_K.gguf"], bytes=3_020_000_000, here=3_020_000_000),
            RemoteChoice(name="Q4_K_M", files=["a-Q4_K_M.gguf"], bytes=4_680_000_000, here=1_200_000_000),
            RemoteChoice(name="F16", files=["a-F16-00001-of-00002.gguf", "a-F16-00002-of-00002.gguf"],
                         bytes=15_200_000_000),
        ],
    )  # fmt: skip


def _fit(choice: str, verdict: str, ram: int, tokens: float, remedy: str = "") -> Fit:
    return Fit(
        choice=choice, verdict=verdict, remedy=remedy, ram=ram, tokens=tokens, low=0.8 * tokens, high=1.2 * tokens,  # type: ignore[arg-type]
        context=8192,
    )  # fmt: skip


def fake_download(state: str = "running", *, choice: str = "Q4_K_M", done: float = 0.25) -> Download:
    """A record as the engine would read it."""
    return Download(
        id=f"{next(_ids):032x}", repository="bartowski/Qwen2.5-7B-Instruct-GGUF", choice=choice, revision="main",
        commit="c" * 40, bytes=4_680_000_000, created_at=time.time(), updated_at=time.time(), state=state,  # type: ignore[arg-type]
        done=int(done * 4_680_000_000), path="hub/a-Q4_K_M.gguf" if state == "finished" else "",
    )  # fmt: skip


def fake_offers() -> list[Offer]:
    """The catalogue from a laptop with 16 GB."""
    from backend.planner.offers import offers
    from backend.planner.plan import Machine
    from backend.planner.speed import Rates

    return offers(Machine(cores=8, memory_total=16 * 10**9, memory_free=10 * 10**9, rates=Rates(ram=50e9)))


def fake_recommendations(purpose: Purpose = "chat", free: int = 10) -> Recommendations:
    """Those of a laptop with so many GB free."""
    from backend.planner.offers import offers
    from backend.planner.plan import Machine
    from backend.planner.recommending import recommended
    from backend.planner.speed import Rates

    machine = Machine(cores=8, memory_total=2 * free * 10**9, memory_free=free * 10**9, rates=Rates(ram=50e9))
    return recommended(purpose, offers(machine), machine)


class FakeDownloads:
    """Mixed into `FakeClient`.

    Attributes:
        catalogue: planned models. fetched: the records. found: what a search finds. offered: what repositories have.
        free_gb: memory for the models that are recommended. told: these.
    """

    def __init__(self) -> None:
        self.fetched: list[Download] = []
        self.catalogue: list[Offer] = []
        self.free_gb = 10
        self.told: list[Recommendations] = []
        self.found = [
            SearchResult(
                repository="bartowski/Qwen2.5-7B-Instruct-GGUF",
                downloads=184_203,
                likes=412,
                parameters=7_615_616_512,
                usual_bytes=4_616_967_510,
                likely="fits",
            ),
            SearchResult(repository="Qwen/Qwen2.5-7B-Instruct-GGUF", downloads=95_120, likes=230),
        ]
        self.net = NetworkState(
            offline=False, purposes={"models": "Finding and downloading models, when you ask for one"}
        )
        self.account = TokenState(source="none", endpoint="https://huggingface.co", keyring="Secret Service")
        self.fitting = RepositoryFits(
            fits=[
                _fit("Q2_K", "fits", 3_900_000_000, 14.2),
                _fit("Q4_K_M", "fits if", 5_800_000_000, 9.1, "Use a context of 4,096 tokens."),
                _fit("F16", "does not fit", 16_900_000_000, 1.2, "A machine with 20 GB of memory would hold it."),
            ]
        )
        self.home = FolderState(
            folder="", downloads="/home/me/.cache/huggingface/hub", builds="/home/me/.local/share/nutshell/builds",
            free=120_000_000_000,
        )  # fmt: skip
        self.offered = {"bartowski/Qwen2.5-7B-Instruct-GGUF": fake_repository()}

    if TYPE_CHECKING:

        def publish(self, event: Any) -> None: ...
        def _called(self, method: str, argument: object = None) -> None: ...

    # Driving it

    def download_moved(self, one: Download, fraction: float) -> None:
        """One goes on."""
        one.done, one.state = int(fraction * one.bytes), "running"
        self._tell(one, "progress")

    def download_ended(self, one: Download, state: str = "finished", error: ErrorInfo | None = None) -> None:
        """One ends: "finished", "failed" or "paused"."""
        job, one.job = one.job, None
        one.state, one.error = state, error  # type: ignore[assignment]
        if state == "finished":
            one.done, one.path = one.bytes, "hub/a-Q4_K_M.gguf"
        self._tell(one, {"paused": "cancelled"}.get(state, state), job, error)

    def _tell(self, one: Download, state: str, job: str | None = None, error: ErrorInfo | None = None) -> None:
        ended = None if state in ("started", "progress") else time.time()
        self.publish(JobChanged(job=self._job(one, state, job or one.job or "", error, ended)))

    def _job(
        self, one: Download, state: str, job: str, error: ErrorInfo | None = None, ended: float | None = None
    ) -> Job:
        stage = "queued" if one.state == "queued" else "download"
        return Job(
            id=job, kind="download", title="", state=state, stage=stage, done=one.done, total=one.bytes, unit="B",  # type: ignore[arg-type]
            error=error, ended_at=ended,
        )  # fmt: skip

    def _begin(self, one: Download) -> Job:
        one.state, one.job, one.error = "queued", f"job-{one.id}", None
        return self._job(one, "started", one.job)

    def _fetched(self, download_id: str) -> Download:
        return next(one for one in self.fetched if one.id == download_id)

    # What the window asks

    async def network(self) -> NetworkState:
        self._called("network")
        return deepcopy(self.net)

    async def set_network(self, state: NetworkState) -> NetworkState:
        self._called("set_network", state)
        self.net.offline, self.net.off = state.offline, state.off
        return deepcopy(self.net)

    async def repository_fits(self, name: str) -> RepositoryFits:
        self._called("repository_fits", name)
        return deepcopy(self.fitting)

    async def hub_token(self) -> TokenState:
        self._called("hub_token")
        return deepcopy(self.account)

    async def set_hub_token(self, new: NewToken) -> TokenState:
        self._called("set_hub_token", new)
        self.account.source = "keyring"
        return deepcopy(self.account)

    async def forget_hub_token(self) -> TokenState:
        self._called("forget_hub_token")
        self.account.source = "none"
        return deepcopy(self.account)

    async def models_folder(self) -> FolderState:
        self._called("models_folder")
        return deepcopy(self.home)

    async def move_models(self, request: MoveFolder) -> Job:
        self._called("move_models", request)
        self.home.folder, self.home.unfinished, self.home.job = request.folder, True, "job-move"
        return Job(id="job-move", kind="move_models", title="", state="started")

    async def search_hub(self, text: str) -> list[SearchResult]:
        self._called("search_hub", text)
        return deepcopy([one for one in self.found if text.lower() in one.repository.lower()])

    async def repository(self, name: str) -> RemoteRepository:
        self._called("repository", name)
        if name not in self.offered:
            raise NotFoundError(f"There is no repository {name} on the hub.", remedy="Check the name.")
        return deepcopy(self.offered[name])

    async def offers(self) -> list[Offer]:
        self._called("offers")
        return deepcopy(self.catalogue)

    async def recommended(self, purpose: Purpose) -> Recommendations:
        self._called("recommended", purpose)
        self.told.append(fake_recommendations(purpose, self.free_gb))
        return deepcopy(self.told[-1])

    async def downloads(self) -> list[Download]:
        self._called("downloads")
        return deepcopy(self.fetched)

    async def start_download(self, request: NewDownload) -> Job:
        self._called("start_download", request)
        one = fake_download("queued", choice=request.choice, done=0.0)
        one.repository = request.repository
        self.fetched.insert(0, one)
        return self._begin(one)

    async def resume_download(self, download_id: str) -> Job:
        self._called("resume_download", download_id)
        return self._begin(self._fetched(download_id))

    async def pause_download(self, download_id: str) -> Download:
        self._called("pause_download", download_id)
        self.download_ended(self._fetched(download_id), "paused")
        return deepcopy(self._fetched(download_id))

    async def delete_download(self, download_id: str) -> None:
        self._called("delete_download", download_id)
        self.fetched = [one for one in self.fetched if one.id != download_id]
