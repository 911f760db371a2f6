"""The processor on macOS, through sysctlbyname (no process is started)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from backend.hardware.features import Cpu, named

__all__ = ["Sysctl", "read_cpu", "sysctl"]

#: name -> raw bytes, or None where there is no such value
Sysctl = Callable[[str], bytes | None]

_X86 = {
    "SSE4.2": "SSE4.2",
    "AVX1.0": "AVX",
    "F16C": "F16C",
    "FMA": "FMA",
    "AVX2": "AVX2",
    "AVX512F": "AVX-512",
    "AVX512BW": "AVX-512 BW",
    "AVX512VBMI": "AVX-512 VBMI",
    "AVX512VNNI": "AVX-512 VNNI",
}
_ARM = {
    "hw.optional.AdvSIMD": "NEON",
    "hw.optional.arm.FEAT_FP16": "FP16",
    "hw.optional.arm.FEAT_DotProd": "DotProd",
    "hw.optional.arm.FEAT_I8MM": "I8MM",
    "hw.optional.arm.FEAT_BF16": "BF16",
    "hw.optional.arm.FEAT_SME": "SME",
}


def sysctl(name: str) -> bytes | None:
    """One value of the kernel's."""
    function = ctypes.CDLL(None).sysctlbyname
    size = ctypes.c_size_t(0)
    if function(name.encode(), None, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0 or size.value > 1 << 16:
        return None
    buffer = ctypes.create_string_buffer(size.value)
    if function(name.encode(), buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return buffer.raw[: size.value]


def read_cpu(read: Sysctl = sysctl) -> Cpu:
    """Name, physical cores and features; `read` stands in for the kernel in tests.

    Level 0 are the performance cores of an Apple processor, level 1 the others.
    """
    flags = " ".join(_text(read(name)) for name in ("machdep.cpu.features", "machdep.cpu.leaf7_features")).split()
    features = named(flags, _X86) + [name for key, name in _ARM.items() if _number(read(key))]
    fast, slow = (_number(read(f"hw.perflevel{level}.physicalcpu")) for level in (0, 1))
    return Cpu(
        name=_text(read("machdep.cpu.brand_string")),
        cores=_number(read("hw.physicalcpu")),
        features=features,
        performance=fast if slow else 0,
        efficiency=slow if fast else 0,
    )


def _text(value: bytes | None) -> str:
    return " ".join((value or b"").partition(b"\0")[0].decode(errors="replace").split())


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "little") if value and len(value) in (4, 8) else 0
