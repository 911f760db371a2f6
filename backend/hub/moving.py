"""Moves models from one folder to another, so that at any moment, also of a power cut, each is whole somewhere.

One thing (a repository of the cache, a build, a record) after the other. On the same disk it is renamed, which is
done or not done. On another disk it is copied to `.nutshell-moving/NAME.part` of the new folder, which no program looks
into; what a killed copy left is compared and gone on with. Each file is then read back from the disk and its SHA-256
compared with that of the original; only then the copy gets its name, and only then the original is removed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from backend.api.errors import ConflictError, DiskFullError, StorageError
from backend.hub.transfer import StoppedError

__all__ = ["STAGING", "Far", "Item", "Outcome", "move", "size_of"]

STAGING = ".nutshell-moving"
_PIECE = 4 << 20
#: bytes that stay free on the new disk
_RESERVE = 512 << 20
_WINDOW_S = 8.0


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to move: a file or a folder, and where it goes. `root` is the new folder that holds the staging."""

    source: Path
    target: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Far:
    """How far a move is: bytes, of which each counts twice where it is copied and then read back; seconds left, 0 where
    that is not known; bytes a second.
    """

    done: int
    total: int
    rate: float = 0.0
    seconds_left: float = 0.0


@dataclass
class Outcome:
    """What a move did. `left`: names that stayed where they are, with one sentence each."""

    moved: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


class _Meter:
    def __init__(self, total: int, told: Callable[[Far], None]) -> None:
        self._total, self._told, self._done = total, told, 0
        self._points: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def went(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._points[-1][0] < 0.1:
            return
        self._points.append((now, self._done))
        while self._points[0][0] < now - _WINDOW_S and len(self._points) > 2:
            self._points.pop(0)
        then, before = self._points[0]
        rate = (self._done - before) / max(now - then, 1e-6)
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        self._told(Far(min(self._done, self._total), self._total, rate, left))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links count nothing."""
    if path.is_symlink():
        return 0
    if path.is_dir():
        return sum(size_of(one) for one in path.iterdir())
    return path.stat().st_size


def move(
    items: list[Item], told: Callable[[Far], None] = lambda _: None, stop: threading.Event | None = None
) -> Outcome:
    """Moves all of them; the same call goes on after anything.

    Raises:
        StoppedError: `stop` was set; what was copied is kept for the next time.
        DiskFullError: before anything is copied, too. StorageError: a disk that fails, or gives back what was not
        written.
    """
    stop = stop or threading.Event()
    for item in items:
        item.root.mkdir(parents=True, exist_ok=True)
    far = [item for item in items if not _same_disk(item) or item.target.exists()]
    copied = sum(size_of(item.source) for item in far)
    _check_room(far, copied)
    meter, outcome = _Meter(2 * copied, told), Outcome()
    told(Far(0, 2 * copied))
    for item in items:
        _go_on(stop)
        try:
            if not _renamed(item):
                _carry(item, meter, stop)
            outcome.moved += 1
        except ConflictError as error:
            outcome.left.append((item.source.name, error.what))
        except OSError as error:
            raise _failed(item, error) from error
    for root in {item.root for item in items}:
        with contextlib.suppress(OSError):
            if not any(_files(root / STAGING)):
                shutil.rmtree(root / STAGING)
    told(Far(2 * copied, 2 * copied))
    return outcome


def _same_disk(item: Item) -> bool:
    with contextlib.suppress(OSError):
        return item.source.lstat().st_dev == item.root.stat().st_dev
    return False


def _renamed(item: Item) -> bool:
    """Whether it could simply be renamed. Never over something that is there."""
    if item.target.exists() or not _same_disk(item):
        return False
    item.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename(item.source, item.target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOTSUP):  # one disk to look at, two to the system
            return False
        raise
    return True


def _rename(source: Path, target: Path) -> None:
    source.rename(target)


def _carry(item: Item, meter: _Meter, stop: threading.Event) -> None:
    part = item.root / STAGING / item.target.relative_to(item.root)
    staged = part.with_name(part.name + ".part")  # a build in the staging is nobody's model
    for source in _files(item.source):
        copy = staged / source.relative_to(item.source)
        there = item.target / source.relative_to(item.source)
        if there.is_file() and not source.is_symlink() and not copy.exists():
            copy = there  # an earlier move brought it, or another program has it there: it must be the same
        if source.is_symlink():
            _copy_link(source, copy)
        elif copy is there:
            if not _is_reference(source):
                _compare(source, there, meter, stop)
        else:
            _copy(source, copy, meter, stop)
    _put(staged, item.target)
    _sync_folder(item.target.parent)
    _remove(item.source)


def _is_reference(path: Path) -> bool:
    """refs/main of a repository: the commit of a branch. What is at the new place is as good."""
    return path.parent.name == "refs"


def _files(path: Path) -> Iterator[Path]:
    """All files and links, those with bytes before the links to them."""
    if path.is_symlink() or not path.is_dir():
        if path.is_symlink() or path.exists():
            yield path
        return
    below = sorted(path.iterdir(), key=lambda one: (one.name != "blobs", one.name))
    for one in below:
        yield from _files(one)


def _copy_link(source: Path, copy: Path) -> None:
    if copy.is_symlink() or copy.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.symlink_to(source.readlink())


def _copy(source: Path, copy: Path, meter: _Meter, stop: threading.Event) -> None:
    """Goes on with what is there of the copy, then reads all of it back."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    with source.open("rb", buffering=0) as reading, os.fdopen(os.open(copy, flags, 0o644), "r+b", buffering=0) as out:
        same = True  # so far, with what an earlier try left
        while piece := _read(reading):
            _go_on(stop)
            digest.update(piece)
            if same:
                at = out.tell()
                same = _read(out, len(piece)) == piece
                if not same:
                    out.seek(at)
                    out.truncate()
            if not same:
                _write(out, piece)
            meter.went(len(piece))
        out.truncate()
        os.fsync(out.fileno())
    shutil.copystat(source, copy)
    if _digest(copy, meter, stop) != digest.digest():
        copy.unlink()
        raise StorageError(
            f"{source.name} arrived damaged on the new disk.",
            why="What was read back is not what was written.",
            remedy="The original is untouched. Check the disk, then try again.",
        )


def _compare(source: Path, there: Path, meter: _Meter, stop: threading.Event) -> None:
    if source.stat().st_size != there.stat().st_size or _digest(source, meter, stop) != _digest(there, meter, stop):
        raise ConflictError(f"There is another {source.name} in the new folder already.")


def _digest(path: Path, meter: _Meter, stop: threading.Event) -> bytes:
    """SHA-256 of what is on the disk."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else the memory answers, not the disk
        while piece := _read(file):
            _go_on(stop)
            digest.update(piece)
            meter.went(len(piece))
    return digest.digest()


def _read(file: BinaryIO, count: int = _PIECE) -> bytes:
    """So many bytes, or what is left."""
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _write(file: BinaryIO, piece: bytes) -> None:
    left = memoryview(piece)
    while left:  # a disk that is nearly full takes a part
        left = left[file.write(left) :]


def _put(staged: Path, target: Path) -> None:
    """The checked copy gets its name; where a part of it is there already, the rest joins it."""
    if not staged.exists() and not staged.is_symlink():
        return  # all of it was there
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        staged.rename(target)
        return
    for one in _files(staged):
        there = target / one.relative_to(staged)
        there.parent.mkdir(parents=True, exist_ok=True)
        if there.exists() or there.is_symlink():
            one.unlink()
        else:
            one.rename(there)
    _remove(staged)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError:
            pass  # some network disks cannot
        finally:
            os.close(handle)


def _go_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise StoppedError


def _check_room(far: list[Item], needed: int) -> None:
    if not far:
        return
    root = far[0].root
    staged = size_of(root / STAGING) if (root / STAGING).is_dir() else 0
    free = shutil.disk_usage(root).free
    if free < needed - staged + _RESERVE:
        raise DiskFullError(
            "The new disk has no room for the models.",
            why=f"They take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free there.",
            remedy="Delete models that you do not need, or choose a larger disk.",
        )


def _failed(item: Item, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return DiskFullError(
            "The new disk is full.",
            why=f"{item.source.name} does not fit on it.",
            remedy="Free some space there, then go on: what was copied is kept.",
            details=str(error),
        )
    return StorageError(
        f"{item.source.name} could not be moved.",
        why=f"The system says: {error.strerror}.",
        remedy="Nothing is lost. Close programs that use it and look after both disks, then go on.",
        details=str(error),
    )
