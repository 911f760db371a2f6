"""One installer at a time for a cache folder, held by the operating system and so never left behind by a crash."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

_ASK_EVERY_S = 0.3


class InstallerLock:
    """An exclusive lock on a file. The programs that a set-up starts inherit it on POSIX (`fileno`).

    An installer that is killed may leave a package download or a compiler running. Because that child holds the lock
    too, the next installer waits for it and then finds its result, instead of writing into the same folders.

    Attributes:
        waiting: called again and again while another holds the lock.
    """

    def __init__(self, path: Path, waiting: Callable[[], None]) -> None:
        self._path = path
        self._waiting = waiting
        self._file: IO[bytes] | None = None

    def __enter__(self) -> InstallerLock:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        # asked again, and not one blocking call, so that the person sees time pass: a file lock has no event
        pause = threading.Event()
        while not self._take():
            self._waiting()
            pause.wait(_ASK_EVERY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()  # closing unlocks, unless a child still holds the same open file
            self._file = None

    @property
    def fileno(self) -> int:
        """The descriptor to hand to children."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        return self._file.fileno()

    def _take(self) -> bool:
        descriptor = self.fileno
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
