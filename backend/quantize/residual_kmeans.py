"""AQLM codes without data: residual K-means on groups of inputs, then joint rounds of beam search and least squares.

Weights are all that is looked at. What activations would add is another build's business: error feedback alone is worth
a factor of three in output error, so these builds are for speed, not for quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class Search(Protocol):
    """`kernels.cpu.nearest_codes` or `kernels.reference.nearest.nearest_codes`."""

    def __call__(self, x: Floats, books: Floats, *, beam: int) -> tuple[Codes, Floats]:
        """Codes (n, K) and squared errors (n,) of x (n, g) under books (K, g, entries)."""
        ...


_ENTRIES = 256
#: Codebooks learn from this many groups; 64k gave less than 1 % over 32k on 1536x1536.
_SAMPLE = 1 << 15
_LLOYD_ROUNDS = 10
#: Rounds of (beam search, least squares) over all codebooks together; later ones move the error by less than 1 %.
_JOINT_ROUNDS = 6
_SWEEPS = 2
_BEAM = 4


@dataclass(frozen=True, slots=True)
class Additive:
    """`w[o, 8 j : 8 j + 8] = scales[o] * sum_k codebooks[k, codes[o, j, k]]`.

    Attributes:
        codes: (out, in / g, K) uint8.
        codebooks: (K, 256, g) float32, exactly representable in float16.
        scales: (out,) float32, exactly representable in float16.
        error: squared error over squared weight, of all of it.
    """

    codes: Codes
    codebooks: Floats
    scales: Floats
    error: float


def quantize(weight: Floats, num_codebooks: int, search: Search, *, group: int = 8, seed: int = 0) -> Additive:
    """Codes, codebooks and row scales of a weight.

    Args:
        weight: (out, in) float32, finite; `in` is padded with zeros to whole groups.
        num_codebooks: K; bits per weight are 8 K / group and the codebooks.
        search: finds codes, in any number of threads.
        group: inputs per code, 8 or 16.
        seed: of the sample and the first codewords; the same seed gives the same build.
    """
    out, inputs = weight.shape
    padded = -(-inputs // group) * group
    if padded != inputs:
        weight = np.pad(weight, ((0, 0), (0, padded - inputs)))
    scales = _half(np.sqrt(np.mean(weight * weight, axis=1)))
    scales[scales == 0] = 1.0  # a row of zeros, or one too small for float16
    groups = (weight / scales[:, None]).reshape(-1, group)
    random = np.random.default_rng(seed)
    picked = np.sort(random.permutation(len(groups))[:_SAMPLE])
    # what is divided by the row's scale counts by its square
    importance = np.square(scales.astype(np.float64))[picked // (padded // group)]
    importance /= importance.mean()
    codebooks = residual_books(groups[picked], importance, num_codebooks, search, random)
    for _ in range(_JOINT_ROUNDS if num_codebooks > 1 else 0):
        codes, _errors = _search(search, groups[picked], codebooks, _BEAM)
        codebooks = _refine(groups[picked], importance, codes, codebooks)
    codebooks = _half(codebooks)
    codes, _errors = _search(search, groups, codebooks, _BEAM)
    return _fitted(weight, codes.reshape(out, padded // group, num_codebooks), codebooks, scales)


def _search(search: Search, x: Floats, codebooks: Floats, beam: int) -> tuple[Codes, Floats]:
    return search(x, np.ascontiguousarray(codebooks.transpose(0, 2, 1)), beam=beam)


def _half(x: npt.NDArray[np.floating]) -> Floats:
    return x.astype(np.float16).astype(np.float32)


def residual_books(x: Floats, importance: Floats, count: int, search: Search, random: np.random.Generator) -> Floats:
    """K-means codebooks (count, 256, g), each of what the ones before left over."""
    books = []
    for _ in range(count):
        book = _k_means(x, importance, search, random)
        codes, _errors = _search(search, x, book[None], 1)
        x = x - book[codes[:, 0]]
        books.append(book)
    return np.stack(books)


def _k_means(x: Floats, importance: Floats, search: Search, random: np.random.Generator) -> Floats:
    book = x[random.choice(len(x), _ENTRIES, replace=len(x) < _ENTRIES)].copy()
    for _ in range(_LLOYD_ROUNDS):
        codes, errors = _search(search, x, book[None], 1)
        sums, counts = _sums(x, importance, codes[:, 0])
        book = (sums / np.maximum(counts, 1e-30)[:, None]).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        if len(empty):  # a codeword that nothing uses goes where the error is largest
            worst = np.argsort(errors * importance)[::-1][: len(empty)]
            book[empty[: len(worst)]] = x[worst]
    return book


def _sums(x: Floats, importance: Floats, codes: Codes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted sums (256, g) and total weights (256,) of the vectors of each code."""
    columns = [np.bincount(codes, importance * x[:, i], _ENTRIES) for i in range(x.shape[1])]
    return np.stack(columns, axis=1), np.bincount(codes, importance, _ENTRIES).astype(np.float64)


def _refine(x: Floats, importance: Floats, codes: Codes, codebooks: Floats) -> Floats:
    """The codebooks (K, 256, g) moved towards what fits best under these codes: each in turn to the mean of what the
    others leave. Two sweeps do what solving the 256 K equations at once does, for a tenth of the time.
    """
    books = codebooks.copy()
    rest = x - sum(books[k][codes[:, k]] for k in range(len(books)))
    for _ in range(_SWEEPS):
        for k in range(len(books)):
            sums, counts = _sums(rest, importance, codes[:, k])
            step = (sums / np.maximum(counts, 1e-30)[:, None]).astype(np.float32)
            books[k] += step
            rest -= step[codes[:, k]]
    return books


def _fitted(weight: Floats, codes: Codes, codebooks: Floats, scales: Floats) -> Additive:
    """Row scales fitted to the decoded rows, and the error that remains."""
    scales = scales.copy()
    wrong = total = 0.0
    step = max(1, (1 << 22) // weight.shape[1])
    for first in range(0, len(weight), step):
        rows = slice(first, first + step)
        decoded = codebooks[0][codes[rows, :, 0]]
        for k in range(1, len(codebooks)):
            decoded += codebooks[k][codes[rows, :, k]]
        y = decoded.reshape(-1, weight.shape[1])
        squares = np.einsum("oi,oi->o", y, y)
        fitted = _half(np.einsum("oi,oi->o", weight[rows], y) / np.maximum(squares, 1e-30))
        scales[rows] = np.where(fitted > 0, fitted, scales[rows])
        difference = weight[rows] - scales[rows, None] * y
        wrong += float(np.vdot(difference, difference))
        total += float(np.vdot(weight[rows], weight[rows]))
    return Additive(codes, codebooks, scales, wrong / total if total else 0.0)
