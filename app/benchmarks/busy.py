"""A foreign process that wants a whole core."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

__all__ = ["busy_core"]


@contextmanager
def busy_core() -> Iterator[bool]:
    """Keeps one core busy; gives whether it could be pinned to one (macOS has no such call)."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
    pinned = False
    try:
        with suppress(AttributeError, psutil.Error, OSError):
            foreign = psutil.Process(process.pid)
            foreign.cpu_affinity(foreign.cpu_affinity()[:1])
            pinned = True
        yield pinned
    finally:
        process.kill()
        process.wait()
