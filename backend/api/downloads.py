"""What crosses the wire about downloading models. See `schemas` for the rules."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from backend.api.schemas import ErrorInfo

__all__ = [
    "BuildIdea",
    "Deleted",
    "Download",
    "DownloadLimit",
    "DownloadState",
    "Figure",
    "NetworkCall",
    "NetworkState",
    "NewDownload",
    "Offer",
    "Purpose",
    "Reason",
    "Recommendation",
    "Recommendations",
    "RemoteChoice",
    "RemoteRepository",
    "SearchResult",
]

DownloadState = Literal["queued", "running", "paused", "interrupted", "failed", "finished"]


class SearchResult(Struct, kw_only=True):
    """A repository that a search found."""

    repository: str
    downloads: int  # of the last month
    likes: int
    parameters: int = 0  # numbers in its weights; 0: the hub does not say
    usual_bytes: int = 0  # of the usual build of 4 bits
    likely: str = ""  # "fits", "fits if", "does not fit": a first guess for that build; "": not known


class RemoteChoice(Struct, kw_only=True):
    """One model of a repository: what a download brings."""

    name: str  # tells it from the others: Q4_K_M, safetensors
    files: list[str]
    bytes: int
    here: int = 0  # bytes of it that are on this machine already


class RemoteRepository(Struct, kw_only=True):
    """GET /api/hub/repositories/OWNER/NAME."""

    repository: str
    commit: str
    licence: str
    gated: bool
    choices: list[RemoteChoice]  # the smallest first


class Offer(Struct, kw_only=True):
    """One model of the catalogue, planned for this machine: an element of GET /api/catalogue.

    Attributes:
        parameters: numbers in its weights. context: tokens that it was trained for.
        verdict: of its best build here. remedy: what would make it fit; "" where it does.
        build, engine, repository: of that build. bytes: of its weights. ram: memory that it would take.
        tokens, low, high: tokens a second that are expected, and their range.
        suggested: why it is one of the few that the list begins with; "" for the others.
    """

    id: str
    name: str
    uses: list[str]
    parameters: int
    licence: str
    context: int
    verdict: Literal["fits", "fits if", "does not fit"]
    remedy: str
    build: str
    engine: str
    repository: str
    bytes: int
    ram: int
    tokens: float
    low: float
    high: float
    suggested: Literal["", "best", "code", "fast"] = ""


Purpose = Literal["chat", "code", "reason", "languages", "files"]
#: "alike": about as large as the best; "slow": it fits, but writes slower than people read
Reason = Literal["best", "lighter", "quick", "alike", "slow"]


class Figure(Struct, kw_only=True):
    """One published figure of a build: `value`, beside `original` for the model that it was made from."""

    metric: str
    value: float
    original: float | None = None
    conditions: str = ""
    source: str = ""


class Recommendation(Struct, kw_only=True):
    """A model for a purpose.

    Attributes:
        choice: what to download of the offer's repository.
        reason: why it is one of the few.
        bits: of a weight, in all.
        effective: parameters at full precision that would say as much, by rule of thumb (`planner.recommending`).
        figures: what was published of this build.
    """

    offer: Offer
    choice: str
    reason: Reason
    bits: float
    effective: int
    figures: list[Figure] = []


class BuildIdea(Struct, kw_only=True):
    """A build that could be made on this machine and would say more than what is offered ready.

    Attributes:
        repository: of the model in full. level: the build to make of it.
        bytes: of the build. source_bytes: of the download that it is made from. ram, tokens: as of an `Offer`.
    """

    id: str
    name: str
    repository: str
    level: str
    parameters: int
    bytes: int
    source_bytes: int
    ram: int
    tokens: float
    effective: int


class Recommendations(Struct, kw_only=True):
    """GET /api/catalogue/recommended?purpose=P: up to three models, the best first."""

    purpose: Purpose
    models: list[Recommendation]
    idea: BuildIdea | None = None


class NewDownload(Struct, kw_only=True):
    """Body of POST /api/downloads: a model of a repository, by the name of the choice."""

    repository: str
    choice: str
    revision: str = "main"


class Download(Struct, kw_only=True):
    """One download, as its record on the disk says."""

    id: str
    repository: str
    choice: str
    revision: str
    commit: str
    bytes: int
    created_at: float
    updated_at: float
    state: DownloadState = "queued"
    done: int = 0
    error: ErrorInfo | None = None
    path: str = ""  # of the model, once it is there
    job: str | None = None  # while it waits or runs in this engine


class DownloadLimit(Struct, kw_only=True):
    """Body of PATCH /api/downloads/limit: bytes a second for all downloads together, 0 for no limit."""

    bytes_per_second: Annotated[float, Meta(ge=0)]


class Deleted(Struct, kw_only=True):
    """What deleting a model freed, in bytes."""

    freed: int


class NetworkCall(Struct, kw_only=True):
    """One request to another machine. `status` 0: refused here, or no answer."""

    at: float
    purpose: str
    method: str
    host: str
    path: str
    status: int


class NetworkState(Struct, kw_only=True):
    """GET and PATCH /api/network: the switches; `purposes` maps each to its words, `off` lists those switched off."""

    offline: bool
    purposes: dict[str, str] = {}
    off: list[str] = []
    calls: list[NetworkCall] = []  # newest first
