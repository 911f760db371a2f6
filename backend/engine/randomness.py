"""The random number of a token is a function of (seed, position).

So a text does not depend on how it was computed: token by token, by a speculative tree, or continued after a stop.
The hash is SplitMix64's finaliser (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014), which
passes BigCrush on a counter; in pure Python it costs under a microsecond, where a NumPy Philox costs twenty.
"""

from __future__ import annotations

import secrets

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits for the token at `position` of the sequence."""
    z = _mix((_mix(seed & _MASK) + (position + 1) * _GOLDEN) & _MASK)
    return (z >> 11) * (1.0 / (1 << 53))


def fresh_seed() -> int:
    """A seed of 31 bits for a request that gave none; small enough to be read and typed by a person."""
    return secrets.randbits(31)
