"""What the API says of whether a model fits this machine."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from backend.api.schemas import LoadModel

__all__ = ["ModelPlan"]


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
