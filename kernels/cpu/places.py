"""Which values of a program share memory: a value's place is free for others after the last step that reads it."""

from __future__ import annotations

from kernels.program import (
    Add,
    Attention,
    Embed,
    LinearAdd,
    Linears,
    Output,
    Program,
    RmsNorm,
    Rope,
    Step,
    SwiGlu,
    Value,
)


def reads_and_writes(step: Step) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Values that a step reads (or changes in place), and values that it makes."""
    match step:
        case Embed(out=out):
            return (), (out,)
        case RmsNorm(x=x, out=out):
            return (x,), (out,)
        case Linears(x=x, outs=outs):
            return (x,), outs
        case LinearAdd(x=x, residual=residual):
            return (x, residual), ()
        case Rope(x=x):
            return (x,), ()
        case Attention(q=q, k=k, v=v, out=out):
            return (q, k, v), (out,)
        case SwiGlu(gate=gate, up=up, out=out):
            return (gate, up), (out,)
        case Add(x=x, y=y):
            return (x, y), ()
        case Output(final=final):
            return (final,), ()


def assign_slots(program: Program) -> list[int]:
    """The slot of each value, by its index. SwiGlu writes over its gate where nothing reads that later.

    Steps between two that need all rows are done row by row, each row by another thread: what they leave behind is free
    only when all rows are through, because a narrower value of one row would lie on another row of a wider one.

    Of the free slots a value takes the narrowest that is wide enough, else the widest: taken in any order, four slots
    grew to the width of the MLP where two are used at once, 18 MB for 256 rows of a model of 1.5B.
    """
    last = {value.index: i for i, step in enumerate(program.steps) for value in reads_and_writes(step)[0]}
    slots = [-1] * len(program.widths)
    free: list[int] = []
    left: list[int] = []
    widths: list[int] = []

    def take(width: int) -> int:
        if not free:
            widths.append(width)
            return len(widths) - 1
        fitting = [slot for slot in free if widths[slot] >= width]
        slot = min(fitting, key=widths.__getitem__) if fitting else max(free, key=widths.__getitem__)
        free.remove(slot)
        widths[slot] = max(widths[slot], width)
        return slot

    for i, step in enumerate(program.steps):
        reads, writes = reads_and_writes(step)
        ends = [
            value.index for value in dict.fromkeys(reads) if last[value.index] == i and not isinstance(step, Output)
        ]
        if isinstance(step, SwiGlu) and step.gate.index in ends and step.gate != step.up:
            slots[step.out.index] = slots[step.gate.index]
            ends.remove(step.gate.index)
            writes = ()
        whole = isinstance(step, Linears | LinearAdd | Attention | Output)
        if whole:
            free += left
            left = []
        for value in writes:
            slots[value.index] = take(value.width)
        ended = [slots[index] for index in ends] + [slots[value.index] for value in writes if value.index not in last]
        if whole:
            free += ended
        else:
            left += ended
    return slots
