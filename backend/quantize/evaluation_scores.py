"""What is read off two rows of logits: the next token's log-probability, KL, and whether the likeliest is the same.

Rows are compared one at a time, so that a row of 151,936 float32 and what is made of it stay in the caches; NumPy lets
go of the interpreter, so that rows are shared among threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kernels.program import Floats

__all__ = ["LOWEST", "Expected", "Scores", "compare", "expect", "join"]

#: log-probabilities are not stored lower than this: float16 ends at -65504, and exp of this is 0 in float32
LOWEST = -30000.0

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the reference says of some positions.

    Attributes:
        log_probabilities: (rows, n_vocab) float16, natural logarithms: 2^-11 of their size at most from the true ones,
            so the likely tokens have the smallest errors. A row sums to 1 but for that.
        surprise: (rows,) float32: -log p of the token that came, from the unrounded logits.
        likeliest: (rows,) int32: the token with the largest logit.
    """

    log_probabilities: npt.NDArray[np.float16]
    surprise: Floats
    likeliest: Ints


@dataclass(frozen=True, slots=True)
class Scores:
    """Of a build, at the same positions.

    Attributes:
        surprise: (rows,) float32: -log p of the token that came.
        kl: (rows,) float32: KL(reference || build) in nats, over the whole vocabulary.
        agrees: (rows,) bool: whether the likeliest token is the reference's.
    """

    surprise: Floats
    kl: Floats
    agrees: npt.NDArray[np.bool_]


Part = TypeVar("Part", Expected, Scores)


def expect(logits: Floats, targets: Ints, threads: int) -> Expected:
    """From the reference's logits.

    Args:
        logits: (rows, n_vocab) float32.
        targets: (rows,) the tokens that came.
        threads: that compute.
    """
    rows, width = logits.shape
    found = Expected(np.empty((rows, width), np.float16), np.empty(rows, np.float32), np.empty(rows, np.int32))

    def work(first: int, last: int) -> None:
        scratch = np.empty(width, np.float32)
        for row in range(first, last):
            logs, found.likeliest[row] = _log_softmax(logits[row], scratch)
            found.surprise[row] = -logs[targets[row]]
            np.maximum(logs, LOWEST, out=logs)
            found.log_probabilities[row] = logs

    _share(rows, threads, work)
    return found


def compare(expected: Expected, logits: Floats, targets: Ints, threads: int) -> Scores:
    """A build's logits beside what the reference says of the same positions.

    Args:
        expected: of as many rows.
        logits: (rows, n_vocab) float32.
        targets: (rows,) the tokens that came.
        threads: that compute.

    Raises:
        ValueError: other shapes.
    """
    rows, width = logits.shape
    if expected.log_probabilities.shape != logits.shape or len(targets) != rows:
        raise ValueError(f"{expected.log_probabilities.shape} and {logits.shape} cannot be compared")
    found = Scores(np.empty(rows, np.float32), np.empty(rows, np.float32), np.empty(rows, np.bool_))

    def work(first: int, last: int) -> None:
        ours, theirs, weights = (np.empty(width, np.float32) for _ in range(3))
        for row in range(first, last):
            logs, likeliest = _log_softmax(logits[row], ours)
            found.surprise[row] = -logs[targets[row]]
            found.agrees[row] = likeliest == expected.likeliest[row]
            theirs[:] = expected.log_probabilities[row]
            np.exp(theirs, out=weights)
            total = weights.sum(dtype=np.float64)  # 1, but for the rounding to float16
            np.subtract(theirs, logs, out=theirs)
            # never below 0 but by rounding
            found.kl[row] = max(float(np.dot(weights, theirs)) / total - float(np.log(total)), 0.0)

    _share(rows, threads, work)
    return found


def join(parts: Sequence[Part]) -> Part:
    """Positions one after the other."""
    kind = type(parts[0])
    return kind(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(kind)))


def _log_softmax(logits: npt.NDArray[np.float32], out: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], int]:
    """Of one row, into `out`; and the place of the largest."""
    likeliest = int(logits.argmax())
    np.subtract(logits, logits[likeliest], out=out)
    total = np.exp(out).sum(dtype=np.float64)
    np.subtract(out, np.float32(np.log(total)), out=out)
    return out, likeliest


def _share(rows: int, threads: int, work: Callable[[int, int], None]) -> None:
    """Calls `work(first, last)` for pieces that cover all rows."""
    threads = max(1, min(threads, rows))
    cuts = [rows * part // threads for part in range(threads + 1)]

    def quietly(first: int, last: int) -> None:
        with np.errstate(all="ignore"):  # the caller looks for what is no number
            work(first, last)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(quietly, cuts[:-1], cuts[1:]))
