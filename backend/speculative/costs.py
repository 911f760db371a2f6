"""T(n): seconds of a pass of n nodes, measured on this machine and kept up to date by every pass.

The curve is a staircase (kernels change at 4, 8, 16, 32 nodes), so it is held at knots and interpolated between them;
a shape (T(n) / T(1)) and one scale, so that a busy machine or a longer context moves all of it at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from backend.engine.model import Aborted, Model, TokenTree

__all__ = ["KNOTS", "Costs", "measure"]

KNOTS = (1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 24, 32, 33, 48, 64, 65, 96, 128, 192, 256, 384, 512)
#: Without a measurement: each further node costs this share of the first. Two cores with 4-bit weights need about so
#: much; a better machine shows it within a few passes.
_SLOPE = 0.35
_SCALE_RATE, _SHAPE_RATE = 0.1, 0.15
#: The other sizes follow with this share: a curve measured beside a busy program is wrong as a whole, and sizes
#: that are held for too expensive are never tried.
_TOGETHER = 0.3
_ROUNDS = 5
#: passes beyond this many times T(1) do not pay for any draft
_STEEPEST = 8.0


class Costs:
    """The curve. `known` is False while it is only a guess."""

    def __init__(self) -> None:
        self._shape = {n: 1.0 + _SLOPE * (n - 1) for n in KNOTS}
        self._scale = 0.0
        self.known = False

    def seconds(self, n: int) -> float:
        """Of a pass of `n` nodes; 0 while not a single pass was seen."""
        return self._scale * self.ratio(n)

    def ratio(self, n: int) -> float:
        """T(n) / T(1), never falling with n."""
        below = 1
        best = 1.0
        for knot in KNOTS:
            if knot > n:
                share = (n - below) / (knot - below)
                return max(best, best + share * (self._shape[knot] - best))
            below, best = knot, max(best, self._shape[knot])
        return best * n / below

    def observe(self, n: int, seconds: float) -> None:
        """A pass took so long. One that is far off (another program woke up) counts as twice or half at most."""
        if not self._scale:
            self._scale = seconds / self.ratio(n)
            return
        expected = self.seconds(n)
        seconds = min(max(seconds, expected / 2), expected * 2)
        if n == 1:
            self._scale += _SCALE_RATE * (seconds - self._scale)
        else:
            low = max(knot for knot in KNOTS if knot <= n)
            high = min((knot for knot in KNOTS if knot >= n), default=low)
            change = _SHAPE_RATE * (seconds / expected - 1)
            for knot in KNOTS[1:]:
                self._shape[knot] = max(self._shape[knot] * (1 + change * (1 if low <= knot <= high else _TOGETHER)), 1)

    def set(self, table: dict[int, float]) -> None:
        """Takes measured seconds of some n, 1 among them; beyond the last the slope of the whole goes on."""
        self._scale = table[1]
        measured = sorted(table)
        last = measured[-1]
        slope = max((table[last] / table[1] - 1) / max(last - 1, 1), 1e-3)
        for knot in KNOTS:
            if knot > last:
                self._shape[knot] = table[last] / table[1] + slope * (knot - last)
                continue
            low = max(n for n in measured if n <= knot)
            high = min(n for n in measured if n >= knot)
            share = (knot - low) / (high - low) if high > low else 0.0
            self._shape[knot] = (table[low] + share * (table[high] - table[low])) / table[1]
        self.known = True

    def as_json(self) -> dict[str, Any]:
        """For the cache."""
        return {"scale": self._scale, "shape": {str(n): ratio for n, ratio in self._shape.items()}}

    def load(self, found: object) -> bool:
        """Takes what `as_json` gave; False, and nothing taken, where it is not that."""
        try:
            scale = float(found["scale"])  # type: ignore[index]
            shape = {int(n): float(ratio) for n, ratio in found["shape"].items()}  # type: ignore[index]
        except (TypeError, KeyError, ValueError, AttributeError):
            return False
        if not 0 < scale < 1e4 or set(shape) != set(KNOTS) or not all(0 < r < 1e5 for r in shape.values()):
            return False
        self._scale, self._shape, self.known = scale, shape, True
        return True


def measure(model: Model, costs: Costs, most: int) -> Iterator[None]:
    """Fills `costs` from passes of up to `most` nodes; one pass between two yields. The cache is as before after each.

    Every size is timed once in each round, so that a program that takes the processor for a second slows all of them,
    and not one that would then be held for expensive. An abort puts a pass off; whoever drives this goes on when there
    is time again.
    """
    table: dict[int, float] = {}
    sizes = [knot for knot in KNOTS if knot <= most]
    if sizes and sizes[-1] < most:
        sizes.append(most)
    for _ in range(_ROUNDS):
        for n in list(sizes):
            while (seconds := _timed(model, n)) == 0:
                yield
            if seconds < 0:
                sizes.remove(n)
                continue
            table[n] = min(seconds, table.get(n, seconds))  # another program only ever adds
            yield
            if table[n] > _STEEPEST * table[1]:
                del sizes[sizes.index(n) + 1 :]
                break
    if 1 in table:
        costs.set(table)


def _timed(model: Model, n: int) -> float:
    """Seconds of a pass of `n` nodes; 0: it was put off; -1: there is no room for it."""
    length = model.length
    if length + n > model.info.n_ctx:
        return -1.0
    started = time.perf_counter()
    try:
        model.forward(TokenTree([1] * n, range(-1, n - 1), range(n)))
    except Aborted:
        return 0.0
    seconds = time.perf_counter() - started
    model.rewind(length)
    return max(seconds, 1e-9)
