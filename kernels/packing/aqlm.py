"""AQLM linears in the layout of the kernels: codes in tiles, codebooks and row scales (../cpu/layout.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear

Codes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]

#: Inputs per code that the kernels know.
GROUPS = (8, 16)
#: Inputs of a block, which lies in one run for all rows.
BLOCK = 128
#: Inputs that the layout is padded to.
_UNIT = 32
#: Rows that the layout is padded to.
_ROWS = 64
#: Rows dequantized at a time, so that what is gathered per codebook stays small.
_DEQUANTIZED_ROWS = 512


@dataclass(frozen=True, slots=True)
class Tile:
    """Some rows of one block of inputs.

    Attributes:
        rows: of the weight (the last ones may be padding).
        codes: of each row (the last ones may be padding).
        place: in the buffer, as (codes, rows).
    """

    rows: slice
    codes: slice
    place: slice

    def of(self, data: Codes) -> Codes:
        """The tile (codes, rows) in the buffer."""
        return data[self.place].reshape(self.codes.stop - self.codes.start, self.rows.stop - self.rows.start)


def _chunks(out_features: int) -> Iterator[tuple[int, int]]:
    """First row and rows of each chunk: 256 while they last, then one of 128, then 64 (the last one padded)."""
    first = 0
    while first < out_features:
        left = out_features - first
        rows = 256 if left >= 256 else 128 if left >= 128 else _ROWS
        yield first, rows
        first += rows


def tiles(out_features: int, in_padded: int, per_unit: float) -> Iterator[Tile]:
    """Where the codes lie, in the order of the memory: block by block of inputs, and chunk by chunk of rows in it.

    Args:
        out_features: rows.
        in_padded: inputs, a multiple of 32.
        per_unit: inputs over codes of a row: g / K.
    """
    place = 0
    for start in range(0, in_padded, BLOCK):
        codes = slice(round(start / per_unit), round(min(start + BLOCK, in_padded) / per_unit))
        for first, rows in _chunks(out_features):
            yield Tile(
                slice(first, first + rows), codes, slice(place, place := place + rows * (codes.stop - codes.start))
            )


def pack(
    codes: npt.ArrayLike,
    codebooks: npt.ArrayLike,
    scales: npt.ArrayLike,
    *,
    bias: npt.ArrayLike | None = None,
    in_features: int | None = None,
) -> PackedLinear:
    """Lays out w[o, j * g + i] = scales[o] * sum_k codebooks[k, codes[o, j, k], i].

    Args:
        codes: (out, in / g, K) unsigned integers below 2^bits.
        codebooks: (K, 2^bits, g) numbers, kept as float16; bits 1..16, g 8 or 16.
        scales: (out,) numbers, kept as float16.
        bias: (out,) numbers, kept as float32.
        in_features: where the last group is not full.

    Raises:
        ValueError: shapes that do not fit together, a code without an entry, a number that float16 cannot hold.
    """
    given = np.asarray(codes)
    books = _halves(codebooks, "codebook")
    if given.ndim != 3 or books.ndim != 3 or given.shape[2] != books.shape[0]:
        raise ValueError(f"codes of shape {given.shape} for codebooks of shape {books.shape}")
    out, groups, count = given.shape
    entries, group = books.shape[1:]
    bits = entries.bit_length() - 1
    inputs = groups * group if in_features is None else in_features
    if group not in GROUPS or entries != 1 << bits or not 1 <= bits <= 16 or not count:
        raise ValueError(
            f"codebooks of shape {books.shape}: groups of 8 or 16 and a power of two up to 65536 are known"
        )
    if not out or inputs < 1 or -(-inputs // group) != groups:
        raise ValueError(f"codes of shape {given.shape} for {inputs} inputs in groups of {group}")
    if given.dtype.kind not in "ui" or int(given.min()) < 0 or int(given.max()) >= entries:
        raise ValueError(f"codes are integers from 0 to {entries - 1}")
    row_scales = np.zeros(-(-out // _ROWS) * _ROWS, np.float16)
    row_scales[:out] = _vector(_halves(scales, "scale"), out, "scales")
    units = -(-inputs // _UNIT) * _UNIT // group * count
    width = np.dtype(np.uint8 if bits <= 8 else np.uint16)
    data = np.zeros(units * row_scales.size, width)
    narrow = given.astype(width, copy=False).reshape(out, groups * count)
    for tile in tiles(out, units * group // count, group / count):
        part = narrow[tile.rows, tile.codes].T
        tile.of(data)[: part.shape[0], : part.shape[1]] = part
    buffers: dict[str, npt.NDArray[Any]] = {"data": data, "codebooks": books, "scales": row_scales}
    if bias is not None:
        buffers["bias"] = _vector(np.array(bias, np.float32), out, "bias")
    parameters = {"num_codebooks": count, "nbits_per_codebook": bits, "in_group_size": group}
    return PackedLinear("aqlm", out, inputs, parameters, buffers)


def unpack(packed: PackedLinear) -> tuple[Codes, Halves, Halves]:
    """The codes (out, in / g, K), codebooks (K, 2^bits, g) and scales (out,) that `pack` was given."""
    count, group = packed.parameters["num_codebooks"], packed.parameters["in_group_size"]
    out, groups = packed.out_features, -(-packed.in_features // group)
    data = packed.buffers["data"]
    codes: Codes = np.empty((out, groups * count), data.dtype)
    for tile in tiles(out, packed.in_padded, group / count):
        part = codes[tile.rows, tile.codes].T
        part[...] = tile.of(data)[: part.shape[0], : part.shape[1]]
    return codes.reshape(out, groups, count), packed.buffers["codebooks"], packed.buffers["scales"][:out]


def dequantize(packed: PackedLinear) -> Floats:
    """The weights as numbers, (out, in) float32."""
    codes, books, scales = unpack(packed)
    out, groups, count = codes.shape
    numbers = books.astype(np.float32)
    weights: Floats = np.empty((out, packed.in_features), np.float32)
    for first in range(0, out, _DEQUANTIZED_ROWS):
        rows = slice(first, first + _DEQUANTIZED_ROWS)
        total = numbers[0][codes[rows, :, 0]]
        for book in range(1, count):
            total += numbers[book][codes[rows, :, book]]
        total *= scales[rows].astype(np.float32)[:, None, None]
        weights[rows] = total.reshape(total.shape[0], groups * numbers.shape[2])[:, : packed.in_features]
    return weights


def _halves(numbers: npt.ArrayLike, name: str) -> Halves:
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(numbers, np.float16)
    if not np.isfinite(halves).all():
        raise ValueError(f"a {name} is not a finite number or too large for float16")
    return halves


def _vector(numbers: npt.NDArray[Any], length: int, name: str) -> npt.NDArray[Any]:
    if numbers.shape != (length,):
        raise ValueError(f"{name} of shape {numbers.shape} for {length} rows")
    return numbers
