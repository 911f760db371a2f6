"""The processor on Linux, from /proc/cpuinfo and sysfs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backend.hardware.features import ARM_FLAGS, X86_FLAGS, Cpu, named

__all__ = ["core_kinds", "parse_cpuinfo", "read_cpu"]

#: processors of one range in a list of the kernel's
_MOST = 4096
#: "CPU implementer" and "CPU part" of ARM cores that are sold in computers, for kernels that give no name
_ARM_PARTS = {
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0x51", "0x001"): "Qualcomm Oryon",
    ("0x61", "0x022"): "Apple M1",
    ("0x61", "0x023"): "Apple M1",
    ("0x61", "0x032"): "Apple M2",
    ("0x61", "0x033"): "Apple M2",
}


def read_cpu(proc: Path = Path("/proc"), sys: Path = Path("/sys/devices")) -> Cpu:
    """Name, physical cores and features; empty where the files are not there."""
    performance, efficiency = core_kinds(sys)
    return replace(parse_cpuinfo(_text(proc / "cpuinfo")), performance=performance, efficiency=efficiency)


def core_kinds(sys: Path) -> tuple[int, int]:
    """Physical cores for performance and for efficiency; zeros where all are alike.

    Intel's hybrids have a performance counter for each kind, which lists its processors; ARM kernels give each one a
    capacity, of which 1024 is the most. Two kinds of fast cores count as one.
    """
    numbers = _numbers(_text(sys / "system" / "cpu" / "online"))
    fast = set(_numbers(_text(sys / "cpu_core" / "cpus")))
    slow = set(_numbers(_text(sys / "cpu_atom" / "cpus"))) | set(_numbers(_text(sys / "cpu_lowpower" / "cpus")))
    if not fast or not slow:
        folder = sys / "system" / "cpu"
        capacity = {one: _text(folder / f"cpu{one}" / "cpu_capacity").strip() for one in numbers}
        sizes = {one: int(text) for one, text in capacity.items() if text.isdecimal()}
        least = min(sizes.values(), default=0)
        slow = {one for one, size in sizes.items() if size == least}
        fast = set(sizes) - slow
    if not fast or not slow:
        return 0, 0
    return _physical(sys, fast), _physical(sys, slow)


def _physical(sys: Path, processors: set[int]) -> int:
    """Those that share a core count once."""
    cores = set()
    for one in processors:
        siblings = _numbers(_text(sys / "system" / "cpu" / f"cpu{one}" / "topology" / "thread_siblings_list"))
        cores.add(min(siblings, default=one))
    return len(cores)


def _numbers(text: str) -> list[int]:
    """Of a list as the kernel writes it: "0-3,8"."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            found += range(int(first), min(int(last or first), int(first) + _MOST) + 1)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def parse_cpuinfo(text: str) -> Cpu:
    """The same from the text of /proc/cpuinfo, of x86, ARM, POWER or RISC-V kernels."""
    blocks = [_fields(block) for block in text.split("\n\n") if block.strip()]
    first: dict[str, str] = {}
    for block in blocks:  # ARM kernels put "Hardware" or "Model" into a block of its own at the end
        first = block | first
    name = first.get("model name") or first.get("cpu") or first.get("Model") or first.get("uarch") or ""
    if not name or name.startswith(("ARMv", "v8")):
        part = (first.get("CPU implementer", ""), first.get("CPU part", ""))
        name = _ARM_PARTS.get(part) or first.get("Hardware") or name
    flags = (first.get("flags") or first.get("Features") or "").split()
    cores = {(b["physical id"], b["core id"]) for b in blocks if "physical id" in b and "core id" in b}
    return Cpu(name=" ".join(name.split()), cores=len(cores), features=named(flags, {**X86_FLAGS, **ARM_FLAGS}))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
