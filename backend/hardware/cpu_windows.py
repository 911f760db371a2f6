"""The processor on Windows, from the registry and IsProcessorFeaturePresent."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from backend.hardware.features import Cpu

__all__ = ["feature_present", "processor_name", "read_cpu"]

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


def read_cpu(present: Callable[[int], bool] = feature_present, name: Callable[[], str] = processor_name) -> Cpu:
    """Name and features (cores come from psutil); the arguments stand in for the system in tests."""
    return Cpu(name=name(), cores=0, features=[text for number, text in _FEATURES.items() if present(number)])
