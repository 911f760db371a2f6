"""SwiGLU and softmax in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def swiglu(gate: npt.ArrayLike, up: npt.ArrayLike) -> Doubles:
    """silu(gate) * up, silu(x) = x / (1 + exp(-x))."""
    x = np.asarray(gate, np.float64)
    small = np.exp(-np.abs(x))  # never of a positive number: nothing overflows
    return np.asarray(x * np.where(x >= 0, 1, small) / (1 + small) * np.asarray(up, np.float64))


def softmax(x: npt.ArrayLike) -> Doubles:
    """exp(x) / sum(exp(x)) along the last axis; -inf gives 0."""
    numbers = np.asarray(x, np.float64)
    powers = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
