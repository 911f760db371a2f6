"""Main memory, with the limit that a container sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from backend.api.schemas import MemoryReport

__all__ = ["cgroup_memory", "held_bytes", "memory_report"]


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


def held_bytes(process: psutil.Process, model: Path) -> int:
    """Bytes that a process holds: its share of all pages (PSS), and all pages of the model that it maps.

    Where another program maps the same file, each has half of its pages in its PSS: a 0.5B model of 707 MB was measured
    with 461 while it was being compressed beside. Without that program the pages are all its own. Where the system
    knows no shares, resident pages (RSS) are counted.

    Raises:
        psutil.Error: the process is gone, or belongs to somebody else.
    """
    info = process.memory_full_info()
    if not hasattr(info, "pss"):
        return int(info.rss)
    mapped = str(model.resolve())
    others = sum(one.rss - one.pss for one in process.memory_maps(grouped=True) if one.path == mapped)
    return int(info.pss) + others


def cgroup_memory(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """(limit, used) of each control group of this process that has a limit; both versions of the interface.

    Used memory is without the pages of files, which the kernel gives back on demand: those of a mapped model too,
    though they are in use. With only the inactive ones left out, a model that fitted was let go in a group of its size.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _walk(cgroups, path, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            yield from _walk(cgroups / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def _walk(root: Path, path: str, limit_file: str, used_file: str, prefix: str) -> Iterator[tuple[int, int]]:
    """From the root down to the group; a container often sees its own group as the root."""
    folder = root
    for part in ("", *(part for part in path.split("/") if part and part != "..")):
        folder = folder / part
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is not None and limit < 1 << 60:  # version 1 says 2^63 rounded to pages where there is no limit
            yield limit, max((used or 0) - _files(folder / "memory.stat", prefix), 0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _files(path: Path, prefix: str) -> int:
    """Bytes of pages of files that are not locked, of a group and (`prefix`) those below it."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = dict(line.split() for line in lines if len(line.split()) == 2)
    found = (values.get(f"{prefix}{kind}_file", "") for kind in ("inactive", "active"))
    return sum(int(value) for value in found if value.isdecimal())
