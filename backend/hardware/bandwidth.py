"""How many bytes a second the processor reads from main memory: what limits the speed of a model that runs on it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from backend.hardware.measured import Figure, measured

__all__ = ["memory_bandwidth", "memory_figure"]

#: read in each pass: more than the caches of a workstation hold
_BYTES = 384 << 20
_PASSES = 8
_lock = threading.Lock()


def memory_bandwidth(threads: int, size: int = _BYTES, *, again: bool = False) -> float:
    """Bytes a second that some threads read together, the best of eight passes; 0.3 s here.

    Then remembered (`measured.py`) until it is wanted `again`.

    NumPy looks for the largest byte, and lets the other threads run meanwhile: 28 to 32 GB/s where our kernels read 29
    to 33 (and of 32-bit numbers it reads 28 to 30); up to 48 while nobody else uses the memory of this machine.
    """
    threads = max(threads, 1)
    with _lock:
        found = None if again else memory_figure(threads)
        return found.value if found is not None else measured.put(_name(threads), _measure(threads, size))


def memory_figure(threads: int) -> Figure | None:
    """What is known without measuring."""
    return measured.get(_name(threads))


def _name(threads: int) -> str:
    return f"memory/{max(threads, 1)}"


def _measure(threads: int, size: int) -> float:
    pieces = [np.ones(size // threads, np.uint8) for _ in range(threads)]
    total = sum(piece.nbytes for piece in pieces)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            began = time.perf_counter()
            list(pool.map(np.max, pieces))
            best = min(best, time.perf_counter() - began)
    return total / max(best, 1e-9)
