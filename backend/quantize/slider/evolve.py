"""Polish: an evolutionary search around a slider's position (EvoPress, arXiv 2410.14649).

Errors are not quite additive, so the best mixture of a size is not exactly a prefix. Children of the best one exchange
levels between linears: some up, others down until the size fits again. Each round's children are measured on few
tokens, the survivors on more. The parent only leaves for a better one; what is best so far can be taken at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.quantize.layer import Stop
from backend.quantize.slider.upgrades import Choice

__all__ = ["Evolved", "Rounds", "evolve"]

#: (levels of all linears, tokens to look at) -> KL in nats per token
Fitness = Callable[[Mapping[str, str], int], float]


@dataclass(frozen=True, slots=True)
class Rounds:
    """How long.

    Attributes:
        generations: rounds.
        children: in each.
        stages: (tokens, survivors) of each selection; the last leaves one.
        seed: of everything random.
    """

    generations: int = 20
    children: int = 8
    stages: tuple[tuple[int, int], ...] = ((512, 2), (2048, 1))
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Evolved:
    """The best mixture: its levels, bytes, KL on the last stage's tokens, and that of the position it began with."""

    levels: Mapping[str, str]
    bytes: int
    kl: float
    kl_before: float
    generations: int


def evolve(
    choices: Mapping[str, Sequence[Choice]],
    start: Mapping[str, str],
    most_bytes: int,
    fitness: Fitness,
    *,
    rounds: Rounds | None = None,
    report: Callable[[Evolved], None] = lambda best: None,
    stop: Stop = lambda: False,
) -> Evolved:
    """Looks for a better mixture of at most so many bytes; stopped, it returns the best so far.

    Args:
        choices: the levels of each linear.
        start: a position's levels.
        most_bytes: of all linears.
        fitness: measures a mixture.
        rounds: how long.
        report: told after each generation.
        stop: asked before each measurement.
    """
    rounds = rounds or Rounds()
    random = np.random.default_rng(rounds.seed)
    ladders = {module: sorted(found, key=lambda one: one.bytes) for module, found in choices.items()}
    place = {
        module: next(i for i, one in enumerate(ladder) if one.level == start[module])
        for module, ladder in ladders.items()
    }
    most = rounds.stages[-1][0]
    if stop():
        return Evolved(dict(start), _size(ladders, place), float("inf"), float("inf"), 0)
    before = best = fitness(_levels(ladders, place), most)
    result = Evolved(dict(start), _size(ladders, place), best, before, 0)
    for generation in range(1, rounds.generations + 1):
        family = [child for _ in range(rounds.children) if (child := _child(ladders, place, most_bytes, random))]
        for tokens, survivors in rounds.stages[:-1]:
            scored = []
            for number, child in enumerate(family):
                if stop():
                    return result
                scored.append((fitness(_levels(ladders, child), tokens), number))
            family = [family[number] for _, number in sorted(scored)[:survivors]]
        for child in family:
            if stop():
                return result
            if (kl := fitness(_levels(ladders, child), most)) < best:
                best, place = kl, child
                result = Evolved(_levels(ladders, place), _size(ladders, place), best, before, generation)
        result = Evolved(_levels(ladders, place), _size(ladders, place), best, before, generation)
        report(result)
    return result


_Ladders = Mapping[str, Sequence[Choice]]


def _child(
    ladders: _Ladders, parent: Mapping[str, int], most_bytes: int, random: np.random.Generator
) -> dict[str, int] | None:
    """Some linears one level up, then others one down until it fits; None where nothing can be exchanged."""
    place = dict(parent)
    modules = list(ladders)
    raised = set()
    for _ in range(int(min(random.integers(1, 4), random.integers(1, 4)))):
        upward = [m for m in modules if place[m] + 1 < len(ladders[m])]
        if upward:
            chosen = upward[int(random.integers(len(upward)))]
            place[chosen] += 1
            raised.add(chosen)
    while _size(ladders, place) > most_bytes:
        downward = [m for m in modules if place[m] > 0 and m not in raised]
        if not downward:
            return None
        place[downward[int(random.integers(len(downward)))]] -= 1
    return place if place != dict(parent) else None


def _levels(ladders: _Ladders, place: Mapping[str, int]) -> dict[str, str]:
    return {module: ladder[place[module]].level for module, ladder in ladders.items()}


def _size(ladders: _Ladders, place: Mapping[str, int]) -> int:
    return sum(ladder[place[module]].bytes for module, ladder in ladders.items())
