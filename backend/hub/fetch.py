"""Downloads one model: its files side by side, into the Hugging Face cache, so that other programs have it too."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from backend.api.errors import DiskFullError
from backend.hub.hf_cache import Place, cache_folder, file_place, set_branch
from backend.hub.network import NETWORK, Network
from backend.hub.remote import RemoteFile, file_url, request_headers, session
from backend.hub.transfer import Pace, StoppedError, Transfer

__all__ = ["Moved", "Wanted", "discard", "download", "here", "model_path"]

#: files at a time; more gain nothing where one line is the limit
_SIDE_BY_SIDE = 3
#: bytes that stay free on the disk: a full one breaks other programs
_RESERVE = 512 << 20
#: seconds over which the rate is taken
_WINDOW_S = 8.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files of one commit."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    branch: str = "main"


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a download is: bytes, bytes a second (0: not known yet) and seconds left (0: not known)."""

    done: int
    total: int
    rate: float = 0.0
    seconds_left: float = 0.0


@dataclass
class _Meter:
    """Adds up what all files bring. Thread-safe."""

    total: int
    done: int
    told: Callable[[Moved], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _points: deque[tuple[float, int]] = field(default_factory=deque)

    def move(self, count: int) -> None:
        with self._lock:
            self.done += count
            now = time.monotonic()
            points = self._points
            if not points or now - points[-1][0] > 0.1 or count < 0:
                if count < 0:
                    points.clear()
                points.append((now, self.done))
                while points[0][0] < now - _WINDOW_S and len(points) > 2:
                    points.popleft()
                self.told(self._moved(now))

    def _moved(self, now: float) -> Moved:
        then, done = self._points[0]
        rate = (self.done - done) / (now - then) if now - then > 0.5 else 0.0
        left = (self.total - self.done) / rate if rate > 0 else 0.0
        return Moved(self.done, self.total, rate, left)


def model_path(wanted: Wanted, root: Path | None = None) -> Path:
    """Where the model is once it is there: its only (or first) file, or the folder of its safetensors."""
    first = wanted.files[0]
    place = file_place(root or cache_folder(), wanted.repository, wanted.commit, first.path, first.etag)
    whole = any(file.path.endswith(".safetensors") for file in wanted.files)
    return place.pointer.parent if whole else place.pointer


def here(wanted: Wanted, root: Path | None = None) -> int:
    """Bytes of it that are on this machine already."""
    return sum(min(place.arrived, file.bytes) for place, file in _places(wanted, root or cache_folder()))


def discard(wanted: Wanted, root: Path | None = None) -> None:
    """Deletes what has arrived of files that are not complete."""
    for place, _ in _places(wanted, root or cache_folder()):
        place.partial.unlink(missing_ok=True)


def _places(wanted: Wanted, root: Path) -> list[tuple[Place, RemoteFile]]:
    return [(file_place(root, wanted.repository, wanted.commit, one.path, one.etag), one) for one in wanted.files]


def download(
    wanted: Wanted,
    told: Callable[[Moved], None] = lambda _: None,
    stop: threading.Event | None = None,
    *,
    pace: Pace | None = None,
    root: Path | None = None,
    network: Network = NETWORK,
) -> Path:
    """Brings all files here, and says where the model is. The same call goes on after anything.

    Args:
        wanted: what.
        told: hears how far it is: from any thread, at most ten times a second.
        stop: set it to end with StoppedError; what has arrived is kept.
        pace: a limit that several downloads share.
        root: the cache, if it is not the usual one.
        network: whose switches hold.

    Raises:
        StoppedError. OfflineError. DiskFullError: before anything is fetched, too. What Transfer.run raises.
    """
    network.check("models")
    root = root or cache_folder()
    stop = stop or threading.Event()
    total, there = sum(file.bytes for file in wanted.files), here(wanted, root)
    _check_disk(root, total - there)
    meter = _Meter(total, there, told)
    told(Moved(there, total))
    client, headers = session(network), request_headers()
    ended = threading.Event()  # of this download: a failure of one file stops the others
    transfers = [
        Transfer(
            client, file_url(wanted.repository, wanted.commit, file.path), headers, wanted.repository, file, place,
            ended, meter.move, pace or Pace(),
        )
        for place, file in _places(wanted, root)
    ]  # fmt: skip
    _run(transfers, stop, ended)
    with contextlib.suppress(OSError):
        set_branch(root, wanted.repository, wanted.branch, wanted.commit)
    told(Moved(total, total))
    return model_path(wanted, root)


def _run(transfers: Sequence[Transfer], stop: threading.Event, ended: threading.Event) -> None:
    with ThreadPoolExecutor(_SIDE_BY_SIDE, thread_name_prefix="download") as pool:
        running = {pool.submit(one.run) for one in transfers}
        while running:
            done, running = wait(running, timeout=0.1, return_when=FIRST_EXCEPTION)
            failed = [error for one in done if (error := one.exception()) is not None]
            if failed or (stop.is_set() and running):
                ended.set()
                for one in running:
                    one.cancel()
                wait(running)
                raise next((error for error in failed if not isinstance(error, StoppedError)), StoppedError())


def _check_disk(root: Path, needed: int) -> None:
    folder = root
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > 0 and free < needed + _RESERVE:
        raise DiskFullError(
            "The disk has no room for this model.",
            why=f"{needed / 1e9:.1f} GB are still to come, and {free / 1e9:.1f} GB are free where models are kept.",
            remedy="Free some space, or move the models to another disk, under Get a model.",
        )
