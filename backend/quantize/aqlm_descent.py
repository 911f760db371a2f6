"""Coordinate descent over AQLM's codes: each group again, with all the others as they are, under the whole Hessian."""

from __future__ import annotations

import torch

from backend.quantize.aqlm_feedback import BLOCK, Coded, Factor, Search, check
from backend.quantize.products import product
from kernels import cpu

__all__ = ["descend"]


def descend(rows: torch.Tensor, coded: Coded, by: Factor, books: torch.Tensor, search: Search) -> Coded:
    """One sweep over the groups in the order of visits; the damped error of no row grows.

    With E what is left, G = E H = (E R) R^T says how the error changes with each number: group j would best move to
    y_j + G_j H_jj^-1, and the codes nearest to that under H_jj are searched; those it has stay where none is nearer.
    R is used as it is there: both products with it together cost what one with H would.

    Args:
        rows: (m, n) float32, divided by their scales, last visited input first.
        coded: of these rows; not changed.
        by: the factor of their Hessian.
        books: (K, entries, g).
        search: beam and threads.

    Raises:
        InterruptedError: the work should stop.
    """
    n, group = rows.shape[1], by.group
    codes, left, rest = coded.codes.clone(), coded.left.clone(), coded.rest.flip(1)
    tables = books.transpose(1, 2).contiguous().numpy()
    for last in range(n, 0, -BLOCK):
        check(search.stop)
        first, done = max(0, last - BLOCK), n - last
        block, visits = slice(first, last), slice(done // group, (n - first) // group)
        lower = by.lower[block, :last]
        hessian = product(lower, lower).flip(0, 1).contiguous()
        count = len(hessian) // group
        diagonal = hessian.reshape(count, group, count, group).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        forward = torch.linalg.cholesky(diagonal)
        found = cpu.search_block(
            (rows[:, block] - left[:, block]).flip(1).numpy(),
            product(rest[:, :last], lower).flip(1).numpy(),
            forward.numpy(),
            hessian.numpy(),
            tables,
            back=torch.linalg.inv(forward).transpose(1, 2).contiguous().numpy(),
            held=codes[:, visits].numpy(),
            beam=search.beam,
            threads=search.threads,
        )
        moved = torch.from_numpy(found.left).flip(1)
        codes[:, visits] = torch.from_numpy(found.codes)
        left[:, block] += moved
        rest[:, :last] += product(moved, lower.T)
    return Coded(codes, left, rest.flip(1))
