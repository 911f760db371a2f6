"""What the API says and is told of guessing ahead."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from backend.api.schemas import SpeculationChoice

__all__ = ["DraftSuggestion", "PassReport", "Speculate"]


class Speculate(Struct, kw_only=True):
    """How the loaded model is to guess from the next answer on; as in LoadModel."""

    speculation: SpeculationChoice = "auto"
    draft_nodes: Annotated[int, Meta(ge=1, le=63)] = 8
    draft_model: str = ""


class PassReport(Struct, kw_only=True):
    """What is known of the loaded model's passes.

    Attributes:
        curve: (nodes of a pass, seconds), measured; [] while it is not.
        passes: of the last answer: (nodes, tokens that came out, seconds with the drafting).
        plain_s: seconds of a token without drafts; 0: not known.
        draft_s: of the last answer, seconds of all drafting. model_s: of these, a draft model's.
    """

    curve: list[tuple[int, float]] = []
    passes: list[tuple[int, int, float]] = []
    plain_s: float = 0.0
    draft_s: float = 0.0
    model_s: float = 0.0


class DraftSuggestion(Struct, kw_only=True):
    """An installed model that is small enough to draft for the loaded one; `reason`: why it cannot, or ""."""

    path: str
    name: str
    bytes: int
    reason: str = ""
