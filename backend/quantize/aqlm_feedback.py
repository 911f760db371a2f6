"""AQLM's codes with error feedback: one Cholesky of the Hessian, then group after group of inputs.

H (damped) = R R^T with R upper, in the order in which groups are visited, so that the output error tr(E H E^T) is
|E R|^2: group j adds |E_j R_jj + sum of E_i R_ij over the groups i before it|^2, and its codes are chosen to make that
small. No inverse is needed (GPTQ's form takes four times the work). Groups are visited in falling order of the trace of
their block of H: 4 to 7 % less error than as they come, and nothing of it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from backend.quantize.cholesky import lower_factor, reordered
from backend.quantize.layer import Stop
from backend.quantize.products import product
from kernels import cpu

__all__ = ["BEAM", "BLOCK", "Coded", "Factor", "Search", "check", "encode", "factor", "through"]

#: Inputs between two products with everything before them.
BLOCK = 128
#: The same for what lies further back: products of so many columns are twice as fast as of 128.
_WIDE = 1024
#: Partial sums in the search: 4 leaves 2 % more error, 16 half a percent less.
BEAM = 8
#: Attempts at a Cholesky, each with ten times the damping of the one before.
_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Factor:
    """R, kept as it comes out of a Cholesky: last visited first.

    Attributes:
        stored: (n,) the inputs from the last visited to the first; n is a multiple of the group.
        lower: (n, n): R with rows and columns in that order: lower triangular.
        damping: what was added to the diagonal of H.
        diagonal: (n / g, g, g): R_jj of the groups in the order of visits.
        group: g.
    """

    stored: torch.Tensor
    lower: torch.Tensor
    damping: float
    diagonal: torch.Tensor
    group: int

    @property
    def visits(self) -> torch.Tensor:
        """(n / g,) the groups in the order of visits."""
        return torch.div(self.stored.flip(0)[:: self.group], self.group, rounding_mode="floor")


@dataclass(frozen=True, slots=True)
class Coded:
    """Rows with their codes.

    Attributes:
        codes: (rows, n / g, K) uint8, groups in the order of visits.
        left: (rows, n) what the codes leave wrong, last visited first.
        rest: (rows, n) the same times R, in the order of visits.
    """

    codes: torch.Tensor
    left: torch.Tensor
    rest: torch.Tensor


@dataclass(frozen=True, slots=True)
class Search:
    """How codes are searched: by the native kernels in `threads` threads, giving up when `stop` says so."""

    threads: int
    stop: Stop
    beam: int = BEAM


def check(stop: Stop) -> None:
    """Raises InterruptedError if the work should stop."""
    if stop():
        raise InterruptedError


def factor(hessian: torch.Tensor, damping: float, group: int, stop: Stop) -> Factor:
    """R of H + damping * mean(diag H) on its diagonal; more damping where that is not yet positive definite.

    Args:
        hessian: (n, n) float32, symmetric, n a multiple of `group`.
        damping: .1 where there are more than 8 tokens for an input, .3 otherwise.
        group: inputs per code.
        stop: asked before and after the Cholesky.

    Raises:
        InterruptedError: the work should stop.
    """
    check(stop)
    n = len(hessian)
    traces = hessian.diagonal().reshape(-1, group).sum(1)
    visits = torch.sort(traces, descending=True, stable=True).indices
    stored = (visits[:, None] * group + torch.arange(group)).reshape(-1).flip(0)
    mean = float(hessian.diagonal().mean(dtype=torch.float64))
    added = damping * mean if mean > 0 else 1.0
    for _ in range(_ATTEMPTS):
        damped = reordered(hessian, stored)
        damped.diagonal().add_(added)
        if lower_factor(damped):
            break
        added *= 10
    else:
        raise ArithmeticError("the Hessian is not positive semidefinite")
    check(stop)
    blocks = damped.reshape(n // group, group, n // group, group)
    diagonal = torch.stack([blocks[j, :, j].flip(0, 1) for j in range(n // group - 1, -1, -1)])
    return Factor(stored, damped, added, diagonal, group)


def encode(rows: torch.Tensor, by: Factor, books: torch.Tensor, search: Search) -> Coded:
    """Codes of rows (m, n) float32 (divided by their scales, last visited input first) under books (K, entries, g).

    Raises:
        InterruptedError: the work should stop.
    """
    m, n = rows.shape
    codes = torch.empty((m, n // by.group, len(books)), dtype=torch.uint8)
    left, rest = torch.empty_like(rows), torch.empty_like(rows)
    tables = books.transpose(1, 2).contiguous().numpy()
    for end in range(n, 0, -_WIDE):
        begin = max(0, end - _WIDE)
        before = product(left[:, end:], by.lower[end:, begin:end].T)
        for last in range(end, begin, -BLOCK):
            check(search.stop)
            first, done = max(begin, last - BLOCK), n - last
            block, visits = slice(first, last), slice(done // by.group, (n - first) // by.group)
            fed = before[:, first - begin : last - begin] + product(left[:, last:end], by.lower[last:end, block].T)
            found = cpu.search_block(
                rows[:, block].flip(1).numpy(),
                fed.flip(1).numpy(),
                by.diagonal[visits].numpy(),
                by.lower[block, block].flip(0, 1).contiguous().numpy(),
                tables,
                beam=search.beam,
                threads=search.threads,
            )
            codes[:, visits] = torch.from_numpy(found.codes)
            left[:, block] = torch.from_numpy(found.left).flip(1)
            rest[:, done : n - first] = torch.from_numpy(found.rest)
    return Coded(codes, left, rest)


def through(rows: torch.Tensor, by: Factor, stop: Stop) -> torch.Tensor:
    """The product rows R (m, n), in the order of visits; rows have the last visited input first."""
    n = rows.shape[1]
    seen = torch.empty_like(rows)
    for last in range(n, 0, -_WIDE):
        check(stop)
        first = max(0, last - _WIDE)
        seen[:, n - last : n - first] = product(rows[:, first:], by.lower[first:, first:last].T).flip(1)
    return seen
