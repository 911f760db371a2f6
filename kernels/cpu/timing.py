"""Linears timed by native loops, without Python between: for `nutshell bench kernels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu import Regime, _native, native_linear
from kernels.packed import PackedLinear

__all__ = ["gemv_seconds", "linear_seconds", "native_linears"]

Floats = npt.NDArray[np.float32]
_REGIMES: tuple[Regime, ...] = ("auto", "decode", "many")


def native_linears(weights: Sequence[PackedLinear], level: str | None = None) -> list[_native.Linear]:
    """The native views of equal weights in different places."""
    return [native_linear(weight, level) for weight in weights]


def linear_seconds(
    weights: list[_native.Linear], x: Floats, y: Floats, *, threads: int = 1, regime: Regime = "auto", rounds: int = 1
) -> list[float]:
    """Seconds of each round: x (n, in) through every weight in turn into y (n, out); everything included."""
    return _native.linear_seconds(weights, x, y, threads, _REGIMES.index(regime), rounds)


def gemv_seconds(
    weights: list[_native.Linear], prepared: Mapping[str, npt.NDArray[Any]], *, threads: int = 1, rounds: int = 1
) -> list[float]:
    """Seconds of each round: the decode kernel alone, over every weight in turn.

    Args:
        weights: of one shape and with the same codebooks, because the tables of the first serve all.
        prepared: what `kernels.cpu.prepare` returns for 1 to 8 rows, padded to the weights' inputs.
        threads: how many compute.
        rounds: how often.
    """
    return _native.gemv_seconds(weights, prepared, threads, rounds)
