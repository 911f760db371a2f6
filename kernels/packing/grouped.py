"""One scale per row and group of inputs: what q4 and q8 share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing.rows import Floats, padded, pieces, rows_of, unpermuted

GROUP_SIZES = (32, 64, 128)

#: Codes and scales of groups that lie in columns, (group_size, m): reductions along the first axis are fast.
Rounder = Callable[[Floats], tuple[npt.NDArray[np.float32], Floats]]


def group_count(width: int, group_size: int) -> int:
    """Groups of a row.

    Raises:
        ValueError: a size that the kernels do not have.
    """
    if group_size not in GROUP_SIZES:
        raise ValueError(f"groups of {group_size} inputs; they have {', '.join(map(str, GROUP_SIZES))}")
    return -(-width // group_size)


def quantized(
    weight: npt.NDArray[Any], group_size: int, dtype: npt.DTypeLike, rounder: Rounder
) -> tuple[npt.NDArray[Any], Floats]:
    """Codes (out, in) and scales (out, groups) of weights (out, in)."""
    out, width = weight.shape
    groups = group_count(width, group_size)
    codes = np.empty((out, width), dtype)
    scales = np.empty((out, groups), np.float32)
    for piece in pieces(out, groups * group_size):
        block = padded(weight, piece, groups * group_size, 0, np.float32)
        columns = np.ascontiguousarray(block.reshape(-1, group_size).T)
        rounded, found = rounder(columns)
        rows = rows_of(piece, out)
        count = rows.stop - rows.start
        codes[rows] = rounded.astype(dtype).T.reshape(-1, groups * group_size)[:count, :width]
        scales[rows] = found.reshape(-1, groups)[:count]
    return codes, scales


def unpacked(
    packed: PackedLinear, dtype: npt.DTypeLike, rows_from: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float16]]:
    """Codes (out, in) and scales (out, groups); `rows_from` takes some panels of `data` to rows of in_padded codes."""
    out, width, inputs = packed.out_features, packed.in_features, packed.in_padded
    codes = np.empty((out, width), dtype)
    for piece in pieces(out, inputs):
        rows = rows_of(piece, out)
        codes[rows] = rows_from(packed.buffers["data"][piece])[: rows.stop - rows.start, :width]
    groups = inputs // packed.parameters["group_size"]
    return codes, packed.buffers["scales"].transpose(0, 2, 1).reshape(-1, groups)[:out]


def dequantized(
    packed: PackedLinear, codes: npt.NDArray[Any], scales: npt.NDArray[np.float16], zero: int = 0
) -> Floats:
    """The weights (out, in), scale * (code - zero), columns in the order of the inputs."""
    weights = np.empty(codes.shape, np.float32)
    for piece in pieces(*codes.shape):
        rows = rows_of(piece, codes.shape[0])
        spread = np.repeat(scales[rows].astype(np.float32), packed.parameters["group_size"], 1)[:, : codes.shape[1]]
        weights[rows] = (codes[rows].astype(np.float32) - zero) * spread
    return unpermuted(packed, weights)


def best_scales(columns: Floats, candidates: Sequence[Floats], low: int, high: int) -> Floats:
    """The scale (m,) of each column with the least squared error of `scale * clip(rint(w / scale), low, high)`.

    Each candidate (m,) only decides the integers q: their best scale is sum(w q) / sum(q q), and what it takes off the
    squared error sum(w q)^2 / sum(q q). The result is a number of f16.
    """
    best = np.full(columns.shape[1], -1, np.float32)
    scales = np.zeros_like(best)
    for candidate in candidates:
        inverse = np.divide(1, candidate, out=np.zeros_like(candidate), where=candidate != 0)
        q = columns * inverse
        np.clip(np.rint(q, out=q), low, high, out=q)
        shared = np.einsum("gm,gm->m", columns, q)
        squares = np.einsum("gm,gm->m", q, q)
        fitted = np.divide(shared, squares, out=np.zeros_like(shared), where=squares != 0)
        gain = fitted * shared
        better = gain > best
        best[better], scales[better] = gain[better], fitted[better]
    return scales.astype(np.float16).astype(np.float32)
