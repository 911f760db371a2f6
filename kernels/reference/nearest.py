"""Codes of vectors under additive codebooks: what `kernels/cpu/ops/nearest.h` computes, slowly and exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def nearest_codes(x: Floats, books: Floats, *, beam: int = 4) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Beam search over the codebooks in their order: `beam` partial sums survive each codebook but the last.

    Args:
        x: (n, g) vectors.
        books: (K, g, entries), entries <= 256: entry z of codebook k is `books[k, :, z]`.
        beam: partial sums kept; 1 is the greedy search of residual quantization.

    Returns:
        (n, K) codes, and (n,) squared distances to the sums of the chosen codewords.
    """
    n, group = x.shape
    rest = np.asarray(x, np.float32).reshape(n, 1, group)
    codes = np.zeros((n, 1, 0), np.uint8)
    errors = np.zeros((n, 1), np.float32)
    for k, table in enumerate(books):
        book = np.ascontiguousarray(table.T)
        width = 1 if k == len(books) - 1 else beam
        squares = (rest * rest).sum(2, keepdims=True) - 2.0 * (rest @ book.T) + (book * book).sum(1)
        flat = squares.reshape(n, -1)
        best = np.argsort(flat, axis=1, kind="stable")[:, :width]
        parent, code = np.divmod(best, len(book))
        rest = np.take_along_axis(rest, parent[..., None], 1) - book[code]
        codes = np.concatenate(
            [np.take_along_axis(codes, parent[..., None], 1), code[..., None].astype(np.uint8)], axis=2
        )
        errors = np.take_along_axis(flat, best, 1)
    return codes[:, 0], errors[:, 0]
