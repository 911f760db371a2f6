"""SpQR without data: rounding to nearest with two levels of statistics (arXiv 2306.03078, without its Hessian)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packing.rows import LANES, Floats, as_f16, padded, pieces, rows_of
from kernels.packing.spqr import TILE, SpqrParts, statistics_of

_TOP = 7  # of 3-bit first-level codes


def rounded(weight: npt.NDArray[Any], bits: int, outlier_fraction: float) -> SpqrParts:
    """Codes of weights (out, in) in 3 or 4 bits.

    The outliers are the weights whose absence narrows the range of their 16 inputs most, at most the largest and the
    smallest of each 16; the ranges are then those of the others, and the codes use the statistics as they are stored.

    Raises:
        ValueError: a fraction outside 0..0.125.
    """
    if not 0 <= outlier_fraction <= 0.125:
        raise ValueError(f"{outlier_fraction} of the weights as outliers; 0 to 0.125 are possible")
    out, width = weight.shape
    tiles = -(-width // TILE)
    codes = np.empty((out, width), np.uint8)
    first_level = np.empty((2, out, tiles), np.uint8)
    statistics = np.empty((-(-out // TILE), tiles, 4), np.float16)
    counts = np.zeros(out + 1, np.int64)
    columns, values = [], []
    for piece in pieces(out, tiles * TILE):
        rows = rows_of(piece, out)
        count = rows.stop - rows.start
        groups = padded(weight, piece, tiles * TILE, 0, np.float32).reshape(-1, tiles, TILE)
        chosen = _outliers(groups, round(outlier_fraction * count * width))
        s, z, second = _statistics(np.where(chosen, np.float32(0), groups), bits)
        found = statistics_of(s, z, second)
        inverse = np.divide(1, found[0], out=np.zeros_like(found[0]), where=found[0] != 0)
        q = np.clip(np.rint(groups * inverse[..., None] + found[1][..., None]), 0, 2**bits - 1)
        dense = found[0][..., None] * (q - found[1][..., None])
        codes[rows] = q.astype(np.uint8).reshape(-1, tiles * TILE)[:count, :width]
        first_level[0, rows], first_level[1, rows] = s[:count], z[:count]
        statistics[piece] = second
        where = np.nonzero(chosen.reshape(-1, tiles * TILE)[:count, :width])
        counts[rows.start + 1 : rows.stop + 1] = np.bincount(where[0], minlength=count)
        columns.append(where[1].astype(np.uint16))
        values.append(as_f16((groups - dense).reshape(-1, tiles * TILE)[where]))
    return SpqrParts(
        bits=bits,
        codes=codes,
        scale_codes=first_level[0],
        zero_codes=first_level[1],
        statistics=statistics,
        outlier_rows=np.cumsum(counts).astype(np.int32),
        outlier_cols=np.concatenate(columns) if columns else np.empty(0, np.uint16),
        outlier_vals=np.concatenate(values) if values else np.empty(0, np.float16),
    )


def _outliers(groups: Floats, count: int) -> npt.NDArray[np.bool_]:
    """The `count` weights of groups (rows, tiles, 16) whose absence narrows the range of their group most."""
    if not count:
        return np.zeros(groups.shape, np.bool_)
    columns = np.ascontiguousarray(groups.reshape(-1, TILE).T)  # reductions along the first axis are fast
    index = np.arange(columns.shape[1])
    places, ends, seconds = [], [], []
    for extreme, argument, nothing in ((np.max, columns.argmax(0), -np.inf), (np.min, columns.argmin(0), np.inf)):
        end = columns[argument, index]
        columns[argument, index] = nothing
        places.append(index * TILE + argument)
        ends.append(end)
        seconds.append(extreme(columns, axis=0))
        columns[argument, index] = end
    high, low = np.maximum(ends[0], 0), np.minimum(ends[1], 0)
    span = (high - low) ** 2
    gains = np.concatenate(
        [span - (np.maximum(seconds[0], 0) - low) ** 2, span - (high - np.minimum(seconds[1], 0)) ** 2]
    )
    best = np.argpartition(gains, len(gains) - count)[len(gains) - count :]
    chosen = np.zeros(groups.size, np.bool_)
    chosen[np.concatenate(places)[best[gains[best] > 0]]] = True
    return chosen.reshape(groups.shape)


def _statistics(
    groups: Floats, bits: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """First-level codes (rows, tiles) of scales and zeros, and second-level statistics (rows / 16, tiles, 4).

    The range of a group includes 0: a zero then lies in 0 .. 2^bits - 1, so one group far from 0 cannot spoil the zeros
    of the other 15 rows of its tile.
    """
    low, high = np.minimum(groups.min(-1), 0), np.maximum(groups.max(-1), 0)
    scale_codes, ss, zs = _second_level((high - low) / (2**bits - 1))
    second = np.stack([ss, ss, zs, zs], axis=-1)
    scales, _ = statistics_of(scale_codes, scale_codes, second)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)
    zero_codes, sz, zz = _second_level(np.clip(-low * inverse, 0, 2**bits - 1))
    return scale_codes, zero_codes, np.stack([ss, sz, zs, zz], axis=-1)


def _second_level(
    numbers: Floats,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    """Numbers >= 0 (rows, tiles) as scale * (code - zero) with one scale and zero per 16 rows."""
    tiles = numbers.reshape(-1, LANES, numbers.shape[-1])
    low, high = tiles.min(1), tiles.max(1)
    # at least 1/64 of the largest, so that the zero, -low / scale, is at most 64 and keeps its precision in f16
    scale = np.maximum((high - low) / _TOP, high / 64).astype(np.float16)
    step = scale.astype(np.float32)
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step != 0)
    zero = (-low * inverse).astype(np.float16)
    codes = np.clip(np.rint(tiles * inverse[:, None] + zero.astype(np.float32)[:, None]), 0, _TOP)
    return codes.astype(np.uint8).reshape(numbers.shape), scale, zero
