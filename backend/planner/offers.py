"""The catalogue as it looks from one machine: each model's best build, whether it fits, and a few to begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backend.api.downloads import Offer
from backend.planner.catalogue import Entry, catalogue
from backend.planner.learned import Known
from backend.planner.plan import Machine, Wishes, best, plan
from backend.planner.subject import subjects_of

__all__ = ["GOOD_BITS", "QUICK", "READING", "offers"]

#: tokens a second: as fast as people read, and as fast as answers of a quick helper should come
READING, QUICK = 6.0, 25.0
#: bits of a weight, in all: below, a model says no more than one of half its size
GOOD_BITS = 3.0
_ORDER = {"fits": 0, "fits if": 1, "does not fit": 2}


def offers(machine: Machine, known: Known | None = None, *, leaving: int = 0) -> list[Offer]:
    """All models that have a build for an engine here: those suggested, then what fits, the largest first.

    Args:
        machine: with what is free now.
        known: what loads taught; None: nothing.
        leaving: bytes of the model that is loaded and would leave.
    """
    found = [
        offer
        for family in catalogue()
        for entry in family.models
        if (offer := _offer(entry, machine, known, leaving)) is not None
    ]
    found.sort(key=lambda one: (_ORDER[one.verdict], -one.parameters, one.name))
    _suggest(found)
    found.sort(key=lambda one: not one.suggested)
    return found


def _offer(entry: Entry, machine: Machine, known: Known | None, leaving: int) -> Offer | None:
    wishes = Wishes(leaving=leaving)
    plans = [plan(one, machine, wishes.knowing(known, one)) for one in subjects_of(entry)]
    chosen = best(plans)
    if chosen is None:
        return None
    return Offer(
        id=entry.id,
        name=entry.name,
        uses=list(entry.uses),
        parameters=entry.parameters,
        licence=entry.licence,
        context=entry.context_length,
        verdict=chosen.verdict,
        remedy=" ".join(chosen.remedies[:1]),
        build=chosen.build,
        engine=chosen.engine,
        repository=chosen.repository,
        bytes=chosen.memory.weights,
        ram=chosen.ram,
        tokens=chosen.speed.tokens,
        low=chosen.speed.low,
        high=chosen.speed.high,
    )


def _suggest(found: Sequence[Offer]) -> None:
    """Marks up to three: the largest that is read as it comes, one for code, one that is quick. Largest first."""
    fitting = [
        one
        for one in found
        if one.verdict == "fits" and one.tokens >= READING and 8 * one.bytes >= GOOD_BITS * one.parameters
    ]

    def mark(why: str, wanted: Callable[[Offer], bool]) -> None:
        one = next((one for one in fitting if not one.suggested and wanted(one)), None)
        if one is not None:
            one.suggested = why  # type: ignore[assignment]

    mark("best", lambda one: "general" in one.uses)
    mark("code", lambda one: "code" in one.uses)
    mark("fast", lambda one: "general" in one.uses and one.tokens >= QUICK)
