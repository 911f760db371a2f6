"""Weights as numbers: f32, f16, bf16."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing.rows import (
    LANES,
    Floats,
    aligned,
    as_f16,
    empty_row_max,
    finish,
    padded,
    panels,
    pieces,
    rows_of,
    unpermuted,
)

_DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


def pack(weight: npt.NDArray[Any], scheme: str, *, bias: npt.ArrayLike | None = None) -> PackedLinear:
    """Weights (out, in) of any float type as f32, f16 or bf16 (rounded to nearest, ties to even).

    Raises:
        ValueError: another scheme, or numbers beyond the range of f16.
    """
    if scheme not in _DTYPES:
        raise ValueError(f"the scheme {scheme!r} for plain numbers; there are {', '.join(_DTYPES)}")
    out, width = weight.shape
    inputs = -(-width // 32) * 32
    data = aligned((panels(out), inputs, LANES), _DTYPES[scheme])
    buffers: dict[str, npt.NDArray[Any]] = {"data": data}
    if scheme != "f32":
        buffers["row_max"] = empty_row_max(out)
    for piece in pieces(out, inputs):
        block = padded(weight, piece, inputs, 0, np.float32).transpose(0, 2, 1)
        if scheme == "f32":
            data[piece] = block
            continue
        data[piece] = as_f16(block) if scheme == "f16" else _to_bf16(block)
        rows = slice(piece.start * LANES, piece.stop * LANES)
        buffers["row_max"][rows] = np.abs(_numbers(data[piece], scheme)).max(1).reshape(-1)
    return finish(scheme, out, width, {}, buffers, bias)


def dequantize(packed: PackedLinear) -> Floats:
    """The weights (out, in)."""
    out, width = packed.out_features, packed.in_features
    weights = np.empty((out, width), np.float32)
    for piece in pieces(out, packed.in_padded):
        rows = rows_of(piece, out)
        numbers = _numbers(packed.buffers["data"][piece], packed.scheme).transpose(0, 2, 1)
        weights[rows] = numbers.reshape(-1, packed.in_padded)[: rows.stop - rows.start, :width]
    return unpermuted(packed, weights)


def _to_bf16(numbers: Floats) -> npt.NDArray[np.uint16]:
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def _numbers(data: npt.NDArray[Any], scheme: str) -> Floats:
    if scheme == "bf16":
        return (data.astype(np.uint32) << 16).view(np.float32)
    return data.astype(np.float32)
