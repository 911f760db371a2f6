"""8-bit weights: w = scale * q, q in -127..127, one f16 scale per row and group of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing.grouped import dequantized, group_count, quantized, unpacked
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

_ORDER = [0, 2, 1, 3]  # of the inputs of a quad; it is its own inverse


def pack(
    q: npt.NDArray[Any], scales: npt.NDArray[Any], group_size: int, *, bias: npt.ArrayLike | None = None
) -> PackedLinear:
    """Numbers (out, in) of -127..127 and scales (out, ceil(in / group_size)) in the kernels' layout.

    Raises:
        ValueError: shapes that do not fit, or scales beyond f16.
    """
    out, width = q.shape
    groups = group_count(width, group_size)
    laid = lay_scales(scales, groups)
    inputs = groups * group_size
    words = aligned((panels(out), inputs // 4, LANES), np.uint32)
    row_max = empty_row_max(out)
    for piece in pieces(out, inputs):
        numbers = padded(q, piece, inputs, 0, np.int8)
        quads = np.ascontiguousarray(numbers.reshape(-1, LANES, inputs // 4, 4)[..., _ORDER])
        words[piece] = quads.view("<u4")[..., 0].transpose(0, 2, 1)
        furthest = np.abs(numbers.astype(np.int16)).reshape(-1, LANES, groups, group_size).max(-1)
        largest = (furthest * np.abs(laid[piece].transpose(0, 2, 1).astype(np.float32))).max(-1).reshape(-1)
        row_max[piece.start * LANES : piece.stop * LANES] = largest
    buffers: dict[str, npt.NDArray[Any]] = {
        "data": words.view(np.int8).reshape(panels(out), inputs // 4, LANES, 4),
        "scales": laid,
        "row_max": row_max,
    }
    return finish("q8", out, width, {"group_size": group_size}, buffers, bias)


def unpack(packed: PackedLinear) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16]]:
    """Numbers (out, in) and scales (out, groups)."""
    return unpacked(packed, np.int8, _rows)


def _rows(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    quads = data.transpose(0, 2, 1, 3)[..., _ORDER]
    return quads.reshape(-1, quads.shape[2] * 4)


def dequantize(packed: PackedLinear) -> Floats:
    """The weights (out, in)."""
    return dequantized(packed, *unpack(packed))


def quantize(weight: npt.NDArray[Any], group_size: int, *, bias: npt.ArrayLike | None = None) -> PackedLinear:
    """Rounds weights (out, in) to nearest, without data; the largest of a group becomes 127."""
    q, scales = quantized(weight, group_size, np.int8, _round)
    return pack(q, scales, group_size, bias=bias)


def _round(columns: Floats) -> tuple[npt.NDArray[np.float32], Floats]:
    """Numbers and scales of groups that lie in columns, (group_size, m)."""
    scales = (np.maximum(columns.max(0), -columns.min(0)) / 127).astype(np.float16).astype(np.float32)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    return np.clip(np.rint(columns * inverse), -127, 127), scales
