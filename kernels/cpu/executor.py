"""Runs a program natively: one call per forward, on threads of its own, with the KV cache beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kernels.cpu import _native, levels, native_linear
from kernels.cpu.places import assign_slots
from kernels.cpu.stream import Stream
from kernels.packed import PackedLinear
from kernels.program import (
    Add,
    Attention,
    Embed,
    Floats,
    LinearAdd,
    Linears,
    Output,
    Program,
    RmsNorm,
    Rope,
    SwiGlu,
    Value,
)
from kernels.tree import check_path, positions_and_mask


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one step of a forward.

    Attributes:
        step: "linears 1536 -> 8960 8960" (inputs, outputs), "attention" or "output 1536 -> 151936".
        weight_bytes: of its weights.
        row_s: seconds of what goes row by row before it: norms, rotations, activations prepared.
        s: seconds of the step itself.
    """

    step: str
    weight_bytes: int
    row_s: float
    s: float


class CpuExecutor:
    """A `kernels.program.Executor` on the processor. It keeps the weights' buffers alive.

    Args:
        program: the steps.
        capacity: positions of the KV cache.
        kv: numbers of the cache: f16, or q8 with a scale per head and position.
        max_rows: most nodes of one forward.
        threads: that compute, the caller included; 0: one per processor core that this process may use.
        level: instruction set (`kernels.cpu.levels`), None: the best.
        precise: float32 arithmetic on decoded weights instead of integers; slow, for checks.
        stream: where the weights of some linears come from in every forward; it must be of this program.

    Raises:
        ValueError: no such level here, or a program that is not one.
        NotImplementedError: the level lacks an operation.
    """

    def __init__(
        self,
        program: Program,
        *,
        capacity: int,
        kv: Literal["f16", "q8"] = "f16",
        max_rows: int = 512,
        threads: int = 0,
        level: str | None = None,
        precise: bool = False,
        stream: Stream | None = None,
    ) -> None:
        if capacity < 1 or max_rows < 1:
            raise ValueError(f"a capacity of {capacity} and {max_rows} rows are not possible")
        outputs = [step for step in program.steps if isinstance(step, Output)]
        tables = [step.table for step in program.steps if isinstance(step, Embed)]
        if len(outputs) != 1 or not tables or not isinstance(program.steps[-1], Output):
            raise ValueError("a program begins with an embedding and ends with its one output")
        program.check()
        sizes = {step.head_dim for step in program.steps if isinstance(step, Attention)}
        if any(size % 16 for size in sizes):  # the attention kernels write whole lanes
            raise ValueError(f"heads of {max(sizes)} numbers: their size must be a multiple of 16")
        self._capacity, self._max_rows = capacity, max_rows
        self._vocabulary = outputs[0].head.out_features
        self._tokens = min(table.out_features for table in tables)
        self._hidden_width = outputs[0].final.width
        self._level = level or levels()[-1]
        self.threads = threads or default_threads()
        self._steps = tuple(program.steps)
        self._native = _compile(program, self._level, self.threads, capacity, kv == "q8", precise, stream)
        self._parents: Sequence[int] = ()
        self._length = self._rows = 0
        self._logits: Floats = np.empty((0, self._vocabulary), np.float32)

    @property
    def length(self) -> int:
        """Committed tokens in the cache."""
        return self._length

    @property
    def kv_bytes(self) -> int:
        """Bytes of the whole cache."""
        return self._native.kv_bytes()

    @property
    def level(self) -> str:
        """The instruction set in use."""
        return self._level

    def forward(self, tokens: Sequence[int], parents: Sequence[int], wanted: Sequence[int]) -> Floats:
        """See `kernels.program.Executor.forward`."""
        n = len(tokens)
        if not 0 < n <= self._max_rows or len(parents) != n:
            raise ValueError(f"{n} nodes with {len(parents)} parents: a forward takes 1 to {self._max_rows}")
        if self._length + n > self._capacity:
            raise ValueError(f"{n} nodes behind {self._length} do not fit a cache of {self._capacity}")
        ids, rows = np.array(tokens, np.int32), np.array(wanted, np.int32).reshape(-1)
        if ids.min() < 0 or ids.max() >= self._tokens:
            raise ValueError(f"a token is not below {self._tokens}")
        if len(rows) and (rows.min() < 0 or rows.max() >= n):
            raise ValueError(f"logits are wanted of a node that is not among the {n}")
        positions, mask, chain = positions_and_mask(parents, self._length)
        if len(rows) != len(self._logits):
            self._logits = np.empty((len(rows), self._vocabulary), np.float32)
        self._parents = ()
        if not self._native.forward(self._length, ids, positions, mask, chain, rows, self._logits):
            raise InterruptedError("the forward was given up")
        self._parents, self._rows = parents if isinstance(parents, range) else list(parents), n
        return self._logits

    def hidden(self) -> Floats:
        """See `kernels.program.Executor.hidden`."""
        out = np.empty((self._rows, self._hidden_width), np.float32)
        self._native.hidden(out)
        return out

    def commit(self, path: Sequence[int]) -> None:
        """See `kernels.program.Executor.commit`."""
        check_path(self._parents, path)
        for cell, node in enumerate(path):  # a node never stands before its cell
            if cell != node:
                self._native.move(self._length + node, self._length + cell)
        self._length += len(path)
        self._parents = ()

    def rewind(self, length: int) -> None:
        """See `kernels.program.Executor.rewind`."""
        if not 0 <= length <= self._length:
            raise ValueError(f"{self._length} committed tokens cannot be rewound to {length}")
        self._length = length
        self._parents = ()

    def abort(self, flag: bool) -> None:
        """See `kernels.program.Executor.abort`."""
        self._native.abort(flag)

    def profile(self, on: bool) -> list[Spent]:
        """Where the last measured forward spent its time; from now on forwards are measured, or not.

        One entry for each step that needs all rows (linears, attention, output), in their order.
        """
        whole = [step for step in self._steps if isinstance(step, (Linears, LinearAdd, Attention, Output))]
        seconds = self._native.profile(on)
        return [Spent(_name(step), _bytes(step), *times) for step, times in zip(whole, seconds, strict=False)]


def _weights(step: Linears | LinearAdd | Attention | Output) -> list[PackedLinear]:
    match step:
        case Linears(_, weights, _):
            return list(weights)
        case LinearAdd(_, weight, _) | Output(_, weight):
            return [weight]
    return []


def _bytes(step: Linears | LinearAdd | Attention | Output) -> int:
    return sum(weight.nbytes for weight in _weights(step))


def _name(step: Linears | LinearAdd | Attention | Output) -> str:
    weights = _weights(step)
    if not weights:
        return "attention"
    outputs = " ".join(str(weight.out_features) for weight in weights)
    return f"{'output' if isinstance(step, Output) else 'linears'} {weights[0].in_features} -> {outputs}"


def default_threads() -> int:
    """Processor cores that this process may use: two threads of one core share its load units, and gain nothing."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in usable:
        try:
            siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
            cores.add(siblings.read_text("ascii").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))


def _compile(
    program: Program, level: str, threads: int, capacity: int, q8: bool, precise: bool, stream: Stream | None
) -> _native.Program:
    """The native form of the steps."""
    slots = assign_slots(program)
    native = _native.Program(level, threads, max(slots) + 1, capacity, q8, precise)
    made: dict[
        int, _native.Linear
    ] = {}  # tied weights once; the program's steps keep them, so that an id stays its own

    def place(value: Value) -> tuple[int, int]:
        return slots[value.index], value.width

    def weight(packed: PackedLinear) -> _native.Linear:
        if id(packed) not in made:
            made[id(packed)] = native_linear(packed, level)
        return made[id(packed)]

    if stream is not None:
        native.stream(stream.native)
    for number, step in enumerate(program.steps):
        match step:
            case Embed(table, out, scale):
                native.embed(weight(table), place(out), scale)
            case RmsNorm(x, norm, eps, out):
                native.rms_norm(place(x), np.ascontiguousarray(norm, np.float32), eps, place(out))
            case Linears(x, weights, outs):
                native.linears(place(x), [weight(w) for w in weights], [place(out) for out in outs], False)
            case LinearAdd(x, packed, residual):
                native.linears(place(x), [weight(packed)], [place(residual)], True)
            case Rope(x, head_dim, frequencies, factor):
                native.rope(place(x), head_dim, np.ascontiguousarray(frequencies, np.float32), factor)
            case Attention(layer, q, k, v, head_dim, scale, out, window):
                native.attention(layer, place(q), place(k), place(v), head_dim, scale, place(out), window)
            case SwiGlu(gate, up, out):
                native.swiglu(place(gate), place(up), place(out))
            case Add(x, y):
                native.add(place(x), place(y))
            case Output(final, head):
                native.output(place(final), weight(head))
        if stream is not None and number in stream.blocks:
            native.streamed(stream.blocks[number])
    native.finish()
    return native
