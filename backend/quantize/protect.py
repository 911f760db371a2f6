"""Which linears are kept at 8 bits whatever the level: those that write the massive activations.

In each Qwen2.5 two `down_proj` write a thousandfold norm into the residual of one token; quantized to 3 bits, with the
smallest error of all linears by the Hessian's measure, they alone multiplied the 0.5B's perplexity by five. They are
known by their inputs: there a token's norm is more than ten times the median, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["LEVEL", "RATIO", "protected"]

#: of the largest norm of a token to the median one, at the input of a block's last linear
RATIO = 10.0
#: costs a model of 0.5B 0.13 bits a weight, larger ones less
LEVEL = "q8"


def protected(groups: Sequence[Sequence[str]], group: Sequence[str], ratio: float) -> bool:
    """Whether the linears of a group are kept.

    Args:
        groups: the block's linears by input, in order.
        group: one of them. Only the last can write a massive activation: attention averages, and its inputs are normed.
        ratio: of the largest norm of its inputs to the median.
    """
    return list(group) == list(groups[-1]) and ratio > RATIO
