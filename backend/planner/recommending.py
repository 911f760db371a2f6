"""Three models of the catalogue for what someone wants to do, with why each is one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from backend.api.downloads import BuildIdea, Figure, Offer, Purpose, Reason, Recommendation, Recommendations
from backend.architectures import ARCHITECTURES
from backend.planner.catalogue import Entry, catalogue
from backend.planner.learned import Known
from backend.planner.offers import GOOD_BITS, QUICK, READING
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.quality import expected_loss
from backend.planner.subject import Subject
from backend.planner.weights import native_weights

__all__ = ["effective", "recommended"]

#: what a model is good for that suits a purpose
_USE: Final[dict[Purpose, str]] = {
    "chat": "general", "code": "code", "reason": "reasoning", "languages": "multilingual", "files": "general",
}  # fmt: skip
#: tokens that a model must take for questions about files: a paper of 20 pages and the talk about it
_FILES_CONTEXT: Final = 32_000
_MOST: Final = 3
#: of the memory of the one before it, for a model that is to be called lighter
_LIGHTER: Final = 0.75
#: ln of perplexity that halving a model costs: the exponent of Kaplan et al. 2020 (arXiv:2001.08361, section 3.2,
#: 0.076) at a loss of 2.1 nats a token
_HALVING: Final = 2.1 * (2**0.076 - 1)
#: levels of our own builds that are worth a download and hours of work, the better first
_LEVELS: Final = ("spqr-3", "aqlm-3x8")
#: how much more a model must say before the work is proposed
_WORTH: Final = 1.4


def recommended(
    purpose: Purpose, offers: Sequence[Offer], machine: Machine, known: Known | None = None, *, leaving: int = 0
) -> Recommendations:
    """Up to three models, the best first: the best that is read as it comes, a lighter one, a quick one.

    Args:
        purpose: what it is for.
        offers: the catalogue, planned for this machine.
        machine: for builds that could be made here.
        known: what loads taught; None: nothing.
        leaving: bytes of the model that is loaded and would leave.
    """
    suited = [one for one in offers if _suits(one, purpose)]
    fitting = [one for one in suited if one.verdict == "fits" and 8 * one.bytes >= GOOD_BITS * one.parameters]
    fitting.sort(key=lambda one: (-effective(one.parameters, _bits(one)), one.name))
    chosen = _chosen(fitting)
    entries = {entry.id: entry for family in catalogue() for entry in family.models}
    found = [_recommendation(one, entries[one.id], chosen[one.id]) for one in fitting if one.id in chosen]
    above = found[0].effective if found else 0
    idea = _idea([entries[one.id] for one in suited if one.id not in chosen], above, machine, known, leaving)
    return Recommendations(purpose=purpose, models=found, idea=idea)


def _chosen(fitting: Sequence[Offer]) -> dict[str, Reason]:
    """Of models that say ever less, id -> why it is one of the few."""
    chosen: dict[str, Reason] = {}
    room = math.inf  # bytes of memory that the next may take
    wanted: tuple[tuple[Reason, float], ...] = (("best", READING), ("lighter", 2 * READING), ("quick", QUICK))
    for reason, tokens in wanted:
        left = (one for one in fitting if one.id not in chosen and one.tokens >= tokens and one.ram <= room)
        one = next(left, None)
        if one is not None:
            chosen[one.id] = reason
            room = _LIGHTER * one.ram
    for one in fitting:
        if len(chosen) < _MOST and one.id not in chosen:
            chosen[one.id] = "quick" if one.tokens >= QUICK else "alike" if one.tokens >= READING else "slow"
    return chosen


def effective(parameters: int, bits: float) -> int:
    """The parameters of a model at full precision that would say as much: a rule of thumb for drawing, no measurement.

    What a build's bits cost is taken from our own builds of one model; a larger one loses less.
    """
    return round(parameters * 2 ** (-expected_loss(bits) / _HALVING))


def _suits(one: Offer, purpose: Purpose) -> bool:
    return _USE[purpose] in one.uses and (purpose != "files" or one.context >= _FILES_CONTEXT)


def _bits(one: Offer) -> float:
    return 8 * one.bytes / max(one.parameters, 1)


def _recommendation(one: Offer, entry: Entry, reason: Reason) -> Recommendation:
    build = next(b for b in entry.builds if b.repository == one.repository and one.build.endswith(b.scheme))
    return Recommendation(
        offer=one,
        choice=build.scheme if build.format == "gguf" else "safetensors",
        reason=reason,
        bits=round(_bits(one), 2),
        effective=effective(one.parameters, _bits(one)),
        figures=[
            Figure(metric=f.metric, value=f.value, original=f.original, conditions=f.conditions, source=f.source)
            for f in build.quality
        ],
    )


def _idea(
    entries: Sequence[Entry], above: int, machine: Machine, known: Known | None, leaving: int
) -> BuildIdea | None:
    """A build that could be made here and would say more than all that is offered ready."""
    best: BuildIdea | None = None
    for entry in entries:
        if entry.architecture.model_type not in ARCHITECTURES:
            continue
        for level in _LEVELS:
            weights = native_weights(entry.architecture, level)
            said = effective(entry.parameters, 8 * weights.total / entry.parameters)
            if said < max(_WORTH * above, best.effective if best else 1):
                continue
            subject = Subject(entry.name, "native", level, entry.architecture, weights, entry.context_length)
            found = plan(subject, machine, Wishes(leaving=leaving).knowing(known, subject))
            if found.verdict == "fits" and READING <= found.speed.tokens < math.inf:
                best = BuildIdea(
                    id=entry.id, name=entry.name, repository=entry.repository, level=level, parameters=entry.parameters,
                    bytes=weights.total, source_bytes=2 * entry.parameters, ram=found.ram, tokens=found.speed.tokens,
                    effective=said,
                )  # fmt: skip
                break
    return best
