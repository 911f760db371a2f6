"""What the API says of whether a model fits this machine."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from backend.api.schemas import KvChoice, LoadModel

__all__ = ["LadderStop", "ModelLadder", "ModelPlan", "ModelTrial"]


class ModelPlan(Struct, kw_only=True):
    """The answer to POST /api/models/plan: whether a model of this machine fits as it is to be loaded.

    Attributes:
        verdict: "fits if": with one of the remedies.
        remedies: what would make it fit, a sentence each, the mildest first.
        reasons: sentences with figures.
        change: loads it as the first remedy says; None where that is nothing that this program can do.
        ram, free: bytes that it would take, and that are free for it.
        tokens, low, high: tokens a second that are expected, and their range.
        context: cells of its cache. kv: how they are stored; "" where there is no choice.
        budget: bytes of the weights that stay in memory while the others are read from the disk; 0: all stay.
        draft: the model that guesses for it; "": none.
        limit: a sentence about what every token waits for.
    """

    name: str
    verdict: Literal["fits", "fits if", "does not fit"]
    remedies: list[str] = []
    reasons: list[str] = []
    change: LoadModel | None = None
    ram: int = 0
    free: int = 0
    tokens: float = 0.0
    low: float = 0.0
    high: float = 0.0
    context: int = 0
    kv: KvChoice = ""
    budget: int = 0
    draft: str = ""
    limit: str = ""


class LadderStop(Struct, kw_only=True):
    """One way to run the model that is loaded, or another build of it.

    Attributes:
        load: takes it.
        plan: what it takes and gives; "fits if" where `load` has a change that makes it fit.
        scheme: of its weights: "Q4_K_M", "aqlm-2x8", "slider".
        engine: that runs it.
        bytes: of the weights.
        loss: nats a token by which it is worse than the model before it was compressed.
        measured: when it was made; else what such bits usually cost.
        fits: it can be taken now. Where not, `plan` says what would have to change.
    """

    load: LoadModel
    plan: ModelPlan
    scheme: str
    engine: Literal["native", "llama.cpp"]
    bytes: int
    loss: float
    measured: bool
    fits: bool


class ModelLadder(Struct, kw_only=True):
    """GET /api/models/ladder: the builds of the loaded model that are on this machine, from the fastest to the best.

    A build that is neither faster nor better than another one is left out, but not the one that is loaded. Those that
    do not fit are at the end. Of the loaded model with a slider of its own there is one stop, where it stands.

    Attributes:
        path: of the loaded model.
        own: its place among the stops; -1 where it cannot be computed.
        model: its name without the type, to look for other builds with.
    """

    path: str
    model: str = ""
    stops: list[LadderStop] = []
    own: int = -1


class ModelTrial(Struct, kw_only=True):
    """The answer to POST /api/models/trial: a few tokens of the model that is loaded.

    Attributes:
        text: what it wrote. tokens: of it.
        tok_s: tokens a second. ttft_s: seconds to the first.
        expected, low, high: tokens a second that were expected, and their range; 0 where nothing was.
    """

    name: str
    text: str
    tokens: int
    tok_s: float
    ttft_s: float
    expected: float = 0.0
    low: float = 0.0
    high: float = 0.0
