"""How the weights of a streamed model came from the disk, beside what the disk gave alone at the same time."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernels.cpu.stream import Stream

__all__ = ["DiskWatch"]

_PASSES = 2


class DiskWatch:
    """Looks after every answer: a shared disk gives twice as much in one minute as in the next.

    What it gives alone is measured with the same ranges of the same file: the first 256 MB again and again came half as
    fast again from a virtual disk.

    Args:
        stream: what reads the weights.
        most: bytes a second that the stream is held at; 0: as the disk gives them.
    """

    def __init__(self, stream: Stream, most: float = 0.0) -> None:
        self._stream, self._most = stream, most
        self._alone = [self._rate_alone()]
        self._shares: list[float] = []
        self._rates: list[float] = []
        self._read, self._busy, self._waited = stream.counts()

    def look(self) -> None:
        """An answer has ended: what was read for it, and what the disk gives now."""
        read, busy, _ = self._stream.counts()
        self._alone.append(self._rate_alone())
        if busy > self._busy:
            rate = (read - self._read) / (busy - self._busy)
            # what the disk gave just before and just after
            alone = sum(self._alone[-2:]) / 2
            self._rates.append(rate)
            self._shares.append(rate / max(min(alone, self._most or alone), 1.0))
        self._read, self._busy, _ = self._stream.counts()

    def _rate_alone(self) -> float:
        """Bytes a second while reads were under way, in passes that compute nothing."""
        read, busy, _ = self._stream.counts()
        for _ in range(_PASSES):
            self._stream.pass_through()
        after, end, _ = self._stream.counts()
        return (after - read) / max(end - busy, 1e-9)

    def found(self) -> dict[str, Any]:
        """MB and MB/s; `of_disk` is the median over the answers, and counts the time in which reads were under way,
        which is all of a pass that waits for its weights.
        """
        return {
            "pass_mb": round(self._stream.pass_bytes / 1e6, 1),
            "ring_mb": round(self._stream.ring_bytes / 1e6, 1),
            "direct": self._stream.direct,
            "capped_mb_s": round(self._most / 1e6, 1) or None,
            "disk_mb_s": round(statistics.median(self._alone) / 1e6, 1),
            "streaming_mb_s": round(statistics.median(self._rates or [0.0]) / 1e6, 1),
            "waited_s": round(self._stream.counts()[2] - self._waited, 2),
            "of_disk": round(statistics.median(self._shares or [0.0]), 3),
            "of_disk_worst": round(min(self._shares, default=0.0), 3),
        }
