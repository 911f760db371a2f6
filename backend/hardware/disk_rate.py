"""How many bytes a second a disk gives to direct reads: what limits a model that does not fit into memory."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from backend.hardware.measured import Figure, measured

__all__ = ["direct_read_rate", "disk_figure"]

_BYTES = 256 << 20
_PASSES = 3
_RING = 32 << 20
_lock = threading.Lock()


def direct_read_rate(path: Path, size: int = _BYTES, *, again: bool = False) -> float:
    """Bytes a second that the disk of a file gives to reads past the system's cache, four at a time of 4 MB.

    The median of three readings of the same first bytes of the file, then remembered for that disk (`measured.py`)
    until it is wanted `again`; 0: not known, because the file is too small (under 32 MB), cannot be read, or our own
    engine is missing.
    """
    try:
        found = path.stat()
    except OSError:
        return 0.0
    size = min(size, found.st_size) // (4 << 20) * (4 << 20)
    if size < 32 << 20:
        return 0.0
    with _lock:
        known = None if again else disk_figure(found.st_dev)
        if known is not None:
            return known.value
        try:
            return measured.put(_name(found.st_dev), _measure(path, size))
        except (OSError, RuntimeError, ImportError):
            return 0.0


def disk_figure(device: int) -> Figure | None:
    """What is known of a disk (`st_dev` of its files) without measuring."""
    return measured.get(_name(device))


def _name(device: int) -> str:
    return f"disk/{device}"


def _measure(path: Path, size: int) -> float:
    from kernels.cpu.stream import PIECE, Range, Stream

    rates = []
    count = size // PIECE
    stream = Stream(str(path), {i: [Range(i * PIECE, (i + 1) * PIECE)] for i in range(count)}, _RING)
    for number in range(_PASSES + 1):
        began = time.perf_counter()
        stream.pass_through()
        if number:  # the first one finds memory that was never written to
            rates.append(size / max(time.perf_counter() - began, 1e-9))
    return sorted(rates)[_PASSES // 2]
