"""The largest numbers of a vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def top_k(x: npt.ArrayLike, k: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Indices and values of the k largest, descending; of equal ones the lower index first. NaN counts as -inf."""
    numbers = np.asarray(x, np.float32)
    numbers = np.where(np.isnan(numbers), np.float32(-np.inf), numbers)
    order = np.argsort(-numbers, kind="stable")[:k].astype(np.int32)
    return order, numbers[order]
