"""The processor on Windows, from the registry, IsProcessorFeaturePresent and GetLogicalProcessorInformationEx."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections import Counter
from collections.abc import Callable

from backend.hardware.features import Cpu

__all__ = ["core_classes", "core_records", "feature_present", "processor_name", "read_cpu"]

#: RelationProcessorCore, and the bytes of a record that are read
_CORES, _HEAD = 0, 10
#: PF_ numbers of winnt.h; Windows has none for FMA, F16C or the parts of AVX-512
_FEATURES = {
    38: "SSE4.2",
    39: "AVX",
    40: "AVX2",
    41: "AVX-512",
    19: "NEON",
    43: "DotProd",
    46: "SVE",
    47: "SVE2",
    66: "I8MM",
}


def feature_present(number: int) -> bool:
    """Whether the processor and the system have the feature with this PF_ number."""
    present = False
    if sys.platform == "win32":
        import ctypes

        present = bool(ctypes.windll.kernel32.IsProcessorFeaturePresent(number))
    return present


def processor_name() -> str:
    """As the registry has it, or ""."""
    name = ""
    if sys.platform == "win32":
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
            name = " ".join(str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).split())
    return name


def core_records() -> bytes:
    """What GetLogicalProcessorInformationEx tells of cores (RelationProcessorCore), or b""."""
    records = b""
    if sys.platform == "win32":
        import ctypes

        ask = ctypes.windll.kernel32.GetLogicalProcessorInformationEx
        size = ctypes.c_ulong(0)
        ask(_CORES, None, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(max(size.value, 1))
        if ask(_CORES, buffer, ctypes.byref(size)):
            records = buffer.raw[: size.value]
    return records


def core_classes(records: bytes) -> tuple[int, int]:
    """Cores for performance and for efficiency; zeros where all are alike.

    A record of a core begins with its relationship and its size (32 bits each), flags and the efficiency class (8 bits
    each); a higher class is faster.
    """
    classes: Counter[int] = Counter()
    at = 0
    while at + _HEAD <= len(records):
        relation, size, _, kind = struct.unpack_from("<IIBB", records, at)
        if size < _HEAD:
            break
        if relation == _CORES:
            classes[kind] += 1
        at += size
    slow = classes.pop(min(classes, default=0), 0)
    return (classes.total(), slow) if classes else (0, 0)


def read_cpu(
    present: Callable[[int], bool] = feature_present,
    name: Callable[[], str] = processor_name,
    records: Callable[[], bytes] = core_records,
) -> Cpu:
    """Name, features and kinds of cores (their number comes from psutil); the arguments stand in for the system in
    tests.
    """
    fast, slow = core_classes(records())
    features = [text for number, text in _FEATURES.items() if present(number)]
    return Cpu(name=name(), cores=0, features=features, performance=fast, efficiency=slow)
