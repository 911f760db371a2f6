"""A child process that is asked one JSON line at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from backend.api.errors import NutshellError

__all__ = ["Child"]


class Child:
    """`python -m module arguments`, with a line out for each line in. Use as a context manager; leaving it ends it.

    Attributes:
        started: `time.monotonic()` just before the process was made; the clock is the same in both processes.
    """

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str], patience_s: float = 120.0) -> None:
        self._patience_s = patience_s
        self._module = module
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(env),
        )

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20 if kind is None else 3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def read(self) -> dict[str, Any]:
        """The next reply.

        Raises:
            NutshellError: the process ended, or took longer than its patience.
        """
        assert self.process.stdout is not None
        watchdog = threading.Timer(self._patience_s, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise NutshellError(
                "The measurement was broken off.",
                why=f"{self._module} ended with code {self.process.wait()}.",
                remedy="Its messages are above.",
            )
        reply: dict[str, Any] = json.loads(line)
        return reply

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Sends one line, and returns the reply."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields) + "\n")
        self.process.stdin.flush()
        return self.read()
