"""A pack that is larger than the memory it may take: some linears stay, the others come from the disk in every pass.

What stays lies in memory of its own rather than in the mapped file: the system cannot drop it, and a file that is cut
short meanwhile ends in a sentence instead of a fault of the processor.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.api.errors import InvalidModelFileError, MemoryShortageError
from backend.formats.pack import PackCheckpoint
from kernels.packed import PackedLinear
from kernels.program import Embed, LinearAdd, Linears, Output, Program, RmsNorm, Step, linears
from kernels.ring import lay, spread

if TYPE_CHECKING:
    from kernels.cpu.stream import Range, Stream

__all__ = ["Streamed", "cut_short", "stream_pack"]

#: Buffers that stay: a level derives tables from them when it is made, or they are a few kilobytes.
_STAY = frozenset({"codebooks", "bias", "perm", "row_max", "outlier_steps"})
#: Reads ahead of a block that is computed, beside the next one (kernels/cpu/stream.py: 4 at a time of 4 MB).
_AHEAD = 4
#: A buffer that follows another within so many bytes is read together with it.
_HOLE = 64 << 10


@dataclass(frozen=True, slots=True)
class Streamed:
    """What is run instead of the program as it was built.

    Attributes:
        program: over weights in memory of their own, and in the ring.
        stream: what fills the ring; None where everything fits.
        bytes: of memory that weights take: those that stay, and the ring.
    """

    program: Program
    stream: Stream | None
    bytes: int


def stream_pack(path: Path, checkpoint: PackCheckpoint, program: Program, budget: int, rate: float = 0.0) -> Streamed:
    """Takes at most `budget` bytes for the weights of a program that was built over `checkpoint`.

    The caller closes the checkpoint afterwards: nothing of the mapped file is used any more.

    Args:
        path: of the pack.
        checkpoint: the opened file.
        program: built over it.
        budget: bytes.
        rate: bytes a second at most that are read (a slower disk, for measurements); 0: as the disk gives them.

    Raises:
        MemoryShortageError: what cannot be streamed (the vocabulary's table) and the ring alone are more than that.
        InvalidModelFileError: the file cannot be read.
    """
    from kernels.cpu.stream import Stream

    steps = program.steps
    ranges = {i: _ranges(checkpoint, step) for i, step in enumerate(steps) if isinstance(step, Linears | LinearAdd)}
    ranges = {i: parts for i, parts in ranges.items() if parts}
    sizes = [sum(part.room for part in parts) for parts in ranges.values()]
    whole = sum({id(linear): linear.nbytes for step in steps for linear in linears(step)}.values())
    total, least = sum(sizes), whole
    for ahead, percent in itertools.product((_AHEAD, 1, 0), range(101)):  # a narrow ring where no other would do
        streams = spread(sizes, total * percent // 100) if percent else [False] * len(sizes)
        chosen = [i for i, taken in zip(ranges, streams, strict=True) if taken]
        blocks = [size for size, taken in zip(sizes, streams, strict=True) if taken]
        room = _room(blocks, ahead)
        needs = whole - sum(part.end - part.start for i in chosen for part in ranges[i])
        needs += lay(blocks, room).bytes if blocks else 0
        least = min(least, needs)
        if needs <= budget:
            break
    else:
        raise MemoryShortageError(
            f"{path.name} needs more memory than it was given.",
            why=f"It was given {budget / 1e6:,.1f} MB, and at least {least / 1e6:,.1f} MB must stay in memory.",
            remedy="Give it more memory, or choose a smaller model.",
        )
    try:
        stream = Stream(str(path), {i: ranges[i] for i in chosen}, room, rate) if chosen else None
        return Streamed(_placed(path, checkpoint, program, ranges, stream), stream, needs)
    except OSError as error:
        raise cut_short(path.name, str(error)) from error


def cut_short(name: str, details: str) -> InvalidModelFileError:
    """For a file that changed, or that cannot be read any more."""
    return InvalidModelFileError(
        "The model file cannot be read any more.",
        why=f"{name} was changed or cut short while it was in use, or its disk has gone.",
        remedy="Check the file and its disk, then load the model again.",
        details=details,
    )


def _room(blocks: Sequence[int], ahead: int) -> int:
    """Of the ring: the block in use, and where something is read ahead the next one and so many reads beside it."""
    from kernels.cpu.stream import PIECE

    if not blocks or not ahead:
        return max(blocks, default=0)
    return 2 * max(blocks) + ahead * min(PIECE, sum(blocks) // len(blocks))


def _ranges(checkpoint: PackCheckpoint, step: Step) -> list[Range]:
    """Where the buffers of a step that can be streamed lie in the file."""
    from kernels.cpu.stream import Range

    spans = sorted(
        (start, start + buffer.nbytes)
        for linear in linears(step)
        for name, buffer in linear.buffers.items()
        if name not in _STAY and buffer.nbytes
        for start in [checkpoint.place_of(buffer)]
    )
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start - joined[-1][1] < _HOLE:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return [Range(start, end) for start, end in joined]


def _placed(
    path: Path, checkpoint: PackCheckpoint, program: Program, ranges: dict[int, list[Range]], stream: Stream | None
) -> Program:
    """The same steps over weights in memory and in the ring."""
    from kernels.cpu.stream import aligned

    made: dict[int, PackedLinear] = {}

    with path.open("rb", buffering=0) as file:

        def place(linear: PackedLinear, step: int) -> PackedLinear:
            if id(linear) in made:
                return made[id(linear)]
            parts = ranges[step] if stream is not None and step in stream.blocks else []
            stay = {name: buffer for name, buffer in linear.buffers.items() if not parts or name in _STAY}
            memory = aligned(sum(-(-buffer.nbytes // 64) * 64 for buffer in stay.values()))
            buffers, at = {}, 0
            for name, buffer in linear.buffers.items():
                start = checkpoint.place_of(buffer)
                if name in stay:
                    part = memory[at : at + buffer.nbytes]
                    at += -(-buffer.nbytes // 64) * 64
                    file.seek(start)
                    view, done = part.data, 0
                    while done < len(view):
                        got = file.readinto(view[done:])
                        if not got:
                            raise OSError("the file is shorter than it was")
                        done += got
                    buffers[name] = part.view(buffer.dtype).reshape(buffer.shape)
                else:
                    within = next(part for part in parts if part.start <= start < part.end)
                    assert stream is not None
                    buffers[name] = stream.array(within, start, buffer.dtype, buffer.size).reshape(buffer.shape)
            made[id(linear)] = replace(linear, buffers=buffers)
            return made[id(linear)]

        steps: list[Step] = []
        for i, step in enumerate(program.steps):
            match step:
                case Linears(weights=weights):
                    steps.append(replace(step, weights=tuple(place(linear, i) for linear in weights)))
                case LinearAdd(weight=weight):
                    steps.append(replace(step, weight=place(weight, i)))
                case Embed(table=table):
                    steps.append(replace(step, table=place(table, i)))
                case Output(head=head):
                    steps.append(replace(step, head=place(head, i)))
                case RmsNorm(weight=weight):
                    steps.append(replace(step, weight=np.array(weight)))
                case _:
                    steps.append(step)
    return Program(steps, program.widths)
