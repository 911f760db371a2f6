"""Checks of numbers that come out of model files."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats.gguf_cursor import damaged

__all__ = ["bytes_in_words", "check_finite", "largest"]


def largest(array: npt.NDArray[Any]) -> float:
    """The largest magnitude; NaN or infinite where one number is."""
    if not array.size:
        return 0.0
    if array.dtype == np.float16:  # by its bits, ten times as fast: magnitudes sort as integers, NaN above all
        bits = array.view(np.uint16) & np.uint16(0x7FFF)
        return float(bits.max(keepdims=True).view(np.float16).flat[0])
    low, high = float(array.min()), float(array.max())
    return math.nan if math.isnan(low) or math.isnan(high) else max(-low, high)


def check_finite(array: npt.NDArray[Any], what: str, details: str = "") -> float:
    """Returns the largest magnitude.

    Args:
        array: numbers.
        what: the plural in the sentence ("scales").
        details: which ones, for the log.

    Raises:
        InvalidModelFileError: one is not a number, or infinite.
    """
    with np.errstate(invalid="ignore"):
        bound = largest(array)
    if not math.isfinite(bound):
        raise damaged(f"Some of its {what} are not numbers.", details)
    return bound


def bytes_in_words(count: float) -> str:
    """As in "1.2 GB" and "64 MB", for sentences."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count, 0) / 1e6:.0f} MB"
