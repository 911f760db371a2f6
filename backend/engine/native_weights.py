"""The weights that a recorded program reads: how many bytes, and getting them off the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.engine.model import Aborted
from kernels.packed import PackedLinear
from kernels.program import Embed, LinearAdd, Linears, Output, Program

__all__ = ["Weights", "weights_of"]

_PAGE = 4096
#: bytes between two words on the progress
_REPORT = 32 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """Of one program.

    Attributes:
        linears: each once, in the order in which a forward reads them.
        bytes: of all of them.
        bytes_per_token: read for one decoded token: all but the rows of the embedding that are not its own.
    """

    linears: tuple[PackedLinear, ...]
    bytes: int
    bytes_per_token: int

    def without(self, others: Weights) -> Weights:
        """Those that are not among the others."""
        known = {_place(linear) for linear in others.linears}
        linears = tuple(linear for linear in self.linears if _place(linear) not in known)
        return Weights(linears, sum(linear.nbytes for linear in linears), 0)

    def touch(self, progress: Callable[[float], bool]) -> None:
        """Reads a byte of every page of a mapped file, so that the first answer does not wait for the disk.

        A gigabyte that is in memory already takes 25 ms.

        Args:
            progress: called with the fraction that is there; False gives up.

        Raises:
            Aborted: it did.
        """
        done = unsaid = 0
        for linear in self.linears:
            for buffer in linear.buffers.values():
                flat = buffer.reshape(-1).view(np.uint8)
                for first in range(0, flat.size, _REPORT):
                    part = flat[first : first + _REPORT]
                    part[::_PAGE].max()
                    done += part.size
                    unsaid += part.size
                    if unsaid >= _REPORT:
                        unsaid = 0
                        if not progress(min(done / max(self.bytes, 1), 1.0)):
                            raise Aborted
        if not progress(1.0):
            raise Aborted


def weights_of(program: Program) -> Weights:
    """See Weights. A table that serves as embedding and head is counted once, also where it goes by two names."""
    read: dict[_Place, PackedLinear] = {}
    tables: dict[_Place, PackedLinear] = {}
    for step in program.steps:
        if isinstance(step, Embed):
            tables[_place(step.table)] = step.table
        elif isinstance(step, Linears):
            read.update((_place(weight), weight) for weight in step.weights)
        elif isinstance(step, LinearAdd):
            read[_place(step.weight)] = step.weight
        elif isinstance(step, Output):
            read[_place(step.head)] = step.head
    per_token = sum(linear.nbytes for linear in read.values())
    rows = sum(table.nbytes // max(table.out_features, 1) for place, table in tables.items() if place not in read)
    linears = tuple({**tables, **read}.values())
    return Weights(linears, sum(linear.nbytes for linear in linears), per_token + rows)


_Place = frozenset[tuple[str, int]]


def _place(linear: PackedLinear) -> _Place:
    """Where its buffers lie in memory."""
    return frozenset((name, buffer.ctypes.data) for name, buffer in linear.buffers.items())
