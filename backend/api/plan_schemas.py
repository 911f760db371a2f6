"""What the API says of whether a model fits this machine."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from backend.api.schemas import LoadModel

__all__ = ["ModelPlan", "ModelTrial"]


class ModelPlan(Struct, kw_only=True):
    """The answer to POST /api/models/plan: whether a model of this machine fits as it is to be loaded.

    Attributes:
        verdict: "fits if": with one of the remedies.
        remedies: what would make it fit, a sentence each, the mildest first.
        reasons: sentences with figures.
        change: loads it as the first remedy says; None where that is nothing that this program can do.
        ram, free: bytes that it would take, and that are free for it.
        tokens, low, high: tokens a second that are expected, and their range.
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
