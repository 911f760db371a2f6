"""The engine process's own words: a log file that stays small, and its last lines in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

__all__ = ["EngineLog"]

_MOST_BYTES = 1_000_000  # two files of this size are weeks of normal use, and attach to a mail


class EngineLog:
    """Appends lines to `path` (kept with one predecessor, `<name>.1`), and remembers the last ones.

    A folder that cannot be written is no reason to stop: the lines are then in memory only. Thread-safe.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lines: deque[str] = deque(maxlen=200)
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._size = 0
        self._broken = path is None

    def write(self, line: bytes) -> None:
        """Adds one line as the engine wrote it."""
        with self._lock:
            self._lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
            self._append(line)

    def note(self, text: str) -> None:
        """Adds a line of ours, with the time."""
        self.write(f"[supervisor {time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n".encode())

    def tail(self, count: int = 20) -> str:
        """The last `count` lines."""
        with self._lock:
            return "\n".join(list(self._lines)[-count:])

    def close(self) -> None:
        """Closes the file; a later line opens it again."""
        with self._lock:
            self._close()

    def _append(self, line: bytes) -> None:
        if self._broken or self.path is None:
            return
        try:
            if self._file is None or self._size > _MOST_BYTES:
                self._open(self.path)
            assert self._file is not None
            self._file.write(line)
            self._file.flush()
            self._size += len(line)
        except OSError:  # read-only folder, full disk
            self._broken = True
            self._close()

    def _open(self, path: Path) -> None:
        self._close()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            with contextlib.suppress(OSError):  # Windows: another window still writes to it
                path.replace(path.with_name(path.name + ".1"))
        self._file = path.open("ab")
        self._size = self._file.tell()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
