"""RMSNorm in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def rms_norm(x: npt.ArrayLike, weight: npt.ArrayLike, eps: float) -> Doubles:
    """Each run of len(weight) numbers of the rows of x (n, width), as x / sqrt(mean(x^2) + eps) * weight."""
    rows, factors = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    runs = rows.reshape(len(rows), -1, len(factors))
    return np.asarray(runs / np.sqrt((runs**2).mean(2, keepdims=True) + eps) * factors).reshape(rows.shape)
