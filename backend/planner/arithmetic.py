"""On a processor: seconds that a core multiplies with the weights of a token, by their type.

Most types are unpacked more slowly than a memory delivers them to a few cores. llama.cpp's: of 1.5B, Q4_1 is smaller
than Q6_K, and takes half as long again; those that are held a second time in an order of their own (`mapped.py`) are
the quick ones. Ours: AQLM 1x16, with two bits a weight, has a quarter of the speed of 4-bit weights, because each group
of 8 is fetched from a table of 1 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

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

#: Our engine's, by instruction set: `nutshell bench kernels` with two threads of an AMD EPYC (Zen 4), weights from the
#: memory; those that wait for the memory there (q4, q8, f16), one thread on a matrix in the cache.
_OURS = {
    "avx512": {"spqr-3": 0.036, "spqr-4": 0.036, "q4": 0.020, "q8": 0.026, "f16": 0.040},
    "avx2": {"spqr-3": 0.055, "spqr-4": 0.045, "q4": 0.027, "q8": 0.025, "f16": 0.032},
}
#: For each codebook of AQLM, in groups of 8: codes of up to 8 bits, and longer ones. Measured for 1x8, 2x8, 3x8, 4x8:
#: 0.0148, 0.025, 0.041, 0.056 with AVX-512, which alone looks up 64 codes at once, and 0.037, 0.078, 0.135, 0.21 with
#: AVX2.
_CODEBOOK = {"avx512": (0.0135, 0.14), "avx2": (0.044, 0.19)}
_AQLM = re.compile(r"aqlm-(\d+)x(\d+)(?:g(\d+))?")
_BYTE = 8


def core_seconds(kind: str, weights: int) -> float:
    """Of one core for one vector and so many weights.

    Args:
        kind: a type of llama.cpp ("Q4_K"), or a scheme of ours ("aqlm-2x8").
        weights: how many.
    """
    ns = _NS.get(kind) or _ours(kind) or _UNKNOWN
    return ns * 1e-9 * weights


@lru_cache
def _ours(scheme: str) -> float:
    """Nanoseconds of one core for one weight in our engine; 0: no scheme of ours."""
    level = _level()
    if aqlm := _AQLM.fullmatch(scheme):
        count, bits, group = int(aqlm[1]), int(aqlm[2]), int(aqlm[3] or 8)
        return count * _CODEBOOK[level][bits > _BYTE] * 8 / max(group, 1)
    return _OURS[level].get({"f32": "f16", "bf16": "f16"}.get(scheme, scheme), 0.0)


def _level() -> str:
    """The table of the instruction set that our kernels take here; others than AVX-512 are alike as far as we know."""
    try:
        from kernels import cpu  # not compiled: nothing of ours runs, but the planner does
    except ImportError:
        return "avx2"
    return "avx512" if cpu.levels()[-1] == "avx512" else "avx2"


def of_token(linears: Iterable[tuple[str, int, bool]], used: float = 1.0) -> float:
    """Of one core for one token.

    Args:
        linears: type, weights, and whether these are experts, of all that are multiplied.
        used: share of the experts that one token meets.
    """
    return sum(core_seconds(kind, weights) * (used if expert else 1.0) for kind, weights, expert in linears)
