"""Runs a program in NumPy, one step after the other: what every faster executor must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
    Step,
    SwiGlu,
    Value,
)
from kernels.reference.activation import swiglu
from kernels.reference.attention import Kv, attention
from kernels.reference.linear import dequantize
from kernels.reference.norm import rms_norm
from kernels.reference.rope import rope
from kernels.tree import check_path, positions_and_mask

Array = npt.NDArray[np.floating[Any]]


class ReferenceExecutor:
    """A `kernels.program.Executor` that holds every weight dequantized.

    Args:
        program: the steps.
        capacity: positions of the KV cache.
        dtype: np.float32 or np.float64: what activations are rounded to after every step, and weights.
        kv: what keys and values are rounded to when they are read from the cache: f32, f16 or q8.
        cache_weights: keeps dequantized weights (4 or 8 bytes each) instead of making them anew for every forward.
    """

    def __init__(
        self,
        program: Program,
        capacity: int,
        *,
        dtype: npt.DTypeLike = np.float32,
        kv: Kv = "f32",
        cache_weights: bool = True,
    ) -> None:
        self._program = program
        self._capacity = capacity
        self.dtype = np.dtype(dtype)
        self.kv: Kv = kv
        self._weights: dict[int, Array] | None = {} if cache_weights else None
        self._cache: dict[int, tuple[Array, Array]] = {}  # of a layer: keys and values, (capacity, width)
        for step in program.steps:
            if isinstance(step, Attention):
                self._cache[step.layer] = (self._empty(step.k.width), self._empty(step.v.width))
        self._parents: Sequence[int] = ()
        self._length = 0
        self._hidden: Floats = np.empty((0, 0), np.float32)
        self._abort = False

    def _empty(self, width: int) -> Array:
        return np.full((self._capacity, width), np.nan, self.dtype)  # a cell read before it was written shows

    @property
    def length(self) -> int:
        """Committed tokens in the cache."""
        return self._length

    @property
    def kv_bytes(self) -> int:
        """Bytes of the whole cache."""
        return sum(keys.nbytes + values.nbytes for keys, values in self._cache.values())

    def forward(self, tokens: Sequence[int], parents: Sequence[int], wanted: Sequence[int]) -> Floats:
        """See `kernels.program.Executor.forward`."""
        if len(tokens) != len(parents):
            raise ValueError(f"{len(tokens)} tokens have {len(parents)} parents")
        if self._length + len(tokens) > self._capacity:
            raise ValueError(f"{len(tokens)} nodes behind {self._length} do not fit a cache of {self._capacity}")
        if any(not 0 <= node < len(tokens) for node in wanted):
            raise ValueError(f"logits are wanted of a node that is not among the {len(tokens)}")
        self._parents = ()
        run = _Run(self, tokens, parents)
        logits = np.empty((0, 0), np.float32)
        for step in self._program.steps:
            if self._abort:
                raise InterruptedError("the forward was given up")
            if isinstance(step, Output):
                final = run.values[step.final.index]
                self._hidden = final.astype(np.float32)
                logits = self.linear(step.head, final[list(wanted)]).astype(np.float32)
            else:
                run.compute(step)
        self._parents = list(parents)
        return logits

    def hidden(self) -> Floats:
        """See `kernels.program.Executor.hidden`."""
        return self._hidden

    def commit(self, path: Sequence[int]) -> None:
        """See `kernels.program.Executor.commit`."""
        check_path(self._parents, path)
        cells = [self._length + node for node in path]
        for keys, values in self._cache.values():
            for cell, source in enumerate(cells, self._length):  # a source never lies before its cell
                keys[cell] = keys[source]
                values[cell] = values[source]
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
        self._abort = flag

    def cache(self, layer: int) -> tuple[Array, Array]:
        """Keys and values of a layer: (capacity, width) each."""
        return self._cache[layer]

    def weight(self, packed: PackedLinear) -> Array:
        """(out, in), in the executor's dtype."""
        if self._weights is None:
            return dequantize(packed).astype(self.dtype, copy=False)
        if id(packed) not in self._weights:  # the program keeps it alive: its id stays its own
            self._weights[id(packed)] = dequantize(packed).astype(self.dtype, copy=False)
        return self._weights[id(packed)]

    def linear(self, packed: PackedLinear, x: Array) -> Array:
        """The product x @ weight.T + bias."""
        y: Array = x @ self.weight(packed).T
        bias = packed.buffers.get("bias")
        return y if bias is None else y + bias.astype(self.dtype)


class _Run:
    """One forward: the values so far, and where its nodes stand."""

    def __init__(self, owner: ReferenceExecutor, tokens: Sequence[int], parents: Sequence[int]) -> None:
        self.owner = owner
        self.tokens = np.asarray(tokens, np.int64)
        self.start = owner.length
        self.positions, mask, chain = positions_and_mask(parents, self.start)
        self.mask = None if chain else mask
        self.values: dict[int, Array] = {}

    def _set(self, out: Value, numbers: Array) -> None:
        self.values[out.index] = numbers.astype(self.owner.dtype, copy=False)

    def compute(self, step: Step) -> None:
        values = self.values
        match step:
            case Embed(table, out, scale):
                if np.any((self.tokens < 0) | (self.tokens >= table.out_features)):
                    raise ValueError(f"a token is not below {table.out_features}")
                self._set(out, self.owner.weight(table)[self.tokens] * scale)
            case RmsNorm(x, weight, eps, out):
                self._set(out, rms_norm(values[x.index], weight, eps))
            case Linears(x, weights, outs):
                for packed, out in zip(weights, outs, strict=True):
                    self._set(out, self.owner.linear(packed, values[x.index]))
            case LinearAdd(x, packed, residual):
                self._set(residual, values[residual.index] + self.owner.linear(packed, values[x.index]))
            case Rope(x):
                self._set(x, self._rope(step))
            case Attention(out=out):
                self._set(out, self._attention(step))
            case SwiGlu(gate, up, out):
                self._set(out, swiglu(values[gate.index], values[up.index]))
            case Add(x, y):
                self._set(x, values[x.index] + values[y.index])
            case _:
                raise TypeError(f"{type(step).__name__} is not a step that can be computed")

    def _attention(self, step: Attention) -> Array:
        end = self.start + len(self.tokens)
        keys, values = self.owner.cache(step.layer)
        keys[self.start : end] = self.values[step.k.index]
        values[self.start : end] = self.values[step.v.index]
        return attention(
            self.values[step.q.index],
            keys[:end],
            values[:end],
            head_dim=step.head_dim,
            scale=step.scale,
            committed=self.start,
            mask=self.mask,
            positions=self.positions,
            window=step.window,
            kv=self.owner.kv,
        )

    def _rope(self, step: Rope) -> Array:
        dtype = self.owner.dtype  # of the angles too: transformers multiplies in float32
        angles = self.positions[:, None].astype(dtype) * step.inverse_frequencies.astype(dtype)
        cos, sin = np.cos(angles) * step.attention_factor, np.sin(angles) * step.attention_factor
        return rope(self.values[step.x.index], cos, sin, step.x.width // step.head_dim)
