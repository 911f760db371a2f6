"""A per-layer store as one ordered list of upgrades: a slider's position is a prefix of it.

Every linear has levels with a size and an error. Its cost is `sensitivity * error`: the KL that it adds when everything
else is as in the source (additive to first order: arXiv 2411.17525, theorem 1; a search would give positions that are
neither nested nor instant). Of each linear only the levels on the lower convex hull of (bytes, cost) are used, so that
each upgrade saves less per byte than the one before; then all upgrades of all linears are sorted by what they save per
byte. So positions are nested (to the right, linears only get better) and monotone, and moving the slider costs a
look-up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Choice", "Position", "Slider", "Upgrade", "order"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A linear at a level: its bytes in the build, and its relative error under the Hessian."""

    level: str
    bytes: int
    error: float


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One step to the right: `bytes` more, and `gain` nats of KL less, as predicted by the sum."""

    module: str
    before: str
    after: str
    bytes: int
    gain: float


@dataclass(frozen=True, slots=True)
class Position:
    """Where the slider is.

    Attributes:
        steps: upgrades taken.
        levels: of each linear.
        bytes: of all linears.
        cost: the sum of sensitivity * error; `quality.py` turns it into a KL.
    """

    steps: int
    levels: Mapping[str, str]
    bytes: int
    cost: float


@dataclass(frozen=True)
class Slider:
    """The list, from the smallest build on.

    Attributes:
        start: each linear at its smallest level.
        upgrades: in order.
    """

    start: Position
    upgrades: tuple[Upgrade, ...]

    @property
    def most_bytes(self) -> int:
        """At the right end."""
        return self.start.bytes + sum(upgrade.bytes for upgrade in self.upgrades)

    @property
    def last(self) -> int:
        """The rightmost position."""
        return len(self.upgrades)

    def costs(self) -> list[float]:
        """Of every position, from left to right; never below 0."""
        found = [self.start.cost]
        for upgrade in self.upgrades:
            found.append(found[-1] - upgrade.gain)
        return [max(cost, 0.0) for cost in found]

    def at(self, steps: int) -> Position:
        """After so many upgrades.

        Raises:
            ValueError: there are not so many.
        """
        if not 0 <= steps <= len(self.upgrades):
            raise ValueError(f"{steps} of {len(self.upgrades)} upgrades")
        levels = dict(self.start.levels)
        size, cost = self.start.bytes, self.start.cost
        for upgrade in self.upgrades[:steps]:
            levels[upgrade.module] = upgrade.after
            size += upgrade.bytes
            cost -= upgrade.gain
        return Position(steps, levels, size, max(cost, 0.0))

    def within(self, most_bytes: int) -> Position:
        """The rightmost position of at most so many bytes; the start where even that is larger."""
        size = self.start.bytes
        for steps, upgrade in enumerate(self.upgrades):
            size += upgrade.bytes
            if size > most_bytes:
                return self.at(steps)
        return self.at(len(self.upgrades))


def order(choices: Mapping[str, Sequence[Choice]], sensitivity: Mapping[str, float]) -> Slider:
    """Sorts what can be improved.

    Args:
        choices: the levels of each linear, at least one.
        sensitivity: of each linear: nats of KL for a relative error of 1, not negative.

    Raises:
        ValueError: a linear without levels or without a sensitivity.
    """
    levels: dict[str, str] = {}
    size, cost = 0, 0.0
    steps: list[tuple[float, int, int, Upgrade]] = []
    for number, (module, found) in enumerate(choices.items()):
        if not found or module not in sensitivity:
            raise ValueError(f"no levels, or no sensitivity, of {module}")
        weight = max(0.0, sensitivity[module])
        hull = _hull([(one.bytes, weight * one.error, one.level) for one in found])
        levels[module] = hull[0][2]
        size += hull[0][0]
        cost += hull[0][1]
        for rank, (less, more) in enumerate(pairwise(hull)):
            upgrade = Upgrade(module, less[2], more[2], more[0] - less[0], less[1] - more[1])
            steps.append((-upgrade.gain / upgrade.bytes, number, rank, upgrade))
    steps.sort(key=lambda step: step[:3])
    return Slider(Position(0, levels, size, cost), tuple(step[3] for step in steps))


def _hull(points: Sequence[tuple[int, float, str]]) -> list[tuple[int, float, str]]:
    """The lower left convex hull: larger, better, and each step less steep than the one before."""
    hull: list[tuple[int, float, str]] = []
    for point in sorted(points, key=lambda p: (p[0], p[1])):
        if hull and point[1] >= hull[-1][1]:
            continue  # larger and no better
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], point):
            hull.pop()
        if hull and hull[-1][0] == point[0]:
            hull.pop()
        hull.append(point)
    return hull


def _slope(a: tuple[int, float, str], b: tuple[int, float, str]) -> float:
    """What is saved per byte."""
    return (a[1] - b[1]) / (b[0] - a[0])
