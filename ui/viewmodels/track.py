"""The way from fast to best as one track: the loaded model's own positions, and its other builds on either side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from backend.api.plan_schemas import LadderStop, ModelLadder, ModelPlan
from backend.api.schemas import KvChoice, LoadedModel, LoadModel

__all__ = ["Stop", "Track", "track_of"]

#: of the way of a slider with all its positions: how far two builds stand from one another
_APART: Final = 0.25


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on the track.

    Attributes:
        place: on the track, 0 (fastest) to 1 (best).
        bytes: of the weights. held: of all that stays in memory.
        tok_s: tokens a second that are expected; 0: not known. low, high: their range; 0: not known.
        loss: nats a token. measured: when the build was made; else expected.
        position: of the loaded model's own slider; None: it has none, or it is another build.
        load: takes another build; None: it is the loaded one.
        name: of a build's file. scheme: of its weights; "" where the name of the model says enough.
        context: tokens. kv: how they are stored. budget: bytes of the weights that stay in memory; 0: all.
        draft: the model that guesses for it; "": none.
        why: it cannot be taken, and what would make it fit; "" where it can.
    """

    place: float
    bytes: int
    held: int
    tok_s: float
    loss: float
    measured: bool
    low: float = 0.0
    high: float = 0.0
    position: float | None = None
    load: LoadModel | None = None
    name: str = ""
    scheme: str = ""
    context: int = 0
    kv: KvChoice = ""
    budget: int = 0
    draft: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Track:
    """Stops from left to right; `here` is the index of the loaded one, -1 on an empty track.

    `planned`: how the loaded build would be loaded now, where that is known. `model`: what other builds are found by.
    """

    stops: tuple[Stop, ...] = ()
    here: int = -1
    planned: ModelPlan | None = None
    model: str = ""

    @property
    def limit(self) -> float:
        """The place of the last stop that can be taken."""
        return max((one.place for one in self.stops if not one.why), default=1.0)

    @property
    def chooses(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.stops) > 1

    def at(self, place: float) -> int:
        """The stop that is nearest to a place."""
        return min(range(len(self.stops)), key=lambda number: abs(self.stops[number].place - place), default=-1)


def track_of(loaded: LoadedModel | None, ladder: ModelLadder | None) -> Track:
    """The track of a model; its other builds are on it as soon as the ladder has come.

    What stays of a streamed model in memory was chosen for its position: it has that one only, beside other builds.
    """
    if loaded is None:
        return Track()
    left: list[Stop] = []
    right: list[Stop] = []
    mine: LadderStop | None = None
    if ladder is not None and ladder.path == loaded.entry.path and ladder.own >= 0:
        left = [_other(one) for one in ladder.stops[: ladder.own]]
        right = [_other(one) for one in ladder.stops[ladder.own + 1 :]]
        mine = ladder.stops[ladder.own]
    own = _own(loaded, mine)
    if not own:
        return Track()
    here = min(range(len(own)), key=lambda number: _distance(own[number], loaded))
    if loaded.streamed_bytes and (left or right):
        own, here = [own[here]], 0
    model = ladder.model if ladder is not None and mine is not None else ""
    return Track(_placed(left, own, right), len(left) + here, mine.plan if mine is not None else None, model)


def _distance(stop: Stop, loaded: LoadedModel) -> float:
    return abs((stop.position or 0.0) - loaded.slider.position) if loaded.slider is not None else 0.0


def _own(loaded: LoadedModel, known: LadderStop | None) -> list[Stop]:
    if loaded.slider is not None and loaded.slider.points:
        return [
            Stop(
                place=point.place, bytes=point.bytes, held=point.bytes + loaded.kv_bytes, tok_s=point.tok_s,
                loss=point.kl, measured=point.measured, position=point.place,
            )
            for point in loaded.slider.points
        ]  # fmt: skip
    if known is None:
        return []
    mine = replace(_other(known), load=None, why="")  # whatever the plan says of it, it runs
    return [replace(mine, held=loaded.held_bytes, context=loaded.n_ctx, kv=loaded.kv)]


def _other(one: LadderStop) -> Stop:
    plan = one.plan
    return Stop(
        place=0.0,
        bytes=one.bytes,
        held=plan.ram,
        tok_s=plan.tokens,
        low=plan.low,
        high=plan.high,
        loss=one.loss,
        measured=one.measured,
        load=one.load,
        name=plan.name,
        scheme=one.scheme,
        context=plan.context,
        kv=plan.kv,
        budget=plan.budget,
        draft=plan.draft,
        why="" if one.fits else " ".join(plan.remedies[:1]),
    )


def _placed(left: Sequence[Stop], own: Sequence[Stop], right: Sequence[Stop]) -> tuple[Stop, ...]:
    """Own positions as far from one another as on their own slider, other builds in even steps."""
    first, last = own[0].place, own[-1].place
    begins = _APART * len(left)
    whole = begins + (last - first) + _APART * len(right)
    if whole <= 0:
        return tuple(replace(one, place=0.0) for one in own)
    raw = [_APART * number for number in range(len(left))]
    raw += [begins + one.place - first for one in own]
    raw += [begins + (last - first) + _APART * (number + 1) for number in range(len(right))]
    if not left and not right:
        return tuple(own)
    return tuple(replace(one, place=at / whole) for one, at in zip([*left, *own, *right], raw, strict=True))
