"""Main memory, with the limit that a container sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from backend.api.schemas import MemoryReport

__all__ = ["cgroup_memory", "memory_report"]


def memory_report(
    proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup"), platform: str = sys.platform
) -> MemoryReport:
    """Total and available bytes for this process; on Linux no more than its control group allows."""
    memory = psutil.virtual_memory()
    total, available = int(memory.total), int(memory.available)
    if platform.startswith("linux"):
        for limit, used in cgroup_memory(proc, cgroups):
            total = min(total, limit)
            available = min(available, max(limit - used, 0))
    return MemoryReport(total=total, available=available)


def cgroup_memory(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) of each control group of this process that has a limit; both versions of the interface.

    Used memory is without the file cache that the kernel gives back on demand.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _walk(cgroups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _walk(cgroups / "memory", path, *files)


def _walk(root: Path, path: str, limit_file: str, used_file: str, cache_key: str) -> Iterator[tuple[int, int]]:
    """From the root down to the group; a container often sees its own group as the root."""
    folder = root
    for part in ("", *(part for part in path.split("/") if part and part != "..")):
        folder = folder / part
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is not None and limit < 1 << 60:  # version 1 says 2^63 rounded to pages where there is no limit
            yield limit, max((used or 0) - _cache(folder / "memory.stat", cache_key), 0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _cache(path: Path, key: str) -> int:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = (line.split() for line in lines)
    return next((int(value[1]) for value in values if len(value) == 2 and value[0] == key and value[1].isdecimal()), 0)
