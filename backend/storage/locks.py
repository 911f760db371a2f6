"""File locks that the operating system drops when their process dies, however it dies.

Two uses: a gate that lets one process at a time open, check and migrate the database, and one lock file per open store
that tells others that its owner lives. Written here because the `filelock` package falls back to files whose mere
existence is the lock where the system offers none (after a kill they would look alive for ever), and costs 50 ms to
import, which is most of the time a store takes to open.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

__all__ = ["FileLock"]

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # OSError when another handle has it

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError when another handle has it


class FileLock:
    """An exclusive lock on a file that is created for it. Closing the file, or dying, gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock now or say no. Raises OSError when the file cannot be created."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def acquire(self, timeout: float) -> bool:
        """Take the lock, waiting up to `timeout` seconds; False when that was not enough.

        It asks every 20 ms: neither system has a lock call with a time limit. The holder needs some milliseconds.
        """
        deadline = time.monotonic() + timeout
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back, and remove the file if asked (only where nobody else can be waiting for it)."""
        if self._descriptor is None:
            return
        if remove and sys.platform != "win32":
            self.path.unlink(missing_ok=True)  # while it is held, so that nobody takes a file that then vanishes
        os.close(self._descriptor)
        self._descriptor = None
        if remove and sys.platform == "win32":
            try:
                self.path.unlink(missing_ok=True)
            except OSError:  # another process looks at it at this moment; it will remove it
                return
