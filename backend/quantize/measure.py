"""How far the next-token distributions of two executors, or of an executor and recorded logits, are apart.

Whole builds are measured by `evaluation`, whose `measure` and `Measured` stand here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.quantize.evaluation import Measured, measure
from kernels.program import Executor, Floats

__all__ = ["Measured", "kl", "logits_of", "mean_kl", "measure"]

#: rows that are compared at once: 64 rows of 150,000 tokens are 77 MB in float64
_ROWS = 64


def kl(reference: Executor | Floats, other: Executor | Floats, tokens: Sequence[int], *, rows: int = _ROWS) -> float:
    """The mean of KL(reference || other) over the positions of a text, in nats and float64.

    Args:
        reference: an executor, left as it was found; or logits, (len(tokens), n_vocab).
        other: the same.
        tokens: the text; an executor reads it behind what is committed.
        rows: tokens of one forward.
    """
    sides = [_Side(side) for side in (reference, other)]
    total = 0.0
    try:
        for start in range(0, len(tokens), rows):
            piece = tokens[start : start + rows]
            p, q = (side.logits(start, piece) for side in sides)
            total += mean_kl(p, q) * len(piece)
    finally:
        for side in sides:
            side.restore()
    return total / len(tokens)


def mean_kl(reference: Floats, other: Floats) -> float:
    """The mean over rows of KL(softmax(reference) || softmax(other)) in nats; (rows, n_vocab) logits, rows > 0.

    Raises:
        ValueError: the shapes differ, or there are no rows.
    """
    if reference.shape != other.shape or not reference.size:
        raise ValueError(f"logits of the shapes {reference.shape} and {other.shape} cannot be compared")
    total = 0.0
    for start in range(0, len(reference), _ROWS):
        p, q = (_log_softmax(side[start : start + _ROWS]) for side in (reference, other))
        total += float((np.exp(p) * (p - q)).sum())
    return total / len(reference)


def logits_of(executor: Executor, tokens: Sequence[int], *, rows: int = _ROWS) -> Floats:
    """(len(tokens), n_vocab) float32: of a text read behind what is committed; the executor is left as it was found."""
    side = _Side(executor)
    try:
        return np.concatenate(
            [side.logits(start, tokens[start : start + rows]) for start in range(0, len(tokens), rows)]
        )
    finally:
        side.restore()


class _Side:
    def __init__(self, source: Executor | Floats) -> None:
        self._source = source
        self._length = 0 if isinstance(source, np.ndarray) else source.length

    def logits(self, start: int, tokens: Sequence[int]) -> Floats:
        n = len(tokens)
        if isinstance(self._source, np.ndarray):
            return self._source[start : start + n]
        logits = self._source.forward(tokens, range(-1, n - 1), range(n)).copy()
        self._source.commit(range(n))
        return logits

    def restore(self) -> None:
        if not isinstance(self._source, np.ndarray):
            self._source.rewind(self._length)


def _log_softmax(x: Floats) -> npt.NDArray[np.float64]:
    wide = x.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide
