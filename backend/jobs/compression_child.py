"""One conversation with the process that compresses: a request, progress, and a result or a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from backend.api.errors import MemoryShortageError, NutshellError
from backend.quantize.wire import STOP, Done, Failed, Moved, Reply, Request, Stopped

__all__ = ["CHILD", "StoppedError", "run_child"]

#: the real one; tests bring their own
CHILD = (sys.executable, "-P", "-m", "backend.quantize.child")
#: Seconds between two looks at whether to stop.
_POLL_S = 0.2
#: Seconds that the child has to stop by itself; after that it is killed, which loses the linear at work and no more.
_GRACE_S = 8.0
#: Characters of what it wrote to stderr that are kept for the details.
_TAIL = 6000
#: Bytes of one line: a result with 8 answers is 10 KB.
_LONGEST = 4 << 20


class StoppedError(NutshellError):
    """The child was asked to stop, and did."""


async def run_child(
    command: Sequence[str],
    request: Request,
    moved: Callable[[Moved], None] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
    *,
    grace_s: float = _GRACE_S,
) -> msgspec.Raw:
    """Starts the child, and returns its result when it has ended. It is gone when this returns or raises.

    Args:
        command: starts it.
        request: what it is asked.
        moved: called on the loop with each progress.
        stopping: looked at five times a second.
        grace_s: how long the child has to stop by itself before it is killed.

    Raises:
        StoppedError: `stopping` said so.
        NutshellError: what the child said, or that it ended without a word.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST,
        env=_environment(),
    )
    assert process.stderr is not None
    tail: deque[bytes] = deque(maxlen=200)
    listening = asyncio.create_task(_listen(process.stderr, tail), name="compression stderr")
    try:
        end = await _converse(process, request, moved, stopping, grace_s)
        if end is None:
            await process.wait()
            await asyncio.wait({listening}, timeout=1.0)
    finally:
        await _end(process, listening)
    match end:
        case Done(value=value):
            return value
        case Failed(error=error):
            raise error.to_error()
        case Stopped():
            raise StoppedError("The work was stopped.", why="What is done is kept.")
        case _:
            raise _died(process.returncode or 0, b"".join(tail))


async def _converse(
    process: asyncio.subprocess.Process,
    request: Request,
    moved: Callable[[Moved], None],
    stopping: Callable[[], bool],
    grace_s: float,
) -> Done | Failed | Stopped | None:
    """Until the child has said its last word; None where it ended without one."""
    assert process.stdin is not None
    assert process.stdout is not None
    asked = 0.0
    with contextlib.suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        await process.stdin.drain()
    reading = asyncio.create_task(process.stdout.readline())
    try:
        while True:
            done, _ = await asyncio.wait({reading}, timeout=_POLL_S)
            if stopping():
                if not asked:
                    asked = time.monotonic()
                    with contextlib.suppress(ConnectionError):
                        process.stdin.write(STOP)
                elif time.monotonic() - asked > grace_s:
                    return Stopped()
            if not done:
                continue
            line = reading.result()
            if not line.endswith(b"\n"):
                return Stopped() if asked else None
            reading = asyncio.create_task(process.stdout.readline())
            reply: Reply = msgspec.json.decode(line, type=Reply)
            if not isinstance(reply, Moved):
                return reply
            moved(reply)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _listen(stream: asyncio.StreamReader, tail: deque[bytes]) -> None:
    while part := await stream.read(4096):
        tail.append(part)


async def _end(process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
    if not listening.done():
        # what it started itself may hold the pipe for longer than it lives
        await asyncio.wait({listening}, timeout=1.0)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def _environment() -> dict[str, str]:
    """Ours, with the place where we are found: `-P` keeps the folder that it is started in out of that."""
    places = [place for place in sys.path if place]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _died(code: int, said: bytes) -> NutshellError:
    text = said.decode("utf-8", "replace")[-_TAIL:]
    if sys.platform != "win32" and code == -signal.SIGKILL:
        return MemoryShortageError(
            "The compression was ended by the system.",
            why="This happens when memory runs out.",
            remedy="What is done is kept. Close other programs, or allow less memory, and go on.",
            details=text,
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return NutshellError(
        "The compression stopped unexpectedly.",
        why=f"Its process ended with {how}.",
        remedy="What is done is kept. Go on to try again; the details may say more.",
        details=text,
    )
