"""What this machine has: processor, memory, accelerators, disk. No process is started and nothing is loaded."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from backend.api.schemas import CpuReport, DiskReport, HardwareReport
from backend.hardware import cpu_linux, cpu_macos, cpu_windows
from backend.hardware.features import Cpu
from backend.hardware.gpus import gpu_reports
from backend.hardware.memory import memory_report

__all__ = ["cpu_report", "disk_report", "os_name", "probe"]


def probe(disk_path: Path) -> HardwareReport:
    """The report of this moment; a few milliseconds (with NVIDIA's driver some tens).

    Args:
        disk_path: a place on the disk of interest; it need not exist yet.

    `engine_rss` is that of the calling process. `engine_build` is "" and `model` None: the server fills them in.
    """
    return HardwareReport(
        os=os_name(),
        cpu=cpu_report(),
        memory=memory_report(),
        gpus=gpu_reports(),
        disk=disk_report(disk_path),
        engine_rss=int(psutil.Process().memory_info().rss),
        engine_build="",
    )


def cpu_report() -> CpuReport:
    """The processor; `threads` are those that this process may use."""
    cpu = _CPUS.get(sys.platform, cpu_linux.read_cpu)()
    threads = _usable_threads()
    cores = cpu.cores or psutil.cpu_count(logical=False) or threads
    return CpuReport(
        name=cpu.name or platform.processor() or platform.machine(),
        cores=min(cores, threads),
        threads=threads,
        features=cpu.features,
        performance_cores=cpu.performance,
        efficiency_cores=cpu.efficiency,
    )


def disk_report(path: Path) -> DiskReport:
    """Total and free bytes of the disk that holds `path`, or would hold it; zeros where the system does not say."""
    path = path.absolute()
    for place in (path, *path.parents):
        try:
            usage = shutil.disk_usage(place)
        except OSError:
            continue
        return DiskReport(path=str(path), total=usage.total, free=usage.free)
    return DiskReport(path=str(path), total=0, free=0)


def os_name() -> str:
    """For people: "Debian GNU/Linux 12 (bookworm)", "macOS 15.1", "Windows 11"."""
    return _OS_NAMES.get(sys.platform, _linux_name)()


def _linux_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME") or "Linux"
    except OSError:
        return f"{platform.system()} {platform.release()}"


def _macos_name() -> str:
    return f"macOS {platform.mac_ver()[0]}"


def _windows_name() -> str:
    build = 0
    if sys.platform == "win32":
        build = sys.getwindowsversion().build  # platform.version() may ask WMI, which takes seconds
    return f"Windows {11 if build >= 22000 else 10}"


_OS_NAMES: Mapping[str, Callable[[], str]] = {"darwin": _macos_name, "win32": _windows_name}
_CPUS: Mapping[str, Callable[[], Cpu]] = {"darwin": cpu_macos.read_cpu, "win32": cpu_windows.read_cpu}


def _usable_threads() -> int:
    """Affinity counts: a process in a container may own fewer than the machine has."""
    threads = 0
    if sys.platform == "linux":
        threads = len(os.sched_getaffinity(0))
    return threads or psutil.cpu_count() or 1
