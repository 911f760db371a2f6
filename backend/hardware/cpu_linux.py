"""The processor on Linux, from /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

from backend.hardware.features import ARM_FLAGS, X86_FLAGS, Cpu, named

__all__ = ["parse_cpuinfo", "read_cpu"]

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


def read_cpu(proc: Path = Path("/proc")) -> Cpu:
    """Name, physical cores and features; empty where the file is not there."""
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_cpuinfo(text)


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
