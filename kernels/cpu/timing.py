"""Linears timed by native loops, without Python between: for `nutshell bench kernels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu import Regime, _native, native_linear
from kernels.packed import PackedLinear

__all__ = ["gemv_seconds", "linear_seconds", "native_linears", "stream_seconds"]

Floats = npt.NDArray[np.float32]
_REGIMES: tuple[Regime, ...] = ("auto", "decode", "many")


def native_linears(weights: Sequence[PackedLinear], level: str | None = None) -> list[_native.Linear]:
    """The native views of equal weights in different places."""
    return [native_linear(weight, level) for weight in weights]


def stream_seconds(
    buffer: npt.NDArray[np.uint8], piece: int, *, level: str | None = None, threads: int = 1, rounds: int = 1
) -> list[float]:
    """Seconds of reading each piece (bytes) of the buffer, `rounds` times over.

    Raises:
        ValueError: the buffer has no piece of that size, or it is below 256 KB.
    """
    return _native.stream_seconds(level or "", buffer, piece, threads, rounds)


def linear_seconds(
    weights: list[_native.Linear],
    x: Floats,
    y: Floats,
    *,
    batch: int = 1,
    threads: int = 1,
    regime: Regime = "auto",
    rounds: int = 1,
) -> list[float]:
    """Seconds of x (n, in) through `batch` weights after another into y (n, out), everything included.

    Goes over all the weights in batches, `rounds` times; a last batch that is not full is left out.
    """
    return _native.linear_seconds(weights, x, y, batch, threads, _REGIMES.index(regime), rounds)


def gemv_seconds(
    weights: list[_native.Linear],
    prepared: Mapping[str, npt.NDArray[Any]],
    *,
    batch: int = 1,
    threads: int = 1,
    rounds: int = 1,
) -> list[float]:
    """Seconds of the decode kernel alone over `batch` weights; batches and rounds as above.

    Look-up tables that all threads share are made before. Where a thread makes them for itself right before it reads
    them (AQLM with AVX-512), that is part of the kernel.

    Args:
        weights: of one shape and with the same codebooks, because the tables of the first serve all.
        prepared: what `kernels.cpu.prepare` returns for 1 to 8 rows, padded to the weights' inputs.
        batch: weights timed together.
        threads: how many compute.
        rounds: how often.
    """
    return _native.gemv_seconds(weights, prepared, batch, threads, rounds)
