"""Linears whose weights are read from the disk in every forward: which of them, and where they lie meanwhile.

The weights of one step (linears of one input) are a block, and blocks take turns in a ring (`kernels.ring`). `stream.h`
reads.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu import _native
from kernels.ring import lay

__all__ = ["ALIGNMENT", "PIECE", "Range", "Stream", "aligned"]

#: places, sizes and memory of a direct read
ALIGNMENT = 4096
#: Bytes of one read: two or more of 4 MB at a time reached 2.0 to 2.3 GB/s where those of 1 MB reached 0.9 to 1.0.
PIECE = 4 << 20
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Range:
    """Of a file: bytes `start` to `end`."""

    start: int
    end: int

    @property
    def first(self) -> int:
        """Where the read begins."""
        return self.start // ALIGNMENT * ALIGNMENT

    @property
    def room(self) -> int:
        """Bytes of the read."""
        return -(-(self.end - self.first) // ALIGNMENT) * ALIGNMENT


def aligned(size: int) -> npt.NDArray[np.uint8]:
    """Memory from the system, at a page: what is freed of it goes back at once."""
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)


class Stream:
    """Reads the blocks of one program again and again, ahead of whoever computes.

    Args:
        path: of the file.
        blocks: step of the program -> the ranges that it reads, which may have holes of a few bytes between them.
        room: bytes of the ring.
        rate: bytes a second at most (a slower disk, for measurements); 0: as the disk gives them.

    Attributes:
        native: what the executor waits for. blocks: step -> number of its block.
        ring_bytes: of the ring. pass_bytes: read in one forward.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str, blocks: Mapping[int, Sequence[Range]], room: int, rate: float = 0.0) -> None:
        steps = sorted(blocks)
        sizes = [sum(part.room for part in blocks[step]) for step in steps]
        ring = lay(sizes, room)
        self._memory = aligned(ring.bytes)
        self._at: dict[int, int] = {}
        pieces: list[tuple[int, int, int, int, int]] = []
        for number, step in enumerate(steps):
            at = ring.places[number]
            for part in blocks[step]:
                self._at[part.start] = at + part.start - part.first
                for first in range(0, part.room, PIECE):
                    size = min(PIECE, part.room - first)
                    needed = min(size, part.end - part.first - first)
                    pieces.append((part.first + first, at + first, size, needed, number))
                at += part.room
        self.blocks = {step: number for number, step in enumerate(steps)}
        self.ring_bytes, self.pass_bytes = ring.bytes, sum(sizes)
        try:
            self.native = _native.Stream(path, self._memory, pieces, ring.behind, _DEPTH, rate)
        except RuntimeError as error:
            raise OSError(str(error)) from None

    def array(self, part: Range, start: int, dtype: Any, count: int) -> npt.NDArray[Any]:
        """The numbers at `start` of the file, as they will lie in the ring. They are there while their block is."""
        at = self._at[part.start] + start - part.start
        size = np.dtype(dtype).itemsize * count
        return self._memory[at : at + size].view(dtype)

    def pass_through(self) -> None:
        """Reads everything once, as a forward does that computes nothing; not while one runs."""
        for block in range(len(self.blocks)):
            self.native.wait(block)
            self.native.release(block)

    @property
    def direct(self) -> bool:
        """Past the system's cache; False where the file system refuses that."""
        return self.native.direct()

    def counts(self) -> tuple[int, float, float]:
        """Bytes read so far, seconds in which at least one read was under way, seconds that passes waited."""
        return self.native.counts()
