"""Words on the progress of a compression, and its one way to be stopped."""

from __future__ import annotations

import math
import time

import psutil

from backend.hardware.trim import trim
from backend.quantize.options import Progress, Report
from backend.quantize.plan import Plan

__all__ = ["Teller"]

#: seconds between two questions to who watches, where nothing new is to be said
_BEAT = 0.2
#: and between two tidyings of the memory, which take 5 to 20 ms each
_TIDY = 2.0


class Teller:
    """Says where the work is, measures its pieces, and raises InterruptedError when it should stop.

    Attributes:
        plan: of the work.
        layer, layers: blocks done and in all.
        stage: see Progress.
        peak: the most bytes that were seen.
        planned: seconds of this run as they were said before it began.
        predicted: the same when its first block was done; None until then.
    """

    def __init__(self, plan: Plan, report: Report, layers: int, *, budget: int = 0) -> None:
        """Args:
        plan: of the work.
        report: told of it.
        layers: blocks in all.
        budget: bytes; near to it, memory that nobody uses is given back at each look. 0: none.
        """
        self.plan = plan
        self._budget, self._tidied = budget, 0.0
        self.layer, self.layers = 0, layers
        self.stage = "check"
        self.peak = 0
        self.planned = plan.left
        self.predicted: float | None = None
        self._report = report
        self._process = psutil.Process()
        self._module = self._level = ""
        self._rate = 0.0
        self._start = self._began = self._told = time.monotonic()
        self._working = False

    def begin(self, stage: str, module: str = "", level: str = "") -> None:
        """Another piece of work."""
        self.stage, self._module, self._level = stage, module, level
        self._began = time.monotonic()
        self._working = True
        self.tell()

    def finish(self, key: str, *, error: float | None = None, seconds: float | None = None) -> None:
        """The piece that was begun is done.

        Args:
            key: in the plan.
            error: of a linear.
            seconds: it took; None: since `begin`.
        """
        took = time.monotonic() - self._began if seconds is None else seconds
        piece = self.plan.pieces.get(key)
        self._rate = piece.weights / 1e6 / took if piece is not None and took > 0 else 0.0
        self.plan.finish(key, took)
        self._working = False
        if self.predicted is None and key.endswith("/forward"):  # the last piece of a block
            self.predicted = time.monotonic() - self._start + self.plan.left
        self.tell(error)

    def recall(self, module: str, level: str, error: float) -> None:
        """A linear that an earlier run has made: who watches shows its error with the others."""
        if math.isfinite(error):
            self._module, self._level, self._rate = module, level, 0.0
            self.tell(error)

    def tell(self, error: float | None = None) -> None:
        """Says it.

        Raises:
            InterruptedError: the work should stop.
        """
        if not self._say(error):
            raise InterruptedError

    def stop(self) -> bool:
        """For quantizers: asks now and then whether to give up."""
        return time.monotonic() - self._told >= _BEAT and not self._say(None)

    def _say(self, error: float | None) -> bool:
        self._told = time.monotonic()
        memory = int(self._process.memory_info().rss)
        if 0 < 0.9 * self._budget < memory and self._told - self._tidied > _TIDY:
            trim()
            self._tidied = self._told
            memory = int(self._process.memory_info().rss)
        self.peak = max(self.peak, memory)
        running = self._told - self._began if self._working else 0.0
        done, left = self.plan.before + self.plan.spent + running, max(self.plan.left - running, 0.0)
        return self._report(
            Progress(
                self.stage,
                done,
                done + left,
                self.layer,
                self.layers,
                self._module,
                error,
                self._rate,
                left,
                memory,
                self._level,
            )
        )
