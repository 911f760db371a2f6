"""Blocks of a source model in torch: float32, differentiable, one block's weights at a time.

The steps are those of `graph.py`; what they compute is said in `kernels/program.py`. Attention is causal over each text
of a batch, from position 0 on: calibration needs no cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from backend.formats.checkpoint import Checkpoint
from backend.quantize.graph import Block, Graph
from backend.quantize.products import linear
from kernels.packed import PackedLinear
from kernels.program import Add, Attention, LinearAdd, Linears, RmsNorm, Rope, Step, SwiGlu
from kernels.reference import dequantize

__all__ = [
    "BlockWeights",
    "Watch",
    "embed",
    "is_added",
    "load_block",
    "run_block",
    "run_group",
    "table_rows",
    "tail_hidden",
]

Tensor = torch.Tensor
#: Told the linears that read an input, and the input: (tokens, in) float32.
Watch = Callable[[tuple[str, ...], Tensor], None]


@dataclass
class BlockWeights:
    """One block's numbers.

    Attributes:
        linears: module -> (out, in) float32.
        biases: module -> (out,) float32, of those that have one.
        norms: name -> (width,) float32.
    """

    linears: dict[str, Tensor]
    biases: dict[str, Tensor] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)

    def put(self, module: str, packed: PackedLinear) -> None:
        """Replaces a linear by what `packed` decodes to."""
        self.linears[module] = torch.from_numpy(dequantize(packed))


def load_block(checkpoint: Checkpoint, block: Block) -> BlockWeights:
    """Reads a block's weights from its source.

    Raises:
        ModelError: the file is damaged.
    """
    weights = BlockWeights({})
    for module in block.linears:
        packed = checkpoint.linear(module)
        weights.linears[module] = torch.from_numpy(dequantize(packed))
        if "bias" in packed.buffers:
            weights.biases[module] = torch.from_numpy(np.array(packed.buffers["bias"], np.float32))
    for name in block.norms:
        weights.norms[name] = torch.from_numpy(np.array(checkpoint.array(name), np.float32))
    return weights


def run_block(block: Block, weights: BlockWeights, x: Tensor, *, watch: Watch | None = None) -> Tensor:
    """The block's output.

    Args:
        block: what to compute.
        weights: with what; gradients reach all of them that ask for one.
        x: (texts, tokens, hidden) float32; left as it is.
        watch: told the inputs of each group of linears before they are computed.

    Returns:
        (texts, tokens, hidden) float32.
    """
    values = {block.residual: x}
    for step in block.steps:
        _run(step, block, weights, values, watch)
    return values[block.residual]


def run_group(block: Block, weights: BlockWeights, x: Tensor, group: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """What the linears of a group read, and what comes of it where it is added to something; nothing behind it.

    Args:
        block: what to compute.
        weights: with what.
        x: (texts, tokens, hidden) float32; left as it is.
        group: one of `block.inputs`.

    Returns:
        (texts * tokens, in) float32, and the sum, (texts * tokens, out); where nothing is added, the first again.
    """
    values = {block.residual: x}
    for step in block.steps:
        if isinstance(step, Linears | LinearAdd) and _group(block, step) == group:
            read = values[step.x.index]
            made = read
            if isinstance(step, LinearAdd):
                _run(step, block, weights, values, None)
                made = values[step.residual.index]
            return read.reshape(-1, read.shape[-1]), made.reshape(-1, made.shape[-1])
        _run(step, block, weights, values, None)
    raise ValueError(f"{group} is not in this block")


def is_added(block: Block, group: tuple[str, ...]) -> bool:
    """Whether what a group of linears gives is added to something, in the same step."""
    return any(isinstance(step, LinearAdd) and _group(block, step) == group for step in block.steps)


def _group(block: Block, step: Linears | LinearAdd) -> tuple[str, ...]:
    weights = step.weights if isinstance(step, Linears) else (step.weight,)
    return tuple(block.names.linear(one) for one in weights)


def embed(graph: Graph, table: PackedLinear, tokens: Tensor) -> Tensor:
    """(texts, tokens) integers -> (texts, tokens, hidden) float32, by rows of the dequantized table."""
    used, places = torch.unique(tokens, return_inverse=True)
    rows = torch.from_numpy(table_rows(table, used.numpy()))
    return rows[places] * graph.embed.scale


def tail_hidden(graph: Graph, x: Tensor, norm: Tensor | None = None) -> Tensor:
    """What the head reads: the final norm of (..., hidden). `norm`: other weights for it."""
    step = graph.tail[0]
    weight = torch.from_numpy(step.weight) if norm is None else norm
    return _rms_norm(x, weight, step.eps)


def table_rows(table: PackedLinear, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
    """(len(rows), in) float32: some rows of a table, of which only 64 at a time are unpacked."""
    out = np.empty((len(rows), table.in_features), np.float32)
    for first in np.unique(rows // 64 * 64):
        inside = (rows >= first) & (rows < first + 64)
        out[inside] = dequantize(_slab(table, int(first)))[rows[inside] - first]
    return out


def _slab(table: PackedLinear, first: int) -> PackedLinear:
    """64 rows: every buffer of a dense, q8 or q4 linear has panels of 16 rows, or rows, in a line."""
    count = min(64, table.out_features - first)
    buffers = {}
    for name, buffer in table.buffers.items():
        if name == "row_max":
            buffers[name] = buffer[first : first + 64]
        elif name != "bias":
            buffers[name] = buffer[first // 16 : -(-(first + count) // 16)]
    return PackedLinear(table.scheme, count, table.in_features, table.parameters, buffers)


def _run(step: Step, block: Block, weights: BlockWeights, values: dict[int, Tensor], watch: Watch | None) -> None:
    if isinstance(step, RmsNorm):
        norm = weights.norms[block.names.norm(step.weight)]
        values[step.out.index] = _rms_norm(values[step.x.index], norm, step.eps)
    elif isinstance(step, Linears):
        _linears(step.weights, [out.index for out in step.outs], step.x.index, block, weights, values, watch)
    elif isinstance(step, LinearAdd):
        before = values[step.residual.index]
        _linears((step.weight,), [step.residual.index], step.x.index, block, weights, values, watch)
        values[step.residual.index] = before + values[step.residual.index]
    elif isinstance(step, Rope):
        values[step.x.index] = _rope(values[step.x.index], step)
    elif isinstance(step, Attention):
        half = any(weight.dtype == torch.bfloat16 for weight in weights.linears.values())
        values[step.out.index] = _half_attention(values, step) if half else _attention(values, step)
    elif isinstance(step, SwiGlu):
        gate, up = values.pop(step.gate.index), values.pop(step.up.index)  # the widest: not kept longer than needed
        if gate.requires_grad or up.requires_grad:
            values[step.out.index] = functional.silu(gate) * up
        else:
            values[step.out.index] = functional.silu(gate, inplace=True).mul_(up)
    elif isinstance(step, Add):
        values[step.x.index] = values[step.x.index] + values[step.y.index]
    else:
        raise TypeError(f"{type(step).__name__} inside a block")


def _linears(
    placeholders: tuple[PackedLinear, ...],
    outs: list[int],
    x: int,
    block: Block,
    weights: BlockWeights,
    values: dict[int, Tensor],
    watch: Watch | None,
) -> None:
    modules = tuple(block.names.linear(placeholder) for placeholder in placeholders)
    read = values[x]
    if watch is not None:
        watch(modules, read.reshape(-1, read.shape[-1]))
    for module, out in zip(modules, outs, strict=True):
        values[out] = linear(read, weights.linears[module], weights.biases.get(module))


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    heads = _heads(x, len(weight))
    return (heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + eps) * weight).view(x.shape)


def _heads(x: Tensor, width: int) -> Tensor:
    """(..., heads * width) -> (..., heads, width)."""
    return x.reshape(*x.shape[:-1], -1, width)


def _rope(x: Tensor, step: Rope) -> Tensor:
    half = len(step.inverse_frequencies)
    places = torch.arange(x.shape[1], dtype=torch.float32)
    angle = places[:, None] * torch.from_numpy(np.asarray(step.inverse_frequencies, np.float32))
    cos, sin = (f(angle)[:, None] * step.attention_factor for f in (torch.cos, torch.sin))
    heads = _heads(x, step.head_dim)
    a, b, rest = heads[..., :half], heads[..., half : 2 * half], heads[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).flatten(-2)


def _attention(values: Mapping[int, Tensor], step: Attention) -> Tensor:
    q, k, v = (_heads(values[one.index], step.head_dim).transpose(1, 2) for one in (step.q, step.k, step.v))
    tokens = q.shape[2]
    mask = None
    if 0 < step.window < tokens:
        distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
        mask = (distance >= 0) & (distance < step.window)
    seen = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, scale=step.scale, enable_gqa=k.shape[1] != q.shape[1]
    )
    return seen.transpose(1, 2).flatten(-2)


#: queries in one piece: what lies above the diagonal is not computed, but for half of a piece
_QUERIES = 256


def _half_attention(values: Mapping[int, Tensor], step: Attention) -> Tensor:
    """As `_attention`, with factors of bfloat16: forwards and backwards in 50 ms where that takes 113 (1,024 tokens, 14
    heads of 64, 2 of keys; one Zen 5 core).
    """
    q, k, v = (_heads(values[one.index], step.head_dim).transpose(1, 2).bfloat16() for one in (step.q, step.k, step.v))
    texts, heads, tokens, width = q.shape
    few, shared = k.shape[1], heads // k.shape[1]
    k, v = k.reshape(-1, tokens, width), v.reshape(-1, tokens, width)
    place, pieces = torch.arange(tokens), []
    for first in range(0, tokens, _QUERIES):
        last = min(first + _QUERIES, tokens)
        start = max(0, first + 1 - step.window) if step.window > 0 else 0
        some = q[:, :, first:last].reshape(texts * few, shared * (last - first), width)
        distance = place[first:last, None] - place[start:last]
        hidden = distance < 0
        if step.window > 0:
            hidden |= distance >= step.window
        scores = torch.bmm(some, k[:, start:last].transpose(1, 2)).view(-1, last - first, last - start)
        scores = (scores.float() * step.scale).masked_fill(hidden, -torch.inf)
        weights = scores.softmax(-1).bfloat16().view(texts * few, -1, last - start)
        pieces.append(torch.bmm(weights, v[:, start:last]).view(texts, heads, last - first, width))
    return torch.cat(pieces, 2).transpose(1, 2).flatten(-2).float()
