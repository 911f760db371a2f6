"""What all terminal commands share: words to stderr, exit codes, tables."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

__all__ = [
    "EXIT_BROKEN_PIPE",
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "LiveLine",
    "duration",
    "hush_broken_pipe",
    "run_async",
    "say",
    "size",
    "table",
]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for a program that was cut off


def say(text: str) -> None:
    """A line for the person, not for the pipe."""
    print(text, file=sys.stderr, flush=True)


class LiveLine:
    """One line that is kept current on a terminal; a line every ten seconds elsewhere.

    Args:
        at_once: whether the first one is due at once, and not after the first pause.
        width: columns of it.
    """

    def __init__(self, *, at_once: bool = False, width: int = 110) -> None:
        self._live = sys.stderr.isatty()
        self._told = -math.inf if at_once else time.monotonic()
        self._width = width
        self._open = False

    def due(self) -> bool:
        """Whether it is time for another."""
        return time.monotonic() - self._told >= (0.2 if self._live else 10.0)

    def show(self, text: str) -> None:
        """Another one."""
        self._told = time.monotonic()
        if self._live:
            print(f"\r{text[: self._width]:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            say(text)

    def end(self) -> None:
        """The cursor to a line of its own."""
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False


def duration(seconds: float) -> str:
    """In words: "40 s", "3 min 20 s", "1 h 2 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def hush_broken_pipe() -> None:
    """Points stdout to nowhere, so that the interpreter's last flush does not complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def run_async(command: Coroutine[Any, Any, int]) -> int:
    """Runs a command to its end. SIGTERM ends it in order, like Ctrl+C: no engine process is left behind."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None
        if sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await command

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        return 143


def size(count: float) -> str:
    """Bytes in words: "98 MB", "1.1 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count:.0f} bytes"


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Rows as aligned columns, the first row as the heading; columns in `right` are set to the right."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
