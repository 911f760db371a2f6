"""The machine that this process runs on, as plans see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backend.engine.native_cuda import cuda_card
from backend.hardware.bandwidth import memory_bandwidth
from backend.hardware.disk_rate import direct_read_rate
from backend.hardware.gpus import gpu_reports
from backend.hardware.memory import memory_report
from backend.hardware.probe import cpu_report, disk_report
from backend.planner.plan import Machine
from backend.planner.speed import Rates

__all__ = ["this_machine", "with_disk"]

#: bytes a second of a card's memory and of a disk, where nothing was measured
_GPU, _DISK = 300e9, 1.5e9
#: of what a link signals, what copies of pinned memory are said to reach (not measured)
_LINK = 0.8


def this_machine(models: Path) -> Machine:
    """With the memory's speed measured: a third of a second in the first call of a process.

    Args:
        models: where models lie, or would.
    """
    cores, memory = cpu_report().cores, memory_report()
    usable, ours = [gpu.vram_free for gpu in gpu_reports() if gpu.backend], cuda_card()
    link = ours.link_rate * _LINK if ours else 0.0
    return Machine(
        cores=cores,
        memory_total=memory.total,
        memory_free=memory.available,
        rates=Rates(ram=memory_bandwidth(cores), gpu=_GPU if usable or ours else 0.0, disk=_DISK, link=link),
        gpu_free=max(usable, default=0),
        cuda_free=ours.vram_free if ours else 0,
        disk_free=disk_report(models).free,
    )


def with_disk(machine: Machine, file: Path) -> Machine:
    """The same with the rate of the disk that this file lies on: measured in half a second, once in a process.

    Where it cannot be measured (a file under 32 MB), the rate stays.
    """
    rate = direct_read_rate(file)
    return replace(machine, rates=replace(machine.rates, disk=rate)) if rate else machine
