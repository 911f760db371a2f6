"""What was measured of this machine, kept for a day: speeds of memory and disks.

A figure holds for the machine that it was taken on, and until somebody wants a new one. It is taken again after a day,
because one that was taken while other programs were busy would otherwise make every plan wrong for ever.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

__all__ = ["Figure", "Measured", "measured"]

_DAY = 86_400.0
#: a file that somebody else filled
_MOST = 1 << 20


class Figure(msgspec.Struct, frozen=True):
    """A speed in bytes a second, and when it was measured, in seconds since 1970."""

    value: float
    at: float


class _File(msgspec.Struct):
    machine: str
    figures: dict[str, Figure]


class Measured:
    """Figures by name; safe to use from several threads. Without `keep_in` they are forgotten with the process.

    Args:
        now: the clock, seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._machine = ""
        self._figures: dict[str, Figure] = {}

    def keep_in(self, path: Path, machine: str) -> None:
        """Reads a file, and writes there what is measured from now on.

        Args:
            path: one that is missing, damaged or of another machine is an empty one.
            machine: says which one this is.
        """
        with self._lock:
            self._path, self._machine, self._figures = path, machine, {}
            self._figures = self._read()

    def get(self, name: str) -> Figure | None:
        """None: not measured, or longer ago than a day."""
        with self._lock:
            found = self._figures.get(name)
        return found if found is not None and 0 <= self._now() - found.at < _DAY else None

    def put(self, name: str, value: float) -> float:
        """Keeps a new figure, and returns it. Where the file cannot be written, the process remembers."""
        with self._lock:
            # other processes may have measured something else meanwhile
            self._figures = self._read() | self._figures | {name: Figure(value, self._now())}
            if self._path is not None:
                fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
                with contextlib.suppress(OSError):
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    fresh.write_bytes(msgspec.json.encode(_File(self._machine, self._figures)))
                    fresh.replace(self._path)
        return value

    def _read(self) -> dict[str, Figure]:
        try:
            if self._path is None or self._path.stat().st_size > _MOST:
                return {}
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except (OSError, msgspec.DecodeError):
            return {}
        good = {name: one for name, one in file.figures.items() if 0 < one.value < float("inf")}
        return good if file.machine == self._machine else {}


#: of this machine; the engine and the terminal's commands keep them in a file
measured = Measured()
