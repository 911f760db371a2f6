"""Codes of a block of groups, with feedback between them: what `kernels/cpu/ops/search.h` computes, slowly."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from kernels.reference.nearest import nearest_codes

__all__ = ["Found", "Nearest", "search_block"]

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class Found(NamedTuple):
    """What a block's search gives; G groups of g inputs, width = G g.

    Attributes:
        codes: (rows, G, K) uint8.
        left: (rows, width): `wanted` minus the sums of the chosen codewords.
        rest: (rows, width): what is left in the coordinates in which codes were compared: its squares are the error.
    """

    codes: Codes
    left: Floats
    rest: Floats


class Nearest(Protocol):
    """`kernels.cpu.nearest_codes` or the reference's."""

    def __call__(self, x: Floats, books: Floats, *, beam: int) -> tuple[Codes, Floats]:
        """Codes (n, K) and squared errors (n,) of x (n, g) under books (K, g, entries)."""
        ...


def search_block(
    wanted: Floats,
    fed: Floats,
    forward: Floats,
    later: Floats,
    books: Floats,
    *,
    back: Floats | None = None,
    held: Codes | None = None,
    beam: int = 8,
    nearest: Nearest = nearest_codes,
) -> Found:
    """Group after group: the codes that come nearest, and what they leave wrong is fed to the groups behind.

    For group j, with P = forward[j] and Q = back[j] (none: the identity): target t = wanted_j P + fed_j Q; codes z that
    make |t - y P|^2 small, y = sum_k books[k, :, z_k]; left_j = wanted_j - y; fed_i += left_j later[j, i] for i > j.

    Args:
        wanted: (rows, width).
        fed: (rows, width): what groups before this block feed; not changed.
        forward: (G, g, g).
        later: (width, width); only what lies right of the blocks of g on the diagonal is read.
        books: (K, g, entries), entries a multiple of 16 up to 256.
        back: (G, g, g) or None.
        held: (rows, G, K): codes that stay where the search finds nothing better.
        beam: partial sums that survive each codebook but the last.
        nearest: the search of one group.
    """
    count, group, _entries = books.shape
    groups = len(forward)
    fed, left, rest = fed.copy(), np.empty_like(wanted), np.empty_like(wanted)
    codes = np.empty((len(wanted), groups, count), np.uint8)
    for j in range(groups):
        here = slice(j * group, (j + 1) * group)
        target = wanted[:, here] @ forward[j] + (fed[:, here] if back is None else fed[:, here] @ back[j])
        seen = np.ascontiguousarray(np.einsum("kaz,ab->kbz", books, forward[j]))
        found, _errors = nearest(np.ascontiguousarray(target), seen, beam=beam)
        wrong = target - decoded(seen, found)
        if held is not None:
            other = target - decoded(seen, held[:, j])
            better = np.square(other).sum(1) <= np.square(wrong).sum(1)
            found, wrong = np.where(better[:, None], held[:, j], found), np.where(better[:, None], other, wrong)
        codes[:, j], rest[:, here] = found, wrong
        left[:, here] = wanted[:, here] - decoded(books, found)
        fed[:, here.stop :] += left[:, here] @ later[here, here.stop :]
    return Found(codes, left, rest)


def decoded(books: Floats, codes: Codes) -> Floats:
    """Sums (n, g) of the codewords `codes` (n, K) of books (K, g, entries)."""
    total: Floats = books[0].T[codes[:, 0]]
    for k in range(1, len(books)):
        total = total + books[k].T[codes[:, k]]
    return total
