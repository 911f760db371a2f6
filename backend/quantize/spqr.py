"""SpQR with a Hessian: act-order, error feedback, two levels of statistics, outliers by what they save.

After arXiv 2306.03078. The loop over columns is native (`kernels/cpu/ops/column.h`); here is what it needs: the order
of the columns, one Cholesky factor, and the price of an outlier.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backend.api.errors import InvalidModelFileError
from backend.quantize.cholesky import Latest, lower_factor, reordered, turn_over
from backend.quantize.layer import LinearTask, Quantized, Stop, relative_error
from kernels.cpu.column import quantize_columns
from kernels.packing import spqr
from kernels.packing.spqr import TILE, SpqrParts
from kernels.packing.spqr_columns import Columns

__all__ = ["Feedback", "damping_of", "feedback_of", "quantize_spqr", "spqr_parts"]

#: Price of an outlier by bits, as a part of the mean of squared weight times importance.
TAU = {3: 0.3, 4: 0.4}
#: Most bits a weight for outliers, as they are packed (32 bits each, and lanes that are filled up).
BUDGET = {3: 0.22, 4: 0.02}
#: Tiles of 16 rows on which the price is found.
_SAMPLE = 8


@dataclass(frozen=True, slots=True)
class Feedback:
    """What all linears of one input share: the damped Hessian in the order of visiting is R R^T, R upper.

    Attributes:
        perm: (in,) int64: column j is input perm[j]. Whole groups of 16 by falling energy, so that what is cheap to get
            wrong comes last. Neighbours stay together: single columns by energy are no better (0.96 to 1.03 of the
            error at 3 bits), and a source that was quantized in blocks is met in its own steps (half the error at 4).
        matrix: (in, in) float32: [c, k] = R[k, c] / R[c, c] for k < c; nothing of use elsewhere.
        importance: (in,) float32: R[c, c] squared.
    """

    perm: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float32]
    importance: npt.NDArray[np.float32]


_LATEST: Latest[Feedback] = Latest()


def damping_of(tokens: int, width: int) -> float:
    """What is added to the Hessian's diagonal, as a part of its mean: more where few tokens say little."""
    return 0.1 if tokens >= 8 * width else 0.3


def feedback_of(hessian: torch.Tensor, damping: float = 0.1) -> Feedback:
    """Of a Hessian (in, in) float32; it holds one more matrix of that size.

    Raises:
        InvalidModelFileError: numbers that are not finite, or a matrix that is no sum of squares.
    """
    diagonal = hessian.diagonal()
    mean = float(diagonal.mean(dtype=torch.float64))
    if not np.isfinite(mean):
        raise InvalidModelFileError(
            "This model cannot be compressed.",
            why="It computes numbers that are not finite from the calibration text.",
            remedy="The file is probably damaged. Download it again, or choose another one.",
        )
    order = _by_energy(diagonal)
    backwards = order.flip(0)
    for _ in range(6):
        matrix = reordered(hessian, backwards)
        # an input that is always zero, in all of them: plain rounding
        matrix.diagonal().add_(damping * mean if mean > 0 else 1.0)
        if lower_factor(matrix):
            break
        damping = max(10 * damping, 1e-3)  # rounding made it indefinite
    else:
        raise InvalidModelFileError(
            "This model cannot be compressed.",
            why="What it computes from the calibration text is no sum of squares.",
            remedy="Use another calibration text.",
        )
    turn_over(matrix)  # backwards it is R, and that is transposed
    roots = matrix.diagonal().clone()
    matrix /= roots[:, None]
    return Feedback(order.numpy(), matrix.numpy(), (roots * roots).numpy())


def _by_energy(diagonal: torch.Tensor) -> torch.Tensor:
    """Whole groups of 16 inputs by falling energy; the last few that are no group stay last."""
    whole = len(diagonal) // TILE * TILE
    groups = torch.argsort(diagonal[:whole].reshape(-1, TILE).sum(1), descending=True, stable=True)
    inside = groups[:, None] * TILE + torch.arange(TILE)
    return torch.cat([inside.reshape(-1), torch.arange(whole, len(diagonal))])


def quantize_spqr(
    task: LinearTask,
    *,
    bits: int,
    tau: float | None = None,
    budget: float | None = None,
    feedback: Feedback | None = None,
    stop: Stop = lambda: False,
) -> Quantized:
    """A linear in 3 or 4 bits. Arguments as `spqr_parts`.

    Raises:
        InterruptedError: `stop` said so.
        InvalidModelFileError: weights or a Hessian that are not finite, or too large for half precision.
    """
    start = time.perf_counter()
    parts = spqr_parts(task, bits=bits, tau=tau, budget=budget, feedback=feedback, stop=stop)
    packed = spqr.pack(parts, bias=task.bias)
    return Quantized(packed, relative_error(task.weight, packed, task.hessian), time.perf_counter() - start)


def spqr_parts(
    task: LinearTask,
    *,
    bits: int,
    tau: float | None = None,
    budget: float | None = None,
    feedback: Feedback | None = None,
    stop: Stop = lambda: False,
) -> SpqrParts:
    """Codes, statistics and outliers of a linear.

    Args:
        task: the linear.
        bits: 3 or 4.
        tau: price of an outlier, as a part of the mean of squared weight times importance; None: TAU. The real one is
            higher where more outliers than the budget would be worth it.
        budget: most bits a weight for outliers; None: BUDGET.
        feedback: `feedback_of` the task's Hessian, where it is known from another linear with the same input.
        stop: asked between the stages.
    """
    largest = float(task.weight.abs().max())
    if not largest <= 65504.0:  # NaN included
        raise InvalidModelFileError(
            "This model's weights cannot be compressed.",
            why=f"{task.module} has weights that are not numbers, or too large for half precision.",
            remedy="The file is probably damaged. Download it again, or choose another one.",
        )
    if feedback is None:
        damping = damping_of(task.tokens, task.weight.shape[1])
        feedback = _LATEST.get(task.hessian, damping, lambda: feedback_of(task.hessian, damping))
    _check(stop)
    weight = np.ascontiguousarray(task.weight.numpy()[:, feedback.perm])
    spread = np.square(weight).mean(axis=0) * feedback.importance
    price = (TAU[bits] if tau is None else tau) * float(spread.mean())
    price = _affordable(weight, feedback, bits, price, BUDGET[bits] if budget is None else budget, task)
    _check(stop)
    return _columns(weight, feedback, bits, price, task.threads).parts(feedback.perm)


def _columns(weight: npt.NDArray[Any], feedback: Feedback, bits: int, price: float, threads: int) -> Columns:
    return quantize_columns(weight, feedback.matrix, feedback.importance, bits=bits, price=price, threads=threads)


def _affordable(
    weight: npt.NDArray[np.float32], feedback: Feedback, bits: int, price: float, budget: float, task: LinearTask
) -> float:
    """The price, or the higher one at which the outliers of the sample take no more than the budget."""
    if budget <= 0 or price <= 0:
        return float("inf")
    random = np.random.default_rng(task.seed)
    tiles = np.sort(random.permutation(-(-len(weight) // TILE))[:_SAMPLE])
    sample = np.concatenate([weight[TILE * tile : TILE * (tile + 1)] for tile in tiles])

    def spent(price: float) -> float:
        packed = spqr.pack(_columns(sample, feedback, bits, price, task.threads).parts(None))
        return packed.buffers["outliers"].nbytes * 8 / sample.size

    if spent(price) <= budget:
        return price
    low, high = price, 2 * price
    while spent(high) > budget:
        low, high = high, 2 * high
    for _ in range(4):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if spent(middle) > budget else (low, middle)
    return high


def _check(stop: Stop) -> None:
    if stop():
        raise InterruptedError
