"""Names of processor features that matter for speed, and how the systems spell them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["ARM_FLAGS", "X86_FLAGS", "Cpu", "named"]


@dataclass(frozen=True, slots=True)
class Cpu:
    """What a system's own source says; `name` "" and `cores` 0 where it does not say.

    `performance` and `efficiency` are physical cores of a processor that has both kinds, else 0.
    """

    name: str
    cores: int
    features: list[str]
    performance: int = 0
    efficiency: int = 0


#: flags as in /proc/cpuinfo -> names as people write them, in the order in which they are shown
X86_FLAGS: Mapping[str, str] = {
    "sse4_2": "SSE4.2",
    "avx": "AVX",
    "f16c": "F16C",
    "fma": "FMA",
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512bw": "AVX-512 BW",
    "avx512vbmi": "AVX-512 VBMI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_int8": "AMX INT8",
    "amx_bf16": "AMX BF16",
}
ARM_FLAGS: Mapping[str, str] = {
    "neon": "NEON",
    "asimd": "NEON",
    "asimdhp": "FP16",
    "asimddp": "DotProd",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
    "sve2": "SVE2",
    "sme": "SME",
}


def named(flags: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """The names of those flags that have one, each once, in the order of `names`."""
    have = set(flags)
    return list(dict.fromkeys(name for flag, name in names.items() if flag in have))
