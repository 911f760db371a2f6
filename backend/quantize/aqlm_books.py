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
    """Books (K, 256, g) after `rounds` of coding the rows (m, n) and moving the codewords.

    Raises:
        InterruptedError: the work should stop.
    """
    for _ in range(rounds):
        check(search.stop)
        books = books + _step(encode(rows, by, books, search), by, importance / importance.mean(), len(books))
    return books


def _traces(by: Factor) -> torch.Tensor:
    return by.diagonal.square().sum((1, 2))


def _step(coded: Coded, by: Factor, importance: torch.Tensor, count: int) -> torch.Tensor:
    """The change of the books (K, 256, g): each in turn to where the squares left are least, under these codes.

    A codeword's least squares have its own g x g matrix: the sum of R_jj R_jj^T over the groups that use it. One sweep
    over the books is half a percent better than solving for all of them with the mean of those matrices instead, and
    than more sweeps.
    """
    groups, group = by.diagonal.shape[:2]
    rest = coded.rest.reshape(-1, group).clone()
    weight = importance.repeat_interleave(groups)
    metric = (by.diagonal @ by.diagonal.transpose(1, 2)).reshape(groups, -1)
    ridge = torch.eye(group)
    steps = []
    for k in range(count):
        at = (coded.codes[:, :, k].long() + ENTRIES * torch.arange(groups)).reshape(-1)
        uses = torch.zeros(groups * ENTRIES).index_add_(0, at, weight).reshape(groups, ENTRIES)
        left = (uses.T @ metric).reshape(ENTRIES, group, group)
        left += _RIDGE * left.diagonal(dim1=1, dim2=2).mean() * ridge
        pull = torch.zeros(groups * ENTRIES, group).index_add_(0, at, rest * weight[:, None])
        right = pull.reshape(groups, ENTRIES, group) @ by.diagonal.transpose(1, 2)
        step = torch.linalg.solve(left, right.sum(0)[:, :, None])[:, :, 0]
        rest -= (step @ by.diagonal).reshape(-1, group)[at]
        steps.append(step)
    return torch.stack(steps)
