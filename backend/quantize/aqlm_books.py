"""AQLM's codebooks: a start from K-means, and rounds of least squares on the targets that error feedback makes."""

from __future__ import annotations

import numpy as np
import torch

from backend.quantize.aqlm_feedback import Coded, Factor, Search, check, encode
from backend.quantize.residual_kmeans import residual_books
from kernels import cpu

__all__ = ["ENTRIES", "starting_books", "trained"]

ENTRIES = 256
#: Groups that K-means sees.
_SAMPLE = 1 << 15
#: Of the mean of the diagonal, so that codewords that nothing uses stay where they are.
_RIDGE = 1e-3


def starting_books(rows: torch.Tensor, importance: torch.Tensor, by: Factor, count: int, seed: int) -> torch.Tensor:
    """Residual K-means (count, 256, g) of some of the groups of rows (m, n), last visited input first.

    Groups count by `importance` (m,) of their row and the trace of R_jj R_jj^T.
    """
    random = np.random.default_rng(seed)
    m, n = rows.shape
    groups = n // by.group
    picked = np.sort(random.permutation(m * groups)[:_SAMPLE])
    row, visit = torch.from_numpy(picked // groups), torch.from_numpy(picked % groups)
    inputs = (n - 1 - visit[:, None] * by.group) - torch.arange(by.group)
    x = rows[row[:, None], inputs].contiguous().numpy()
    weight = (importance[row] * _traces(by)[visit]).double().numpy()
    return torch.from_numpy(residual_books(x, weight / weight.mean(), count, cpu.nearest_codes, random))


def trained(
    books: torch.Tensor, rows: torch.Tensor, importance: torch.Tensor, by: Factor, rounds: int, search: Search
) -> torch.Tensor:
    """Books (K, 256, g) after `rounds` of coding the rows (m, n) and solving for the codewords.

    Raises:
        InterruptedError: the work should stop.
    """
    back = torch.linalg.inv(by.diagonal)
    weight = (importance[:, None] * _traces(by)[None, :] / by.group).reshape(-1)
    weight = weight / weight.mean()
    for _ in range(rounds):
        check(search.stop)
        books = books + _step(encode(rows, by, books, search), back, weight, len(books))
    return books


def _traces(by: Factor) -> torch.Tensor:
    return by.diagonal.square().sum((1, 2))


def _step(coded: Coded, back: torch.Tensor, weight: torch.Tensor, count: int) -> torch.Tensor:
    """The change of the books (K, 256, g) that makes the weighted squares of what is left least, under these codes."""
    groups, group = len(back), back.shape[1]
    plain = torch.einsum("rja,jab->rjb", coded.rest.reshape(-1, groups, group), back).reshape(-1, group)
    codes = coded.codes.reshape(-1, count).long() + ENTRIES * torch.arange(count)
    unknowns = count * ENTRIES
    right = torch.zeros((unknowns, group), dtype=torch.float64)
    left = torch.zeros(unknowns * unknowns, dtype=torch.float64)
    pull, wide = (plain * weight[:, None]).double(), weight.double()
    for k in range(count):
        right.index_add_(0, codes[:, k], pull)
        for other in range(count):
            left.index_add_(0, codes[:, k] * unknowns + codes[:, other], wide)
    left = left.reshape(unknowns, unknowns)
    left.diagonal().add_(_RIDGE * left.diagonal().mean())
    step: torch.Tensor = torch.linalg.solve(left, right)
    return step.float().reshape(count, ENTRIES, group)
