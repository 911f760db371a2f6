"""SpQR's column loop, natively: rows over threads, the same bits whatever their number."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.cpu import _native
from kernels.packing.spqr_columns import Columns


def quantize_columns(
    weight: npt.ArrayLike,
    feedback: npt.ArrayLike,
    importance: npt.ArrayLike,
    *,
    bits: int,
    price: float,
    level: str | None = None,
    threads: int = 1,
) -> Columns:
    """Codes, statistics and outliers of a weight under a Hessian R R^T, R upper; what is in `kernels.reference.column`.

    Args:
        weight: (out, in) float32, columns in the order in which they are visited.
        feedback: (in, in) float32: [c, k] is R[k, c] / R[c, c] for k < c; the others are not read.
        importance: (in,) float32: R[c, c] squared.
        bits: 3 or 4.
        price: of an outlier, as squared output error; infinity: no outliers.
        level: instruction set; None: the best here.
        threads: how many may compute.

    Raises:
        ValueError: shapes that do not fit together, or bits that are neither 3 nor 4.
    """
    w, f, r = (np.ascontiguousarray(array, np.float32) for array in (weight, feedback, importance))
    if bits not in (3, 4):
        raise ValueError(f"SpQR of {bits} bits; there are 3 and 4")
    if w.ndim != 2 or not w.size or f.shape != (w.shape[1],) * 2 or r.shape != (w.shape[1],):
        raise ValueError(f"weights of shape {w.shape}, feedback of {f.shape} and importance of {r.shape}")
    made = Columns.empty(w.shape[0], w.shape[1], bits)
    halves = made.statistics.view(np.uint16), made.sparse.view(np.uint16)
    codes = made.codes, made.scale_codes, made.zero_codes
    _native.quantize_columns(level or "", w, f, r, bits, min(price, 3e38), *codes, *halves, made.errors, threads)
    return made
