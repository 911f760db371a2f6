"""Rotary positions in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def rope(x: npt.ArrayLike, cos: npt.ArrayLike, sin: npt.ArrayLike, heads: int) -> Doubles:
    """Rows x (n, heads * head_dim); number i of a head turns with number i + half by the angle i of cos, sin (n, half).

    Numbers behind 2 * half of a head stay as they are.
    """
    rows = np.asarray(x, np.float64)
    c, s = np.asarray(cos, np.float64)[:, None], np.asarray(sin, np.float64)[:, None]
    y = rows.reshape(len(rows), heads, -1).copy()
    half = c.shape[2]
    first, second = y[..., :half].copy(), y[..., half : 2 * half].copy()
    y[..., :half] = first * c - second * s
    y[..., half : 2 * half] = second * c + first * s
    return y.reshape(rows.shape)
