"""Which linears are kept at more bits than AQLM would give them: those that write the massive activations.

In each Qwen2.5 some `down_proj` write a thousandfold norm into the residual of one token; quantized by AQLM to 3 bits,
with the smallest error of all linears by the Hessian's measure, two of them multiplied the 0.5B's perplexity by five.
SpQR, whose outliers are exact, took the same tensors at 3.8 bits without harm. They are known by their inputs: a
token's norm is many times the median's there (0.5B: 22.5 in layer 2, 7.6 in layer 3, 8 to 11 in layers 21 to 23; 1.5B:
22, 10, 8 in layers 1 to 3, 13 and 5 in the last two), and at most 3.8 times elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.quantize.levels import level_for

__all__ = ["RATIO", "SAFE", "protected", "safe_level"]

#: of the largest norm of a token to the median one, at the input of a block's last linear
RATIO = 5.0
#: Where they are kept; the second where the inputs do not fill SpQR's groups. The first costs a model of 0.5B 0.16 bits
#: a weight at 2 bits, larger ones less; 8 bits would cost 0.38.
SAFE = ("spqr-4", "q8")


def protected(groups: Sequence[Sequence[str]], group: Sequence[str], ratio: float) -> bool:
    """Whether the linears of a group need it.

    Args:
        groups: the block's linears by input, in order.
        group: one of them. Only the last can write a massive activation: attention averages, and its inputs are normed.
        ratio: of the largest norm of its inputs to the median.
    """
    return list(group) == list(groups[-1]) and ratio > RATIO


def safe_level(level: str, width: int) -> str:
    """The level of a linear of `width` inputs that needs protection: SpQR and 8 bits do it no harm."""
    return level_for(SAFE[0], width) if level.startswith("aqlm") else level
