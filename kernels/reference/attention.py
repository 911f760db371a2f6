"""Tree-masked grouped attention and the stored forms of keys and values, in float64."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from kernels.reference.activation import softmax

Doubles = npt.NDArray[np.float64]
Kv = Literal["f16", "q8", "f32"]


def stored(x: npt.ArrayLike, head_dim: int, kv: Kv = "f16") -> Doubles:
    """Rows x (cells, heads * head_dim) as the cache gives them back, (cells, heads, head_dim).

    f16: rounded. q8: int8 times one float16 scale per cell and head, the scale rounded up.
    """
    heads = np.asarray(x, np.float32).reshape(len(np.asarray(x)), -1, head_dim)
    if kv == "f32":
        return heads.astype(np.float64)
    if kv == "f16":
        return heads.astype(np.float16).astype(np.float64)
    wanted = np.abs(heads).max(2, keepdims=True) * np.float32(1 / 127)
    scale = wanted.astype(np.float16)
    scale = np.where(scale.astype(np.float32) < wanted, np.nextafter(scale, np.float16(np.inf)), scale).astype(
        np.float64
    )
    return np.asarray(np.rint(np.divide(heads, scale, out=np.zeros(heads.shape), where=scale > 0)) * scale)


def seen(
    n: int,
    committed: int,
    mask: npt.NDArray[np.uint64] | None = None,
    positions: npt.NDArray[np.int32] | None = None,
    window: int = 0,
) -> npt.NDArray[np.bool_]:
    """(n, committed + n): whether row i sees a cell. Arguments as of `kernels.cpu.attention`."""
    tree = np.tril(np.ones((n, n), bool))
    if mask is not None:
        tree = np.array([[bool(int(mask[i, j // 64]) >> (j % 64) & 1) for j in range(n)] for i in range(n)])
    own = np.arange(committed, committed + n) if positions is None else positions
    found = np.concatenate([np.ones((n, committed), bool), tree], axis=1)
    if window:
        found &= own[:, None] - np.concatenate([np.arange(committed), own])[None, :] < window
    return found


def attention(
    q: npt.ArrayLike,
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    head_dim: int,
    scale: float,
    committed: int,
    mask: npt.NDArray[np.uint64] | None = None,
    positions: npt.NDArray[np.int32] | None = None,
    window: int = 0,
    kv: Kv = "f16",
) -> Doubles:
    """Attention of rows q (n, q_heads * head_dim) over k and v (committed + n, kv_heads * head_dim).

    `mask` (n, words): bit j of row i: cell committed + j is seen; None: a chain. `positions` (n,): None: behind the
    committed ones. `window`: positions seen, 0: all.
    """
    queries = np.asarray(q, np.float64)
    n = len(queries)
    heads, keys, values = queries.reshape(n, -1, head_dim), stored(k, head_dim, kv), stored(v, head_dim, kv)
    group = heads.shape[1] // keys.shape[1]
    visible = seen(n, committed, mask, positions, window)
    out = np.empty_like(heads)
    for h in range(heads.shape[1]):
        scores = heads[:, h] @ keys[:, h // group].T * scale
        out[:, h] = softmax(np.where(visible, scores, -np.inf)) @ values[:, h // group]
    return out.reshape(n, -1)
