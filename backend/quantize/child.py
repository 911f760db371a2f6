"""The process that compresses, measures and compares: `python -m backend.quantize.child`. See `wire` for what it says.

A process of its own, because torch and a model's activations take gigabytes that a process never quite gives back, and
because what runs out of memory here must not take the chats along. It is killed with its parent: the end of stdin ends
it at once, in whatever it is doing, and that is safe, because everything that counts is on the disk before it is
reported (`store.py`).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import sys
import threading
import traceback
from typing import IO, Protocol

import msgspec
import psutil

from backend.api.compression import Answer, CompressionResult, Exported, Measured, Position
from backend.api.errors import DiskFullError, MemoryShortageError, NutshellError
from backend.api.schemas import ErrorInfo
from backend.quantize.options import Progress
from backend.quantize.wire import (
    Compare,
    Compress,
    Done,
    Export,
    Failed,
    Inspect,
    Measure,
    Moved,
    Reply,
    Request,
    Stopped,
)

__all__ = ["Teller", "Work", "main"]

logger = logging.getLogger(__name__)


class Teller(Protocol):
    """Takes progress to the engine; returns False when the work should stop (by raising InterruptedError)."""

    def __call__(self, progress: Progress, /) -> bool:
        """Whether to go on."""
        ...


class Work(Protocol):
    """What the process can do. Every method may raise a NutshellError, or InterruptedError where it was stopped."""

    def inspect(self, request: Inspect, tell: Teller, /) -> list[Position]:
        """What each level takes."""
        ...

    def compress(self, request: Compress, tell: Teller, /) -> CompressionResult:
        """Makes a build."""
        ...

    def measure(self, request: Measure, tell: Teller, /) -> Measured:
        """Measures it."""
        ...

    def compare(self, request: Compare, tell: Teller, /) -> list[Answer]:
        """Lets it answer."""
        ...

    def export(self, request: Export, tell: Teller, /) -> Exported:
        """Writes it for other programs."""
        ...


class _Line:
    """The pipe to the engine and the wish to stop, both used from several threads."""

    def __init__(self, wire: IO[bytes]) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self.stop = threading.Event()

    def say(self, reply: Reply) -> None:
        with self._lock:
            try:
                self._wire.write(msgspec.json.encode(reply) + b"\n")
            except OSError:
                os._exit(0)  # nobody listens: the engine is gone

    def tell(self, progress: Progress) -> bool:
        self.say(
            Moved(
                stage=progress.stage,
                done=_finite(progress.done),
                total=_finite(progress.total),
                layer=progress.layer,
                layers=progress.layers,
                module=progress.module,
                error=None if progress.error is None else _finite(progress.error),
                rate=_finite(progress.rate),
                seconds_left=None if progress.seconds_left is None else _finite(progress.seconds_left),
                memory=progress.memory,
                level=progress.level,
            )
        )
        return not self.stop.is_set()


def main(work: Work) -> int:
    """Serves one request from stdin; returns the process's exit code."""
    logging.basicConfig(stream=sys.stderr, level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    line = _Line(_take_stdout())
    stdin = os.fdopen(os.dup(0), "rb", buffering=0)
    first = _read_line(stdin)
    if not first:
        return 0
    threading.Thread(target=_watch, args=(stdin, line.stop), name="stdin watch", daemon=True).start()
    line.say(_answer(work, first, line))
    return 0


def _answer(work: Work, raw: bytes, line: _Line) -> Reply:
    try:
        request: Request = msgspec.json.decode(raw, type=Request)
        value: object
        match request:
            case Inspect():
                value = work.inspect(request, line.tell)
            case Compress():
                _step_back()
                value = work.compress(request, line.tell)
            case Measure():
                value = work.measure(request, line.tell)
            case Compare():
                value = work.compare(request, line.tell)
            case Export():
                value = work.export(request, line.tell)
        return Done(value=msgspec.Raw(msgspec.json.encode(value)))
    except InterruptedError:
        return Stopped()
    except NutshellError as error:
        return Failed(error=ErrorInfo.of(error))
    except Exception as error:  # noqa: BLE001 - the one place where every failure of the work becomes words
        return Failed(error=ErrorInfo.of(_words(error)))


def _words(error: Exception) -> NutshellError:
    details = "".join(traceback.format_exception(error))[-6000:]
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch says it in a RuntimeError
        return MemoryShortageError(
            "There was not enough memory to go on.",
            why="Other programs may have taken it meanwhile.",
            remedy="What is done is kept. Close other programs, or allow less memory, and go on.",
            details=details,
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DiskFullError(
            "The disk is full.",
            remedy="What is done is kept. Free some space and go on.",
            details=details,
        )
    return NutshellError(
        "The work stopped because of a fault.",
        why="This is a fault in Nutshell, not in what you did.",
        remedy="What is done is kept. Go on to try again; the details help to find the cause.",
        details=details,
    )


def _watch(stdin: IO[bytes], stop: threading.Event) -> None:
    while _read_line(stdin):
        stop.set()
    os._exit(0)


def _read_line(stdin: IO[bytes]) -> bytes:
    try:
        return stdin.readline()
    except OSError:
        return b""


def _take_stdout() -> IO[bytes]:
    """Our own handle on stdout; what any library prints from now on goes to stderr."""
    sys.stdout.flush()
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return wire


def _step_back() -> None:
    """Behind what a person waits for: at 10, Linux gives a thread a ninth of what the engine's get (110 to 1024).

    Not for measuring and comparing: the speed that they find would be too low, and it takes a minute.
    """
    try:
        if sys.platform == "win32":
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            psutil.Process().nice(10)
    except (psutil.Error, OSError) as error:
        logger.warning("the priority was not lowered: %s", error)


def _finite(number: float) -> float:
    return float(number) if math.isfinite(number) else 0.0


if __name__ == "__main__":
    from backend.quantize.child_work import RealWork

    sys.exit(main(RealWork()))
