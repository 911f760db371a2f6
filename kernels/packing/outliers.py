"""The outliers of SpQR in steps: in each, 16 lanes have one of them, a column and a value (kernels/cpu/layout.md)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.packing.rows import LANES, aligned

__all__ = ["lay_outliers", "take_outliers"]

#: what a second run costs beside its steps, in steps: its sums are handed over lane by lane
_SECOND_RUN = 8

Integers = npt.NDArray[np.int64]
#: rows (out + 1,) i32, columns (n,) u16, values (n,) f16
Sparse = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.float16]]


def lay_outliers(
    rows: npt.NDArray[np.int32], columns: npt.NDArray[np.uint16], values: npt.NDArray[np.float16]
) -> dict[str, npt.NDArray[np.generic]]:
    """Buffers `outlier_steps`, `outlier_lanes` and `outliers` from outliers sorted by row and column.

    Values of zero are left out: a zero is what fills a lane up.
    """
    out = len(rows) - 1
    row_of = np.repeat(np.arange(out), np.diff(rows))
    there = values != 0
    row_of, columns, values = row_of[there], columns[there], values[there]
    panels = -(-out // LANES)
    counts = np.bincount(row_of, minlength=panels * LANES).reshape(panels, LANES)
    first, second, lanes, lane_of = _runs(counts)
    steps = np.zeros(2 * panels + 1, np.int32)
    np.cumsum(np.stack([first, second], 1).reshape(-1), out=steps[1:])

    panel = row_of // LANES
    place = np.arange(len(row_of)) - np.concatenate([[0], np.cumsum(counts)])[row_of]
    left = place - first[panel]  # behind the first run, where it is not negative
    length = np.maximum(second[panel], 1)
    in_second = left >= 0
    step = np.where(in_second, steps[2 * panel + 1] + left % length, steps[2 * panel] + place)
    lane = np.where(in_second, lane_of.reshape(-1)[row_of] + left // length, row_of % LANES)

    laid = aligned((int(steps[-1]), 2, LANES), np.uint16)
    run_of = np.repeat(np.arange(2 * panels), np.diff(steps))
    ascending = np.repeat(run_of[:, None] << 16, LANES, 1)  # a lane that ends early repeats its last column
    ascending[step, lane] += columns
    laid[:, 0] = np.maximum.accumulate(ascending, 0) & 0xFFFF if len(ascending) else 0
    laid[:, 1] = 0
    laid[step, 1, lane] = values.view(np.uint16)
    return {"outlier_steps": steps, "outlier_lanes": lanes, "outliers": laid}


def take_outliers(
    steps: npt.NDArray[np.int32], lanes: npt.NDArray[np.uint8], laid: npt.NDArray[np.uint16], out: int
) -> Sparse:
    """What `lay_outliers` laid, sorted by row and column."""
    laid = laid.reshape(-1, 2, LANES)
    run = np.repeat(np.arange(len(steps) - 1), np.diff(steps))
    step, lane = np.nonzero(laid[:, 1] & 0x7FFF)
    panel = run[step] // 2
    row = panel * LANES + np.where(run[step] % 2, lanes.reshape(-1, LANES)[panel, lane], lane)
    columns, values = laid[step, 0, lane], laid[step, 1, lane].view(np.float16)
    order = np.argsort(row << 16 | columns, kind="stable")
    counts = np.bincount(row, minlength=out)[:out]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), columns[order], values[order]


def _runs(counts: Integers) -> tuple[Integers, Integers, npt.NDArray[np.uint8], Integers]:
    """Steps of the first and of the second run of each panel; rows of the second's lanes; each row's first lane there.

    Rows are very different in real weights: with one run only, 15 lanes would wait for the fullest.
    """
    first, second = counts.max(1), np.zeros(len(counts), np.int64)
    lanes = np.zeros(counts.shape, np.uint8)
    lane_of = np.zeros(counts.shape, np.int64)
    for panel in np.flatnonzero(first > counts.mean(1) + _SECOND_RUN):
        row = counts[panel]
        best, at = int(first[panel]), -1
        for length in np.unique([0, *row]):
            left = np.maximum(row - length, 0)
            extra = _length(left)
            if left.any() and length + extra + _SECOND_RUN < best:
                best, at = int(length) + extra + _SECOND_RUN, int(length)
        if at >= 0:
            left = np.maximum(row - at, 0)
            first[panel], second[panel] = at, _length(left)
            taken = -(-left // second[panel])
            lane_of[panel] = np.cumsum(taken) - taken
            rows = np.repeat(np.arange(LANES, dtype=np.uint8), taken)
            lanes[panel, : len(rows)] = rows
    return first, second, lanes, lane_of


def _length(left: Integers) -> int:
    """The fewest steps in which 16 lanes hold so many numbers of each row, a lane those of one row only."""
    length = max(1, -(-int(left.sum()) // LANES))
    while int((-(-left // length)).sum()) > LANES:
        length += 1
    return length
