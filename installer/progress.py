"""Steps on the terminal: "[3/6] Building llama.cpp ... 41/140, 1 min 12 s"."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

#: without a terminal (a log, CI) a running step is mentioned this often, in seconds
_LOG_EVERY_S = 20.0


def words(seconds: float) -> str:
    """A duration in words: 12 s, 1 min 12 s, 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Numbers the steps (of `total`; 0: unnumbered) and keeps one line current.

    Writes to standard error: standard output is the program's.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self.total = total
        self._number = 0
        self._title = ""
        self._detail = ""
        self._began = self._told = time.monotonic()
        self._width = 0

    @property
    def current(self) -> str:
        """The title of the step at work, or ""."""
        return self._title

    def begin(self, title: str) -> None:
        """Starts the next step."""
        self._number += 1
        self._title, self._detail = title, ""
        self._began = self._told = time.monotonic()
        self._line(f"{self._head()} ...", end="" if self._live else "\n")

    def update(self, detail: str | None = None) -> None:
        """Says how far the step is; without `detail`, only the time moves on."""
        now = time.monotonic()
        if detail is not None:
            self._detail = detail
        if now - self._told >= (0.2 if self._live else _LOG_EVERY_S):
            self._told = now
            so_far = f"{self._detail}, " if self._detail else ""
            self._line(f"{self._head()} ... {so_far}{words(now - self._began)}", end="" if self._live else "\n")

    def done(self, detail: str = "") -> None:
        """Ends the step."""
        took = words(time.monotonic() - self._began)
        self._line(f"{self._head()}: {detail or 'done'}, {took}", end="\n")
        self._width = 0

    def note(self, text: str) -> None:
        """A sentence between the steps."""
        self._line(text, end="\n")
        self._width = 0

    def interrupt(self) -> None:
        """Leaves the current line as it is, so that a message can follow."""
        if self._live and self._width:
            self._stream.write("\n")
            self._stream.flush()
        self._width = 0

    def _head(self) -> str:
        return f"[{self._number}/{self.total}] {self._title}" if self.total else self._title

    def _line(self, text: str, *, end: str) -> None:
        # Spaces, not an escape code, wipe the rest of the old line: an old Windows console knows no codes.
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{text}{' ' * (self._width - len(text))}{end}")
            self._width = len(text)
        else:
            self._stream.write(text + end)
        self._stream.flush()
