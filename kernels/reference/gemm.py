"""Products of a panel of 64 weight rows with activation rows, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.reference.prepare import BLOCK

Doubles = npt.NDArray[np.float64]


def gemm_i16(
    made: Mapping[str, npt.NDArray[Any]],
    weights: npt.NDArray[np.int16],
    row_scale: npt.ArrayLike,
    n: int,
    *,
    row0: int = 0,
    k0: int = 0,
) -> Doubles:
    """(n, 64): rows row0 .. row0 + n of `prepare`'s output times weights (64, k), integers times `row_scale` (64,)."""
    inputs = slice(k0, k0 + weights.shape[1])
    numbers = made["q"].astype(np.float64) * np.repeat(made["scale"].astype(np.float64), BLOCK, axis=1)
    w = weights.astype(np.float64) * np.asarray(row_scale, np.float64)[:, None]
    return np.asarray(numbers[row0 : row0 + n, inputs] @ w.T)


def gemm_f32(
    made: Mapping[str, npt.NDArray[Any]], weights: npt.NDArray[np.float32], n: int, *, row0: int = 0, k0: int = 0
) -> Doubles:
    """(n, 64): the same with numbers."""
    numbers = made["f32"][row0 : row0 + n, k0 : k0 + weights.shape[1]].astype(np.float64)
    return np.asarray(numbers @ weights.astype(np.float64).T)
