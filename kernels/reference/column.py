"""SpQR's column loop in float32, step by step as the scalar kernel does it: bits equal to it (`ops/column.h`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.packing.spqr_columns import Columns

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Codes = npt.NDArray[np.uint8]
_GROUP = 16  # columns that share a scale and a zero, and rows that share statistics
_CUTS = 8  # tried at each end of a range
_ONE = np.float32(1)
_MOVES = ((1, 0), (0, -1), (-1, 0), (0, 1), (1, -1))  # of the lowest and the highest of eight steps


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

    def choose(self) -> tuple[Codes, Codes, Halves]:
        """Codes (rows,) of scales and zeros, and statistics (tiles, 4)."""
        now = self._best_of_all(self._spanning())
        for size in (1.0, 0.5):
            for first in (0, 1):  # scales, then zeros
                for move in _MOVES:
                    self._attempt(*_moved(now.statistics, first, np.float32(size), move), now)
            for _ in range(2):
                self._attempt(*self._refitted(now), now)
        last = self._best_of_all(now.statistics)
        better = _totals(last.cost) < now.totals
        now.take(last, better)
        return now.scale_codes.astype(np.uint8), now.zero_codes.astype(np.uint8), now.statistics

    def encode(self, scale_codes: Codes, zero_codes: Codes, statistics: Halves) -> tuple[Codes, Halves, Floats, Floats]:
        """Codes, outliers and errors (column, row), and the cost of each row."""
        ss, sz, zs, zz = statistics.T
        scale, zero = _decoded(scale_codes.astype(np.float32), ss, zs), _decoded(zero_codes.astype(np.float32), sz, zz)
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

    def _spanning(self) -> Halves:
        """Statistics that span what the rows would choose for themselves."""
        scale, middle = self._own_range()
        ss, zs = _steps(*_ends(scale))
        real = _decoded(_step_codes(scale, ss, zs), ss, zs)
        zero = np.maximum(0, np.minimum(self.top, np.float32(0.5) * self.top - middle * _inverse(real)))
        sz, zz = _steps(*_ends(zero))
        return np.stack([ss, sz, zs, zz], axis=1)

    def _best_of_all(self, statistics: Halves) -> _Choice:
        """The best of the 8 x 8 scales and zeros that a row can have."""
        numbers = np.arange(8, dtype=np.float32)
        tried = [(np.full(self.target.shape[1], a), np.full(self.target.shape[1], b)) for a in numbers for b in numbers]
        return self._best_of(statistics, tried)

    def _best_of(self, statistics: Halves, tried: list[tuple[Floats, Floats]]) -> _Choice:
        rows = self.target.shape[1]
        best = np.full(rows, 3e38, np.float32)
        codes = np.zeros((2, rows), np.float32)
        ss, sz, zs, zz = statistics.T
        for pair in tried:
            cost = self._true_cost(_decoded(pair[0], ss, zs), _decoded(pair[1], sz, zz))
            better = cost < best
            best[better] = cost[better]
            codes[0, better], codes[1, better] = pair[0][better], pair[1][better]
        return _Choice(statistics.copy(), codes[0], codes[1], best, _totals(best))

    def _attempt(self, statistics: Halves, possible: npt.NDArray[np.bool_], now: _Choice) -> None:
        """Takes other statistics, with the best of 3 x 3 codes near the present ones, where a tile gains by it."""
        now_ss, now_sz, now_zs, now_zz = now.statistics.T
        ss, sz, zs, zz = statistics.T
        scale = _step_codes(_decoded(now.scale_codes, now_ss, now_zs), ss, zs)
        zero = _step_codes(_decoded(now.zero_codes, now_sz, now_zz), sz, zz)
        around, zeros = (np.maximum(_ONE, np.minimum(np.float32(6), codes)) for codes in (scale, zero))
        steps = np.array([-1, 0, 1], np.float32)
        other = self._best_of(statistics, [(around + a, zeros + b) for a in steps for b in steps])
        now.take(other, possible & (other.totals < now.totals))

    def _refitted(self, now: _Choice) -> tuple[Halves, npt.NDArray[np.bool_]]:
        """Statistics that fit the targets best if every code stays, and where there are any."""
        ss, sz, zs, zz = now.statistics.T
        scale, zero = _decoded(now.scale_codes, ss, zs), _decoded(now.zero_codes, sz, zz)
        inverse, error = _inverse(scale), np.empty_like(self.target)
        of_codes, of_targets, every, of_zeros = (np.zeros_like(scale) for _ in range(4))
        for i in range(len(self.target)):
            target = self._fed(i, error)
            code = self._nearest(target, inverse, zero)
            length = code - zero
            dense = scale * length
            wrong = target - dense
            outlier = wrong * wrong * self.importance[i] > self.price
            error[i] = self.weight[i] - np.where(outlier, target, dense)
            counts = np.where(outlier, np.float32(0), self.importance[i])
            of_codes += counts * length * length
            of_targets += counts * length * target
            every += counts
            of_zeros += counts * (scale * code - target)
        scales = _fit_steps(of_targets * _inverse(of_codes), of_codes, now.scale_codes)
        zeros = _fit_steps(of_zeros * inverse * _inverse(every), every * scale * scale, now.zero_codes)
        found = now.statistics.copy()
        for place, (step, at, fits) in enumerate((scales, zeros)):
            found[fits, place], found[fits, 2 + place] = step[fits], at[fits]
        return found, scales[2] | zeros[2]

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


@dataclass
class _Choice:
    """Statistics (tiles, 4), codes and costs (rows,), and the costs of whole tiles (tiles,)."""

    statistics: Halves
    scale_codes: Floats
    zero_codes: Floats
    cost: Floats
    totals: Floats

    def take(self, other: _Choice, tiles: npt.NDArray[np.bool_]) -> None:
        rows = np.repeat(tiles, _GROUP)
        self.statistics[tiles], self.totals[tiles] = other.statistics[tiles], other.totals[tiles]
        for name in ("scale_codes", "zero_codes", "cost"):
            getattr(self, name)[rows] = getattr(other, name)[rows]


def _moved(
    statistics: Halves, which: int, size: np.float32, move: tuple[int, int]
) -> tuple[Halves, npt.NDArray[np.bool_]]:
    """Statistics whose scales (0) or zeros (1) begin and end a part of a step elsewhere, and where that is possible."""
    step, zero = statistics[:, which].astype(np.float32), statistics[:, 2 + which].astype(np.float32)
    low, high = step * (0 - zero), step * (7 - zero)
    low, high = low + size * step * np.float32(move[0]), high + size * step * np.float32(move[1])
    possible = (high > low) & ((low >= 0) if which == 0 else True)
    moved = statistics.copy()
    moved[:, which], moved[:, 2 + which] = _steps(np.where(possible, low, 0), np.where(possible, high, 1))
    return moved, possible


def _totals(numbers: Floats) -> Floats:
    """Of the sixteen rows of each tile, in the order of the kernels: halves, quarters, pairs."""
    tiles: Floats = numbers.reshape(-1, _GROUP)
    for half in (8, 4, 2, 1):
        tiles = tiles[:, :half] + tiles[:, half : 2 * half]
    return tiles[:, 0]


def _fit_steps(wanted: Floats, weight: Floats, code: Floats) -> tuple[Halves, Halves, npt.NDArray[np.bool_]]:
    """Step and zero (tiles,) for which step * (code - zero) is closest to what the rows want, where there are any."""
    weighted = weight * code
    w, c, cc, x, cx = (
        _totals(numbers) for numbers in (weight, weighted, weighted * code, weight * wanted, weighted * wanted)
    )
    determinant = w * cc - c * c
    fits = determinant > np.float32(1e-6) * (w * cc)
    with np.errstate(all="ignore"):
        slope = (w * cx - c * x) / determinant
        base = (x - slope * c) / w
        half = slope.astype(np.float16)
        at = -base / half.astype(np.float32)
        fits &= (half > 0) & (at <= 1) & (at >= -64)
        return half, at.astype(np.float16), fits


def _ends(numbers: Floats) -> tuple[Floats, Floats]:
    tiles = numbers.reshape(-1, _GROUP)
    return tiles.min(1), tiles.max(1)


def _steps(low: Floats, high: Floats) -> tuple[Halves, Halves]:
    """Step and zero (tiles,) of eight equal steps."""
    step = np.maximum((high - low) / np.float32(7), high * np.float32(1 / 64)).astype(np.float16)
    rounded = step.astype(np.float32)
    zero = np.divide(-low, rounded, out=np.zeros_like(low), where=rounded > 0).astype(np.float16)
    return step, zero


def _step_codes(numbers: Floats, step: Halves, zero: Halves) -> Floats:
    """Which of the eight steps of its tile is nearest, for each row."""
    steps, zeros = (np.repeat(array.astype(np.float32), _GROUP) for array in (step, zero))
    codes: Floats = np.rint(np.minimum(np.float32(7), np.maximum(0, numbers * _inverse(steps) + zeros)))
    return codes


def _decoded(codes: Floats, step: Halves, zero: Halves) -> Floats:
    """Scales or zeros (rows,)."""
    steps, zeros = (np.repeat(array.astype(np.float32), _GROUP) for array in (step, zero))
    return steps * (codes - zeros)
