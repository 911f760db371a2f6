"""A file that is still arriving: its bytes on the disk, and their checksum so far.

Writing and hashing a gigabyte takes as long as receiving it from a fast line. Both leave the interpreter's lock, so two
threads do them while the next bytes are received, and a third brings what was written to the disk for good, so that
little is left for the end. On two busy cores a gigabyte took 1.6 s so and 2.8 s with one thread for all of it. What
arrives goes round in a few pieces of memory, which stay in the processor's cache.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from backend.hub.remote import RemoteFile

__all__ = ["Partial"]

_PIECE = 1 << 20
#: Bytes that are handed on together, and how many such lots there are; all of them wait for the disk at most, which is
#: what a process that is killed has received in vain. With lots of 1 MB a gigabyte took longer on a busy machine.
_LOT, _LOTS = 1 << 18, 16
#: Bytes after which the disk is asked to keep what it has: 64 MB took 1.2 s of a core for a gigabyte, 256 MB 1.0, not
#: asking before the end 0.7.
_SYNC_EVERY = 256 << 20


class Partial:
    """What has arrived of one file; opened, it can be written on.

    Args:
        path: where the bytes are. file: what they are to become.
        go_on: called for each MiB that is read again; raises to stop.
    """

    def __init__(self, path: Path, file: RemoteFile, go_on: Callable[[], None]) -> None:
        self._wanted = file
        self._path = path
        self._go_on = go_on
        self.size = 0
        # what is in them is filled up to the end that is given; empty: the last
        self._to_write: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._to_hash: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._lots = 0
        self._lot: bytearray | None = None
        self._gathered = 0
        self._threads: list[threading.Thread] = []
        self._sync, self._written = threading.Event(), threading.Event()
        self._failure: OSError | None = None

    def __enter__(self) -> Partial:
        # unbuffered: what a process has read before it is killed is in the file
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(self._path, flags, 0o644), "r+b", buffering=0)
        try:
            if os.fstat(self._file.fileno()).st_size > self._wanted.bytes:
                self._file.truncate(0)
            self._begin()
            while piece := self._file.read(_PIECE):
                self._digest.update(piece)
                self.size += len(piece)
                self._go_on()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        self._file.close()

    def room(self) -> memoryview:
        """Where the next bytes are to be put; `arrived` says how many came. Waits for a disk that is slower.

        Raises:
            OSError: those before could not be written, for example on a full disk.
        """
        if self._failure is not None:
            raise self._failure
        if not self._threads:
            self._written.clear()
            self._threads = [
                threading.Thread(target=work, name=f"download-{work.__name__.strip('_')}", daemon=True)
                for work in (self._write_all, self._hash_all, self._sync_all)
            ]
            for thread in self._threads:
                thread.start()
        if self._lot is None:
            self._lot, self._gathered = self._empty(), 0
        return memoryview(self._lot)[self._gathered :]

    def arrived(self, count: int) -> None:
        """So many bytes are in `room` now."""
        self.size += count
        self._gathered += count
        if self._lot is not None and self._gathered == len(self._lot):
            self._hand_on()

    def _empty(self) -> bytearray:
        if self._lots < _LOTS and self._free.empty():
            self._lots += 1
            return bytearray(_LOT)
        return self._free.get()

    def _hand_on(self) -> None:
        if self._lot is not None and self._gathered:
            self._to_write.put(memoryview(self._lot)[: self._gathered])
            self._lot = None

    def _write_all(self) -> None:
        fresh = 0
        while lot := self._to_write.get():
            self._write(lot)
            self._to_hash.put(lot)
            fresh += len(lot)
            if fresh >= _SYNC_EVERY:
                fresh = 0
                self._sync.set()
        self._to_hash.put(lot)
        self._written.set()
        self._sync.set()

    def _write(self, lot: memoryview) -> None:
        if self._failure is not None:
            return  # taken, so that whoever brings more is not held up
        try:
            while lot:  # a disk that is nearly full takes a part
                lot = lot[self._file.write(lot) :]
        except OSError as error:
            self._failure = error

    def _hash_all(self) -> None:
        while lot := self._to_hash.get():
            self._digest.update(lot)
            self._free.put(lot.obj)  # type: ignore[arg-type]  # the bytearray that it is a view of

    def _sync_all(self) -> None:
        keep = getattr(os, "fdatasync", os.fsync)
        while True:
            self._sync.wait()
            self._sync.clear()
            if self._written.is_set():
                return
            try:
                keep(self._file.fileno())
            except OSError as error:  # the system tells of a lost write once
                self._failure = error

    def _settle(self) -> None:
        """Waits until what was given is on the disk, or failed."""
        if self._threads:
            self._hand_on()
            self._to_write.put(memoryview(b""))
            for thread in self._threads:
                thread.join()
            self._threads = []

    def forget(self) -> int:
        """Back to nothing; returns the bytes that were there."""
        self._settle()
        self._file.seek(0)
        self._file.truncate(0)
        lost, self.size = self.size, 0
        self._begin()
        return lost

    def complete(self) -> bool:
        """Whether all of it is here and right; then it is on the disk for good. Raises OSError as `write` does."""
        self._settle()
        if self._failure is not None:
            raise self._failure
        if self.size != self._wanted.bytes or self._digest.hexdigest() != self._wanted.etag:
            return False
        os.fsync(self._file.fileno())
        return True

    def _begin(self) -> None:
        self.size = 0
        # git's own checksum of a small file has the length in front
        self._digest = (
            hashlib.sha256()
            if self._wanted.sha256
            else hashlib.sha1(b"blob %d\0" % self._wanted.bytes, usedforsecurity=False)
        )
