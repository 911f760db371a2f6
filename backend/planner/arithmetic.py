"""llama.cpp on a processor: seconds that a core multiplies with the weights of a token, by their type.

Most types are unpacked more slowly than a memory delivers them to a few cores: of 1.5B, Q4_1 is smaller than Q6_K, and
takes half as long again. Types that are held a second time in an order of their own (`mapped.py`) are the quick ones.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["core_seconds", "of_token"]

#: Nanoseconds of one core for one weight. Single tokens through a 1.5B that is all of one type, less the time for each
#: layer (`speed.besides_reading`); two cores of an AMD EPYC (Zen 5, AVX-512), llama-cpp-python 0.3.36.
_MEASURED = {
    "Q2_K": 0.023, "Q3_K": 0.044, "Q4_0": 0.034, "Q4_1": 0.082, "Q4_K": 0.028, "Q5_0": 0.074, "Q5_1": 0.089,
    "Q5_K": 0.051, "Q6_K": 0.049, "Q8_0": 0.074, "IQ4_NL": 0.029,
}  # fmt: skip
#: The others: its inner loop on 32 rows that stay in the cache, times 1.4, which is what the K-quants take above that.
_LOOP = {
    "F32": 0.080, "F16": 0.056, "BF16": 0.033, "IQ1_S": 0.063, "IQ1_M": 0.059, "IQ2_XXS": 0.066, "IQ2_XS": 0.060,
    "IQ2_S": 0.062, "IQ3_XXS": 0.087, "IQ3_S": 0.101, "IQ4_XS": 0.037, "TQ1_0": 0.031, "TQ2_0": 0.016, "MXFP4": 0.042,
}  # fmt: skip
_NS = {kind: 1.4 * ns for kind, ns in _LOOP.items()} | _MEASURED
_UNKNOWN = 0.08


def core_seconds(kind: str, weights: int) -> float:
    """Of one core for one vector and so many weights of a type."""
    return _NS.get(kind, _UNKNOWN) * 1e-9 * weights


def of_token(linears: Iterable[tuple[str, int, bool]], used: float = 1.0) -> float:
    """Of one core for one token.

    Args:
        linears: type, weights, and whether these are experts, of all that are multiplied.
        used: share of the experts that one token meets.
    """
    return sum(core_seconds(kind, weights) * (used if expert else 1.0) for kind, weights, expert in linears)
