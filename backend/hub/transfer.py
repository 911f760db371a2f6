"""Fetches one file: goes on where it broke off, checks what arrived, leaves no half of it under the real name."""

from __future__ import annotations

import errno
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.api.errors import DamagedDownloadError, DiskFullError, NetworkError, NutshellError, StorageError
from backend.hub.body import Body
from backend.hub.hf_cache import Place, link, locked, put_in_place
from backend.hub.partial import Partial
from backend.hub.remote import RemoteFile, refused, unreachable

if TYPE_CHECKING:
    import httpx2

__all__ = ["Pace", "StoppedError", "Transfer"]

#: attempts in a row that bring no byte before it is given up
_ATTEMPTS = 6
#: longest wait that a busy hub may ask for
_MAX_WAIT_S = 120.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class StoppedError(Exception):
    """The person stopped it; what has arrived is kept."""


class _BusyError(Exception):
    """The hub asks to come back later: `wait` seconds, or 0 where it does not say."""

    def __init__(self, status: int, retry_after: str | None) -> None:
        super().__init__(status)
        self.status = status
        self.wait = float(retry_after) if retry_after is not None and retry_after.strip().isdecimal() else 0.0


class Pace:
    """Holds all transfers together to so many bytes a second; 0 is no limit. Thread-safe."""

    def __init__(self, limit: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._free = time.monotonic()  # when the line is free again

    def set(self, limit: float) -> None:
        """A new limit, from now on."""
        with self._lock:
            self._limit, self._free = limit, time.monotonic()

    def take(self, count: int, stop: threading.Event) -> None:
        """Waits until `count` bytes may be read, or `stop` is set."""
        with self._lock:
            if self._limit <= 0:
                return
            now = time.monotonic()
            self._free = max(self._free, now - 0.25) + count / self._limit
            wait = self._free - now
        if wait > 0:
            stop.wait(wait)


@dataclass
class Transfer:
    """One file on its way.

    Args:
        client: makes the requests; its timeouts say when a line is dead.
        url, headers: of the file.
        repository: its name, for sentences.
        moved: is told of bytes that arrive, and of bytes that turn out to be worth nothing (negative).
    """

    client: httpx2.Client
    url: str
    headers: dict[str, str]
    repository: str
    file: RemoteFile
    place: Place
    stop: threading.Event
    moved: Callable[[int], None]
    pace: Pace

    def run(self) -> None:
        """Brings the file into place; nothing where it is there already.

        Raises:
            StoppedError. ConflictError: another program fetches it. DamagedDownloadError: what arrives has the wrong
            length or checksum, twice. DiskFullError, StorageError. NetworkError and its kin: the hub.
        """
        if self.place.done:
            return
        try:
            self.place.blob.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.place):
                if self.place.blob.exists():
                    link(self.place)
                    return
                self._fetch_checked()
                put_in_place(self.place)
        except OSError as error:
            raise _disk(error) from error

    def _fetch_checked(self) -> None:
        with Partial(self.place.partial, self.file, self._go_on) as partial:
            for _ in range(2):
                self._fetch(partial)
                if partial.complete():
                    return
                self.moved(-partial.forget())
        self.place.partial.unlink(missing_ok=True)
        raise DamagedDownloadError(
            f"{self.file.path} arrived damaged, twice.",
            why="Its checksum is not the one that the hub announced.",
            remedy="Something between the hub and this machine changes files: try another connection.",
        )

    def _fetch(self, partial: Partial) -> None:
        import httpx2

        failures = 0
        while partial.size < self.file.bytes:
            self._go_on()
            before, wait = partial.size, 0.0
            problem: NutshellError = unreachable("The connection breaks off.", "the answer was too short", kept=True)
            try:
                self._one_request(partial)
            except _BusyError as busy:
                wait, problem = busy.wait, refused(self.repository, busy.status)
            except httpx2.TimeoutException as error:
                problem = unreachable("Nothing arrives any more.", error, kept=True)
            except httpx2.HTTPError as error:
                problem = unreachable("The connection breaks off.", error, kept=True)
            if partial.size >= self.file.bytes:
                return
            failures = 1 if partial.size > before else failures + 1
            if failures >= _ATTEMPTS:
                raise problem
            # 0.25, 0.5, 1, 2, 4 s, or what the hub asks for
            if self.stop.wait(min(wait or 0.125 * 2**failures, _MAX_WAIT_S)):
                raise StoppedError

    def _one_request(self, partial: Partial) -> None:
        """Reads on until the answer ends."""
        start = partial.size
        headers = {**self.headers, "Range": f"bytes={start}-"} if start else self.headers
        with self.client.stream("GET", self.url, headers=headers) as response:
            status = response.status_code
            if status in _AGAIN:
                raise _BusyError(status, response.headers.get("Retry-After"))
            if status == 416 or (status == 200 and start):  # no ranges here: from the beginning
                self.moved(-partial.forget())
                if status == 416:
                    return
            elif status not in (200, 206):
                raise refused(self.repository, status)
            self._check_length(response, partial.size)
            body = Body(response)
            while count := body.read_into(partial.room()):
                if partial.size + count > self.file.bytes:
                    raise self._wrong_length()
                partial.arrived(count)
                self.moved(count)
                self.pace.take(count, self.stop)
                self._go_on()

    def _check_length(self, response: httpx2.Response, start: int) -> None:
        """What is announced must be this file from `start` on."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code == 206:
            if found is None or int(found[1]) != start or found[3] not in ("*", str(self.file.bytes)):
                raise self._wrong_length()
        else:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) != self.file.bytes:
                raise self._wrong_length()

    def _wrong_length(self) -> NetworkError:
        return DamagedDownloadError(
            f"{self.file.path} is not the file that the hub announced.",
            why=f"It should have {self.file.bytes:,} bytes, and another length arrives.",
            remedy="Try again later; if it stays so, tell the owners of the repository.",
        )

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise StoppedError


def _disk(error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return DiskFullError(
            "The disk is full.",
            why="The model does not fit beside what is on it.",
            remedy="Free some space, then go on: what has arrived is kept.",
            details=str(error),
        )
    return StorageError(
        "The file cannot be written.",
        why=f"The system says: {error.strerror}.",
        remedy="Check the folder of the models, then go on.",
        details=str(error),
    )
