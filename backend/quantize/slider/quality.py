"""From the sum of errors to a KL: measured at a few positions, interpolated between them.

The sum is right to first order only: at 2 bits errors add up to more than each alone, and a share of the KL is that of
embedding and head, whose errors are of another kind. A few anchors measured from packed files correct both. Between
them log KL is linear in log sum; outside, it goes on with the slope of 1 that small errors have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Anchor", "Quality"]

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Anchor:
    """A measured position: the sum of sensitivity * error there, and the KL in nats per token."""

    cost: float
    kl: float


class Quality:
    """Predicts KL from the sum.

    Args:
        anchors: measured; none: the sum itself is the prediction.
    """

    def __init__(self, anchors: Sequence[Anchor] = ()) -> None:
        points = sorted((math.log(max(a.cost, _LEAST)), math.log(max(a.kl, _LEAST))) for a in anchors)
        # A better position that measures worse is noise of the text: pooled, so that the prediction stays monotone.
        self._points: list[tuple[float, float]] = []
        groups: list[list[tuple[float, float]]] = []
        for point in points:
            groups.append([point])
            while len(groups) > 1 and _mean(groups[-2]) > _mean(groups[-1]):
                last = groups.pop()
                groups[-1] += last
        for group in groups:
            self._points += [(x, _mean(group)) for x, _ in group]

    def kl(self, cost: float) -> float:
        """Nats per token."""
        if not self._points:
            return cost
        x = math.log(max(cost, _LEAST))
        first, last = self._points[0], self._points[-1]
        if x <= first[0]:
            return math.exp(first[1] + (x - first[0]))
        if x >= last[0]:
            return math.exp(last[1] + (x - last[0]))
        for (x0, y0), (x1, y1) in zip(self._points, self._points[1:], strict=False):
            if x <= x1:
                return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0)) if x1 > x0 else math.exp(y1)
        raise AssertionError


def _mean(group: Sequence[tuple[float, float]]) -> float:
    return sum(y for _, y in group) / len(group)
