"""A report of the machine with the speeds of its memory and of the disks that models lie on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from backend.api.schemas import DiskReport, HardwareReport
from backend.hardware.bandwidth import memory_bandwidth, memory_figure
from backend.hardware.disk_rate import direct_read_rate, disk_figure
from backend.hardware.measured import measured
from backend.hardware.probe import cpu_report, disk_report

__all__ = ["keep_speeds", "with_speeds"]


def keep_speeds(path: Path) -> None:
    """From now on what this process measures is kept in a file, and what others measured holds for it."""
    cpu = cpu_report()
    measured.keep_in(path, f"{cpu.name}, {cpu.cores} cores")


def with_speeds(
    report: HardwareReport, models: Iterable[Path], *, measure: bool = True, again: bool = False
) -> HardwareReport:
    """The same report, filled in; a second and a half where nothing was known.

    Args:
        report: of the machine; its own disk comes first among the disks.
        models: files or folders; of each disk the largest file is read.
        measure: what is not known. Off: a model runs, beside which nothing can be measured.
        again: measure what is known, too.
    """
    threads = report.cpu.cores
    if measure:
        memory_bandwidth(threads, again=again)
    if (known := memory_figure(threads)) is not None:
        report.memory.rate, report.memory.measured = known.value, known.at
    largest = _largest(models)
    own = _device(Path(report.disk.path))
    report.disks = []
    for device in dict.fromkeys([own, *largest]):
        file = largest.get(device)
        if file is not None and measure:
            direct_read_rate(file, again=again)
        disk = report.disk if device == own else _of(file)
        if (known := disk_figure(device)) is not None:
            disk.rate, disk.measured = known.value, known.at
        report.disks.append(disk)
    return report


def _of(file: Path | None) -> DiskReport:
    assert file is not None  # only the report's own disk may have no model
    return disk_report(file.parent)


def _largest(models: Iterable[Path]) -> dict[int, Path]:
    """The largest file on each disk."""
    found: dict[int, tuple[int, Path]] = {}
    for path in models:
        for file in path.glob("*.safetensors") if path.is_dir() else (path,):
            try:
                seen = file.stat()
            except OSError:
                continue
            if seen.st_size > found.get(seen.st_dev, (0, file))[0]:
                found[seen.st_dev] = seen.st_size, file
    return {device: file for device, (_, file) in found.items()}


def _device(path: Path) -> int:
    """Of a place that need not exist yet; -1: nothing says."""
    for place in (path, *path.parents):
        try:
            return place.stat().st_dev
        except OSError:
            continue
    return -1
