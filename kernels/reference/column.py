"""SpQR's column loop in float32, step by step as the scalar kernel does it: bits equal to it (`ops/column.h`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.packing.spqr_columns import Columns

Floats = npt.NDArray[np.float32]
_GROUP = 16  # columns that share a scale and a zero, and rows that share statistics
_CUTS = 8  # tried at each end of a range
_ONE = np.float32(1)


def quantize_columns(weight: Floats, feedback: Floats, importance: Floats, *, bits: int, price: float) -> Columns:
    """Codes, statistics and outliers of a weight under a Hessian R R^T, R upper. Arguments as `kernels.cpu.column`.

    Column c is rounded from its target, its weight plus sum over k < c of error[k] * feedback[c, k]; its cost is
    min(price, (target - value)^2 * importance[c]), and beyond the price it becomes an outlier.
    """
    out, width = weight.shape
    made = Columns.empty(out, width, bits)
    tiles = -(-out // _GROUP)
    # rows behind the last one do as it does: they cannot widen the statistics
    rows = np.minimum(np.arange(tiles * _GROUP), out - 1)
    work = np.ascontiguousarray(weight[rows].T)  # column, row
    targets, errors, total = work.copy(), np.zeros_like(work), np.zeros(tiles * _GROUP, np.float32)
    limit = np.float32(min(price, 3e38))
    for first in range(0, width, _GROUP):
        columns = slice(first, min(first + _GROUP, width))
        group = _Group(
            targets[columns],
            work[columns],
            importance[columns],
            feedback[columns, columns],
            np.float32(2**bits - 1),
            limit,
        )
        scale_codes, zero_codes, statistics = group.choose()
        codes, sparse, errors[columns], cost = group.encode(scale_codes, zero_codes, statistics)
        total = total + cost
        tile = first // _GROUP
        made.codes[:, columns] = codes.T[:out]
        made.sparse[:, columns] = sparse.T[:out]
        made.scale_codes[:, tile], made.zero_codes[:, tile] = scale_codes[:out], zero_codes[:out]
        made.statistics[:, tile] = statistics
        for k in range(first, columns.stop):
            targets[columns.stop :] += errors[k] * feedback[columns.stop :, k : k + 1]
    made.errors[:] = total[:out]
    return made


class _Group:
    """Sixteen columns (or the last few) of all rows; arrays are (column, row)."""

    def __init__(
        self, target: Floats, weight: Floats, importance: Floats, among: Floats, top: np.float32, price: np.float32
    ) -> None:
        self.target, self.weight, self.importance, self.among = target, weight, importance, among
        self.top, self.price = top, price

    def choose(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
        """Codes (rows,) of scales and zeros, and statistics (tiles, 4)."""
        scale, middle = self._own_range()
        ss, zs = _steps(scale)
        real = _snapped(scale, ss, zs)
        zero = np.maximum(0, np.minimum(self.top, np.float32(0.5) * self.top - middle * _inverse(real)))
        sz, zz = _steps(zero)
        statistics = np.stack([ss, sz, zs, zz], axis=1)
        best = np.full(scale.shape, 3e38, np.float32)
        scale_codes, zero_codes = np.zeros(best.shape, np.uint8), np.zeros(best.shape, np.uint8)
        for scale_code in range(8):
            for zero_code in range(8):
                codes = np.full(best.shape, scale_code), np.full(best.shape, zero_code)
                cost = self._true_cost(*_decoded(*codes, statistics))
                better = cost < best
                best[better] = cost[better]
                scale_codes[better], zero_codes[better] = scale_code, zero_code
        return scale_codes, zero_codes, statistics

    def encode(
        self, scale_codes: npt.NDArray[np.uint8], zero_codes: npt.NDArray[np.uint8], statistics: npt.NDArray[np.float16]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16], Floats, Floats]:
        """Codes, outliers and errors (column, row), and the cost of each row."""
        scale, zero = _decoded(scale_codes, zero_codes, statistics)
        inverse = _inverse(scale)
        codes, sparse = np.empty(self.target.shape, np.uint8), np.empty(self.target.shape, np.float16)
        error, cost = np.empty_like(self.target), np.zeros_like(scale)
        for i in range(len(self.target)):
            target = self._fed(i, error)
            code = self._nearest(target, inverse, zero)
            dense = scale * (code - zero)
            wrong = target - dense
            outlier = wrong * wrong * self.importance[i] > self.price
            sparse[i] = np.where(outlier, wrong, np.float32(0)).astype(np.float16)
            value = dense + sparse[i].astype(np.float32)  # as it will be decoded
            wrong = target - value
            error[i] = self.weight[i] - value
            cost += wrong * wrong * self.importance[i]
            codes[i] = code
        return codes, sparse, error, cost

    def _fed(self, i: int, error: Floats) -> Floats:
        target: Floats = self.target[i].copy()
        for j in range(i):
            target += error[j] * self.among[i, j]
        return target

    def _nearest(self, target: Floats, inverse: Floats, zero: Floats) -> Floats:
        code: Floats = np.rint(np.minimum(self.top, np.maximum(0, target * inverse + zero)))
        return code

    def _plain_cost(self, scale: Floats, zero: Floats) -> Floats:
        """Of each row, if the columns did not feed each other."""
        inverse, cost = _inverse(scale), np.zeros_like(scale)
        for target, importance in zip(self.target, self.importance, strict=True):
            wrong = target - scale * (self._nearest(target, inverse, zero) - zero)
            cost += np.minimum(wrong * wrong * importance, self.price)
        return cost

    def _true_cost(self, scale: Floats, zero: Floats) -> Floats:
        inverse, cost, error = _inverse(scale), np.zeros_like(scale), np.empty_like(self.target)
        for i in range(len(self.target)):
            target = self._fed(i, error)
            dense = scale * (self._nearest(target, inverse, zero) - zero)
            wrong = target - dense
            squared = wrong * wrong * self.importance[i]
            error[i] = self.weight[i] - np.where(squared > self.price, target, dense)
            cost += np.minimum(squared, self.price)
        return cost

    def _own_range(self) -> tuple[Floats, Floats]:
        """The scale that each row would choose for itself, and the middle of its range; a range includes 0."""
        low, high = np.minimum(self.target.min(0), 0), np.maximum(self.target.max(0), 0)
        best = np.full(low.shape, 3e38, np.float32)
        scale, middle = np.zeros_like(low), np.zeros_like(low)
        share = _ONE / self.top
        cuts = [_ONE - np.float32(0.1) * np.float32(cut) for cut in range(_CUTS)]
        for first in cuts:
            for last in cuts:
                start, end = low * first, high * last
                tried = (end - start) * share
                cost = self._plain_cost(tried, 0 - start * _inverse(tried))
                better = cost < best
                best[better], scale[better] = cost[better], tried[better]
                middle[better] = ((start + end) * np.float32(0.5))[better]
        return scale, middle


def _inverse(scale: Floats) -> Floats:
    tiny = np.float32(1e-30)
    found: Floats = np.where(scale < tiny, np.float32(0), _ONE / np.maximum(scale, tiny)).astype(np.float32)
    return found


def _steps(numbers: Floats) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]:
    """Step and zero (tiles,) of eight equal steps over the numbers (rows,) >= 0 of each tile."""
    tiles = numbers.reshape(-1, _GROUP)
    low, high = tiles.min(1), tiles.max(1)
    step = np.maximum((high - low) / np.float32(7), high * np.float32(1 / 64)).astype(np.float16)
    rounded = step.astype(np.float32)
    zero = np.divide(-low, rounded, out=np.zeros_like(low), where=rounded > 0).astype(np.float16)
    return step, zero


def _snapped(numbers: Floats, step: npt.NDArray[np.float16], zero: npt.NDArray[np.float16]) -> Floats:
    """The nearest of the eight steps of its tile, for each row."""
    steps, zeros = (np.repeat(array.astype(np.float32), _GROUP) for array in (step, zero))
    inverse = np.divide(_ONE, steps, out=np.zeros_like(steps), where=steps > 0)
    snapped: Floats = steps * (np.rint(np.minimum(7, np.maximum(0, numbers * inverse + zeros))) - zeros)
    return snapped


def _decoded(
    scale_codes: npt.NDArray[np.integer], zero_codes: npt.NDArray[np.integer], statistics: npt.NDArray[np.float16]
) -> tuple[Floats, Floats]:
    ss, sz, zs, zz = np.repeat(statistics.astype(np.float32), _GROUP, axis=0).T
    return ss * (scale_codes.astype(np.float32) - zs), sz * (zero_codes.astype(np.float32) - zz)
