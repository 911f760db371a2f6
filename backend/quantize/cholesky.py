"""Cholesky factors of float32 in `products`' speed, made once for all linears that read the same input.

torch's own (MKL's) reaches 50 GFLOP in a second of a Zen 5 core, half of what its products do; panels of 256 columns
with products in between 100 at 4,096 columns.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Generic, TypeVar

import torch

from backend.quantize.products import product

__all__ = ["Latest", "divided", "lower_factor", "reordered", "turn_over"]

#: Columns of a panel: with 512 it takes 8 % longer, with 1,024 70 %.
_PANEL = 256
#: Columns of a step of `divided`.
_WIDE = 512
T = TypeVar("T")


def lower_factor(matrix: torch.Tensor) -> bool:
    """Replaces a symmetric matrix (n, n) float32, of which only the lower half is read, by L of L L^T, zeros above.

    Returns:
        False if it is not positive definite; what is in it then means nothing.
    """
    n = len(matrix)
    for first in range(0, n, _PANEL):
        last = min(first + _PANEL, n)
        panel = matrix[first:, first:last]
        if first:
            panel -= product(matrix[first:, :first], matrix[first:last, :first])
        top, failed = torch.linalg.cholesky_ex(panel[: last - first])
        if failed:
            return False
        panel[: last - first] = top
        if last < n:
            inverse = torch.linalg.solve_triangular(top, torch.eye(last - first), upper=False)
            panel[last - first :] = product(panel[last - first :], inverse)
        matrix[first:last, last:] = 0.0
    return True


def divided(rows: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Rows (m, n) times the inverse of L L^T, float32; `lower` from `lower_factor`."""
    n, found = len(lower), rows.clone()
    blocks = [(first, min(first + _WIDE, n)) for first in range(0, n, _WIDE)]
    inverses = []
    for first, last in blocks:
        if first:
            found[:, first:last] -= product(found[:, :first], lower[first:last, :first])
        inverse = torch.linalg.solve_triangular(lower[first:last, first:last], torch.eye(last - first), upper=False)
        found[:, first:last] = product(found[:, first:last], inverse)
        inverses.append(inverse)
    for (first, last), inverse in zip(reversed(blocks), reversed(inverses), strict=True):
        if last < n:
            found[:, first:last] -= product(found[:, last:], lower[last:, first:last].T)
        found[:, first:last] = product(found[:, first:last], inverse.T)
    return found


def reordered(matrix: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """A copy of (n, n) with rows and columns in another order, and no second one: of 18,944 inputs it is 1.4 GB."""
    found = torch.empty_like(matrix)
    for first in range(0, len(order), _WIDE):
        some = order[first : first + _WIDE]
        found[first : first + len(some)] = matrix.index_select(0, some).index_select(1, order)
    return found


def turn_over(matrix: torch.Tensor) -> None:
    """Mirrors (n, n) at its other diagonal, in place: [i, j] becomes what [n - 1 - j, n - 1 - i] was."""
    n = len(matrix)
    bounds = sorted({*range(0, n, _WIDE), *(n - first for first in range(0, n, _WIDE))})
    spans = [slice(first, last) for first, last in pairwise(bounds)]
    last = len(spans) - 1
    for i in range(len(spans)):
        for j in range(last - i + 1):
            here, there = matrix[spans[i], spans[j]], matrix[spans[last - j], spans[last - i]]
            kept = here.flip(0, 1).T if i + j < last else None
            here.copy_(there.flip(0, 1).T)
            if kept is not None:
                there.copy_(kept)


class Latest(Generic[T]):
    """The last thing that was made of a tensor, for as long as the tensor is there and as it was."""

    def __init__(self) -> None:
        self._of: weakref.ref[torch.Tensor] | None = None
        self._key: Hashable = None
        self._made: T | None = None

    def get(self, tensor: torch.Tensor, more: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, or gave for the same tensor and `more`."""
        key = (tensor._version, more)
        if self._made is None or self._of is None or self._of() is not tensor or self._key != key:
            self._made = None  # before the next one is made: two of the widest are 0.6 GB
            made = make()
            self._of, self._key, self._made = weakref.ref(tensor, self._forget), key, made
        return self._made

    def _forget(self, of: weakref.ref[torch.Tensor]) -> None:
        if of is self._of:
            self._made = None
