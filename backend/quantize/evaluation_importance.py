"""How much each input of a linear matters, as llama.cpp's quantizer wants to know it: the mean of its square.

That is the diagonal of the Hessian that our own quantizers are given, over the same kind of text. It is taken from a
forward pass of single native operations, one context at a time from an empty cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.architectures import build
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from kernels.cpu import add, attention, linear, rms_norm, rope, swiglu
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
from kernels.reference import dequantize

__all__ = ["importance"]

#: linears, and the rows that they are given
Watch = Callable[[tuple[PackedLinear, ...], Floats], None]


def importance(
    model: Path, tokens: npt.NDArray[np.int32], *, threads: int, told: Callable[[int], None] = lambda _: None
) -> dict[str, Floats]:
    """The mean of the square of every input of the layers' linears.

    Args:
        model: a GGUF file or a Hugging Face folder.
        tokens: (contexts, length) int32; each context begins with an empty cache.
        threads: that compute.
        told: called with the tokens that were read, after each context.

    Returns:
        Module -> (in_features,) float32.

    Raises:
        ModelError: it is damaged, or of a kind that is not known here.
    """
    checkpoint = open_checkpoint(model)
    try:
        named = _Named(checkpoint)
        program = build(named).program
        sums: dict[str, npt.NDArray[np.float64]] = {}

        def watch(weights: tuple[PackedLinear, ...], x: Floats) -> None:
            squares = np.einsum("ij,ij->j", x, x, dtype=np.float64)
            for weight in weights:
                name = named.names[id(weight)]
                sums[name] = sums[name] + squares if name in sums else squares

        for row in tokens:
            _run(program, row, watch, threads)
            told(len(row))
        return {name: (total / tokens.size).astype(np.float32) for name, total in sums.items()}
    finally:
        checkpoint.close()


class _Named:
    """A checkpoint that knows its linears by what they are."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.config: Mapping[str, Any] = checkpoint.config
        self.names: dict[int, str] = {}
        self._kept: list[PackedLinear] = []  # so that an id stays its own

    def linear(self, module: str) -> PackedLinear:
        packed = self._checkpoint.linear(module)
        self.names[id(packed)] = module
        self._kept.append(packed)
        return packed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._checkpoint, name)


def _run(program: Program, tokens: npt.NDArray[np.int32], watch: Watch, threads: int) -> None:
    """A forward pass up to the output layer."""
    values: dict[int, Floats] = {}

    def get(value: Value) -> Floats:
        return values[value.index]

    for step in program.steps:
        match step:
            case Embed(table, out, scale):
                values[out.index] = _rows(table, tokens) * np.float32(scale)
            case RmsNorm(x, weight, eps, out):
                values[out.index] = rms_norm(get(x), weight, eps)
            case Linears(x, weights, outs):
                watch(weights, get(x))
                for packed, out in zip(weights, outs, strict=True):
                    values[out.index] = linear(packed, get(x), threads=threads)
            case LinearAdd(x, packed, residual):
                watch((packed,), get(x))
                values[residual.index] = add(linear(packed, get(x), threads=threads), get(residual))
            case Rope(x, head_dim, frequencies, factor):
                angles = np.arange(len(tokens), dtype=np.float32)[:, None] * frequencies.astype(np.float32)
                values[x.index] = rope(get(x), np.cos(angles) * factor, np.sin(angles) * factor, x.width // head_dim)
            case Attention():
                values[step.out.index] = attention(
                    get(step.q),
                    get(step.k),
                    get(step.v),
                    head_dim=step.head_dim,
                    scale=step.scale,
                    committed=0,
                    window=step.window,
                    threads=threads,
                )
            case SwiGlu(gate, up, out):
                values[out.index] = swiglu(get(gate), get(up))
            case Add(x, y):
                values[x.index] = add(get(x), get(y))
            case Output():
                return


def _rows(table: PackedLinear, tokens: npt.NDArray[np.int32]) -> Floats:
    """(tokens, width): rows of the embedding, a slice of the table at a time."""
    from backend.quantize.recipes import dense_rows

    if table.scheme not in ("f32", "f16", "bf16"):
        return dequantize(table)[tokens]
    out = np.empty((len(tokens), table.in_features), np.float32)
    step = 4096
    for first in range(0, table.out_features, step):
        here = (tokens >= first) & (tokens < first + step)
        if here.any():
            out[here] = dequantize(dense_rows(table, first, step))[tokens[here] - first]
    return out
