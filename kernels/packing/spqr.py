"""SpQR: 3- or 4-bit weights in tiles of 16 x 16 with quantized scales and zeros, plus sparse outliers.

w = s * (q - z) with s = ss * (cs - zs) and z = sz * (cz - zz); an outlier's value is added to what the codes say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing.outliers import lay_outliers, take_outliers
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

TILE = 16
_STEP = 32  # inputs whose 3-bit codes lie together


@dataclass(frozen=True)
class SpqrParts:
    """SpQR weights (out, in), not packed; columns are in the order after `perm`. Rows and inputs are padded by `pack`.

    Attributes:
        bits: of the codes, 3 or 4.
        codes: (out, in) u8.
        scale_codes, zero_codes: (out, ceil(in/16)) u8, 0..7.
        statistics: (ceil(out/16), ceil(in/16), 4) f16: ss, sz, zs, zz of each tile.
        outlier_rows: (out + 1,) i32: where the outliers of each row begin and end.
        outlier_cols: (n,) u16.
        outlier_vals: (n,) f16, value minus what the codes say.
        perm: (in,) u32 or None: input j of the weight is x[perm[j]].
    """

    bits: int
    codes: npt.NDArray[np.uint8]
    scale_codes: npt.NDArray[np.uint8]
    zero_codes: npt.NDArray[np.uint8]
    statistics: npt.NDArray[np.float16]
    outlier_rows: npt.NDArray[np.int32]
    outlier_cols: npt.NDArray[np.uint16]
    outlier_vals: npt.NDArray[np.float16]
    perm: npt.NDArray[np.uint32] | None = None


def pack(parts: SpqrParts, *, bias: npt.ArrayLike | None = None) -> PackedLinear:
    """The parts in the kernels' layout; the outliers of a row are sorted by column.

    Raises:
        ValueError: shapes that do not fit together, or statistics that are not finite.
    """
    out, width = parts.codes.shape
    _check(parts)
    inputs = -(-width // _STEP) * _STEP
    tiles = inputs // TILE
    planes = 3 if parts.bits == 3 else 4
    words = aligned((panels(out), inputs // _STEP, planes, LANES), np.uint32)
    levels = aligned((panels(out), tiles, 6), np.uint16)
    scales = aligned((panels(out), tiles, 4), np.float16)
    scales[:] = 0
    scales[:, : parts.statistics.shape[1]] = as_f16(parts.statistics)
    columns, values = _sorted_outliers(parts)
    row_max = empty_row_max(out)
    for piece in pieces(out, inputs):
        codes = padded(parts.codes, piece, inputs, 0, np.uint8)
        words[piece] = _lay_codes(codes, parts.bits)
        levels[piece, :, :3] = _lay_levels(padded(parts.scale_codes, piece, tiles, 0, np.uint8))
        levels[piece, :, 3:] = _lay_levels(padded(parts.zero_codes, piece, tiles, 0, np.uint8))
        rows = rows_of(piece, out)
        row_max[rows] = np.abs(_numbers(parts, rows, columns, values)).max(1)
    buffers: dict[str, npt.NDArray[Any]] = {
        "data": words.view(np.uint8).reshape(
            (panels(out), inputs // _STEP, 192) if parts.bits == 3 else (panels(out), inputs // 8, LANES, 4)
        ),
        "levels": levels,
        "scales": scales,
        "row_max": row_max,
        **lay_outliers(parts.outlier_rows, columns, values),
    }
    if parts.perm is not None:
        buffers["perm"] = np.ascontiguousarray(parts.perm, np.uint32)
    return finish("spqr", out, width, {"bits": parts.bits}, buffers, bias)


def unpack(packed: PackedLinear) -> SpqrParts:
    """The parts, without padding."""
    out, width, inputs = packed.out_features, packed.in_features, packed.in_padded
    buffers, bits = packed.buffers, packed.parameters["bits"]
    codes = np.empty((out, width), np.uint8)
    for piece in pieces(out, inputs):
        rows = rows_of(piece, out)
        words = np.ascontiguousarray(buffers["data"][piece]).view("<u4").reshape(-1, inputs // _STEP, bits, LANES)
        codes[rows] = _take_codes(words, bits)[: rows.stop - rows.start, :width]
    tiles = -(-width // TILE)
    sparse = take_outliers(buffers["outlier_steps"], buffers["outlier_lanes"], buffers["outliers"], out)
    scale_codes, zero_codes = (_take_levels(buffers["levels"][:, :tiles, half]) for half in (slice(3), slice(3, 6)))
    return SpqrParts(
        bits=bits,
        codes=codes,
        scale_codes=scale_codes[:out],
        zero_codes=zero_codes[:out],
        statistics=buffers["scales"][:, :tiles],
        outlier_rows=sparse[0],
        outlier_cols=sparse[1],
        outlier_vals=sparse[2],
        perm=buffers.get("perm"),
    )


def dequantize(packed: PackedLinear) -> Floats:
    """The weights (out, in), columns in the order of the inputs."""
    parts = unpack(packed)
    weights: Floats = np.empty(parts.codes.shape, np.float32)
    for piece in pieces(packed.out_features, packed.in_features):
        rows = rows_of(piece, packed.out_features)
        weights[rows] = _numbers(parts, rows, parts.outlier_cols, parts.outlier_vals)
    return unpermuted(packed, weights)


def quantize(
    weight: npt.NDArray[Any], bits: int, outlier_fraction: float, *, bias: npt.ArrayLike | None = None
) -> PackedLinear:
    """Rounds weights (out, in) to nearest, without data (see spqr_round)."""
    from kernels.packing.spqr_round import rounded

    return pack(rounded(weight, bits, outlier_fraction), bias=bias)


def statistics_of(
    scale_codes: npt.NDArray[np.uint8], zero_codes: npt.NDArray[np.uint8], statistics: npt.NDArray[np.float16]
) -> tuple[Floats, Floats]:
    """Scales and zeros (rows, tiles) of rows that begin with a tile."""
    second = np.repeat(statistics.astype(np.float32), TILE, 0)[: len(scale_codes)]
    scales = second[..., 0] * (scale_codes.astype(np.float32) - second[..., 2])
    return scales, second[..., 1] * (zero_codes.astype(np.float32) - second[..., 3])


def _numbers(parts: SpqrParts, rows: slice, columns: npt.NDArray[np.uint16], values: npt.NDArray[np.float16]) -> Floats:
    """Weights of rows that begin with a tile, columns as they lie."""
    width = parts.codes.shape[1]
    tiles = slice(rows.start // TILE, -(-rows.stop // TILE))
    scales, zeros = statistics_of(parts.scale_codes[rows], parts.zero_codes[rows], parts.statistics[tiles])
    spread, shift = (np.repeat(numbers, TILE, 1)[:, :width] for numbers in (scales, zeros))
    weights: Floats = spread * (parts.codes[rows].astype(np.float32) - shift)
    first, last = int(parts.outlier_rows[rows.start]), int(parts.outlier_rows[rows.stop])
    counts = np.diff(parts.outlier_rows[rows.start : rows.stop + 1])
    where = (np.repeat(np.arange(len(counts)), counts), columns[first:last].astype(np.int64))
    np.add.at(weights, where, values[first:last].astype(np.float32))
    return weights


def _lay_codes(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint32]:
    """Codes (panels, 16, inputs) as words [panels, inputs / 32, planes, 16]."""
    quads = codes.view("<u4").reshape(len(codes), LANES, -1, 2, 4)  # panel, lane, step, tile, quad
    if bits == 4:
        pairs: npt.NDArray[np.uint32] = quads[..., ::2] | quads[..., 1::2] << 4
        return pairs.reshape(len(codes), LANES, -1, 4).transpose(0, 2, 3, 1)
    laid: npt.NDArray[np.uint32] = np.zeros((*quads.shape[:3], 3), np.uint32)
    for tile in range(2):
        for quad in range(4):
            word = quads[..., tile, quad]
            laid[..., tile] |= (word & 0x03030303) << 2 * quad
            laid[..., 2] |= (word >> 2 & 0x01010101) << high_bit(tile, quad)
    return laid.transpose(0, 2, 3, 1)


def _take_codes(words: npt.NDArray[np.uint32], bits: int) -> npt.NDArray[np.uint8]:
    """What `_lay_codes` laid, as (panels * 16, inputs)."""
    words = words.transpose(0, 3, 1, 2)  # panel, lane, step, plane
    quads = np.empty((*words.shape[:3], 2, 4), np.uint32)
    for tile in range(2):
        for quad in range(4):
            if bits == 4:
                quads[..., tile, quad] = words[..., 2 * tile + quad // 2] >> 4 * (quad % 2) & 0x0F0F0F0F
            else:
                high = words[..., 2] >> high_bit(tile, quad) & 0x01010101
                quads[..., tile, quad] = words[..., tile] >> 2 * quad & 0x03030303 | high << 2
    return quads.view(np.uint8).reshape(len(words) * LANES, -1)


def high_bit(tile: int, quad: int) -> int:
    """The bit of the third plane's bytes that holds the high bits of a quad of inputs."""
    return 4 * (quad // 2) + 2 * tile + quad % 2


def _lay_levels(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """3-bit codes (panels, 16, tiles) as 48 bits [panels, tiles, 3], row r's at bit 3r."""
    shifts = np.arange(0, 3 * LANES, 3, dtype=np.uint64)
    bits = np.bitwise_or.reduce(codes.transpose(0, 2, 1).astype(np.uint64) << shifts, axis=-1)
    return np.ascontiguousarray(bits).view("<u2").reshape(*bits.shape, 4)[..., :3]


def _take_levels(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """What `_lay_levels` laid, as (panels * 16, tiles)."""
    bits = (words.astype(np.uint64) << np.array([0, 16, 32], np.uint64)).sum(-1, dtype=np.uint64)
    shifts = np.arange(0, 3 * LANES, 3, dtype=np.uint64)
    codes: npt.NDArray[np.uint8] = (bits[:, None, :] >> shifts[:, None] & np.uint64(7)).astype(np.uint8)
    return codes.reshape(-1, words.shape[1])


def _sorted_outliers(parts: SpqrParts) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float16]]:
    columns = np.ascontiguousarray(parts.outlier_cols, np.uint16)
    values = np.ascontiguousarray(as_f16(parts.outlier_vals))
    rows = np.repeat(np.arange(len(parts.codes), dtype=np.int64), np.diff(parts.outlier_rows))
    keys = rows << 16 | columns
    if (keys[1:] < keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        columns, values = columns[order], values[order]
    return columns, values


def _check(parts: SpqrParts) -> None:
    out, width = parts.codes.shape
    tiles = -(-width // TILE)
    if parts.bits not in (3, 4):
        raise ValueError(f"SpQR of {parts.bits} bits; there are 3 and 4")
    if parts.scale_codes.shape != (out, tiles) or parts.zero_codes.shape != (out, tiles):
        raise ValueError(f"first-level codes of shape {parts.scale_codes.shape} for {out} x {tiles}")
    if parts.statistics.shape != (-(-out // TILE), tiles, 4):
        raise ValueError(f"statistics of shape {parts.statistics.shape} for {-(-out // TILE)} x {tiles} tiles")
    rows, count = parts.outlier_rows, len(parts.outlier_cols)
    if rows.shape != (out + 1,) or rows[0] != 0 or rows[-1] != count or (np.diff(rows) < 0).any():
        raise ValueError("outlier rows that do not cover the outliers")
    if len(parts.outlier_vals) != count or (count and int(parts.outlier_cols.max()) >= width):
        raise ValueError("outliers without a value or beyond the inputs")
    if parts.perm is not None and parts.perm.shape != (width,):
        raise ValueError(f"an order of {parts.perm.shape} inputs for {width}")
