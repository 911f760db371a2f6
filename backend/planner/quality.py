"""What the bits of a build cost, in nats per token, where nobody measured it."""

from __future__ import annotations

import itertools
from typing import Final

__all__ = ["expected_loss"]

#: (bits of a weight, ln of what perplexity grows by): our own builds of a 1.5B, see app/notes/log.md, and a Q8_0
_LOSS: Final = ((2.16, 0.35), (3.11, 0.107), (3.83, 0.051), (4.85, 0.020), (8.5, 0.0))


def expected_loss(bits: float) -> float:
    """By how many nats a token a build of so many bits is worse than its model: on a line between our own builds of
    one model. A larger model loses less.
    """
    if bits <= _LOSS[0][0]:
        return _LOSS[0][1]
    for (low, above), (high, below) in itertools.pairwise(_LOSS):
        if bits <= high:
            return above + (below - above) * (bits - low) / (high - low)
    return _LOSS[-1][1]
