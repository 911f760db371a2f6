"""Activations as the integer kernels read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 128
LARGEST = 16383
LARGEST_SUM = 2**18


def prepare(
    x: npt.ArrayLike, *, perm: npt.NDArray[np.uint32] | None = None, stride: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Rows of x (n, in), gathered through `perm`, padded with zeros to `stride`; arrays by name (cpu/types.h).

    Each block of 128 numbers has one scale: the smallest with abs(q) <= 16383 and a sum of abs(q) of at most 2^18 - 64
    (64 for rounding), so that products with 14-bit weights cannot overflow 32 bits. A block below 1e-30 is zero.
    """
    rows = np.asarray(x, np.float32)
    rows = rows if perm is None else rows[:, perm]
    n, width = rows.shape
    stride = stride or -(-width // BLOCK) * BLOCK
    f32 = np.zeros((n, stride), np.float32)
    f32[:, :width] = rows
    blocks = f32.astype(np.float64).reshape(n, -1, BLOCK)
    scale = np.maximum(np.abs(blocks).max(2) / LARGEST, np.abs(blocks).sum(2) / (LARGEST_SUM - BLOCK // 2))
    scale[scale < 1e-34] = 0
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    q = np.rint(blocks * inverse[..., None]).reshape(n, stride).astype(np.int32)
    return {
        "f32": f32,
        "q": q.astype(np.int16),
        "hi": (q >> 7).astype(np.int8),
        "lo": (q & 127).astype(np.int8),
        "scale": scale.astype(np.float32),
        "sum16": q.reshape(n, -1, 16).sum(2).astype(np.int32),
        "f32_sum16": f32.astype(np.float64).reshape(n, -1, 16).sum(2).astype(np.float32),
    }
