"""4-bit weights: w = scale * (q - 8), q in 0..15, one f16 scale per row and group of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing.grouped import best_scales, dequantized, group_count, quantized, unpacked
from kernels.packing.rows import (
    LANES,
    Floats,
    aligned,
    empty_row_max,
    finish,
    lay_scales,
    padded,
    panels,
    pieces,
)

_MIDDLE = 8


def pack(
    q: npt.NDArray[Any], scales: npt.NDArray[Any], group_size: int, *, bias: npt.ArrayLike | None = None
) -> PackedLinear:
    """Codes (out, in) 0..15 and scales (out, ceil(in / group_size)) in the kernels' layout.

    Raises:
        ValueError: shapes that do not fit, or scales beyond f16.
    """
    out, width = q.shape
    groups = group_count(width, group_size)
    laid = lay_scales(scales, groups)
    inputs = groups * group_size
    words = aligned((panels(out), inputs // 8, LANES), np.uint32)
    row_max = empty_row_max(out)
    for piece in pieces(out, inputs):
        codes = padded(q, piece, inputs, _MIDDLE, np.uint8)
        quads = codes.view("<u4").reshape(-1, LANES, inputs // 8, 2)
        words[piece] = (quads[..., 0] & 0x0F0F0F0F | (quads[..., 1] & 0x0F0F0F0F) << 4).transpose(0, 2, 1)
        grouped = codes.reshape(-1, LANES, groups, group_size)
        furthest = np.maximum(grouped.max(-1).astype(np.int16) - _MIDDLE, _MIDDLE - grouped.min(-1).astype(np.int16))
        largest = (furthest * np.abs(laid[piece].transpose(0, 2, 1).astype(np.float32))).max(-1).reshape(-1)
        row_max[piece.start * LANES : piece.stop * LANES] = largest
    buffers: dict[str, npt.NDArray[Any]] = {
        "data": words.view(np.uint8).reshape(panels(out), inputs // 8, LANES, 4),
        "scales": laid,
        "row_max": row_max,
    }
    return finish("q4", out, width, {"group_size": group_size}, buffers, bias)


def unpack(packed: PackedLinear) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """Codes (out, in) and scales (out, groups)."""
    return unpacked(packed, np.uint8, _rows)


def _rows(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    words = np.ascontiguousarray(data).view("<u4")[..., 0].transpose(0, 2, 1)
    quads = np.stack([words & 0x0F0F0F0F, words >> 4 & 0x0F0F0F0F], axis=-1)
    return quads.view(np.uint8).reshape(-1, words.shape[-1] * 8)


def dequantize(packed: PackedLinear) -> Floats:
    """The weights (out, in)."""
    return dequantized(packed, *unpack(packed), zero=_MIDDLE)


def quantize(weight: npt.NDArray[Any], group_size: int, *, bias: npt.ArrayLike | None = None) -> PackedLinear:
    """Rounds weights (out, in) to nearest, without data.

    Of four scales per group, which put the largest number at -8 to -6.5, the one with the least squared error.
    """
    q, scales = quantized(weight, group_size, np.uint8, _round)
    return pack(q, scales, group_size, bias=bias)


def _round(columns: Floats) -> tuple[npt.NDArray[np.float32], Floats]:
    """Codes and scales of groups that lie in columns, (group_size, m)."""
    largest = np.where(columns.max(0) >= -columns.min(0), columns.max(0), columns.min(0))
    scales = best_scales(columns, [largest / -end for end in (8.0, 7.5, 7.0, 6.5)], -_MIDDLE, _MIDDLE - 1)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    return np.clip(np.rint(columns * inverse), -_MIDDLE, _MIDDLE - 1) + _MIDDLE, scales
