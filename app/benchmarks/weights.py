"""Random linears of every scheme, for measuring: their numbers are arbitrary, their layout is the real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, q8, spqr

__all__ = ["SCHEMES", "copies", "random_linear", "streamed_bytes"]

_GROUP = 64
#: bytes of a cache line
_LINE = 64
_OUTLIERS = 0.005
#: what a decoded token reads of a weight; row_max serves the many-rows regime, codebooks fit in the cache
_STREAMED = ("data", "scales", "levels", "outlier_steps", "outlier_lanes", "outliers")


def _aqlm(random: np.random.Generator, out: int, inputs: int, count: int, bits: int = 8) -> PackedLinear:
    kind = np.uint8 if bits <= 8 else np.uint16
    codes = random.integers(0, 1 << bits, (out, -(-inputs // 8), count), kind)
    codebooks = random.standard_normal((count, 1 << bits, 8)).astype(np.float32)
    return aqlm.pack(codes, codebooks, random.uniform(0.01, 0.02, out).astype(np.float32), in_features=inputs)


def _spqr(random: np.random.Generator, out: int, inputs: int, bits: int) -> PackedLinear:
    tiles = (-(-out // 16), -(-inputs // 16))
    levels = (out, tiles[1])
    per_row = int(inputs * _OUTLIERS)
    columns = np.sort(
        random.permuted(np.tile(np.arange(inputs, dtype=np.uint16), (out, 1)), axis=1)[:, :per_row], axis=1
    )
    statistics = np.stack(
        [np.full(tiles, value, np.float16) for value in (0.002, 0.5, 2.0 ** (bits - 1) / 4, 0.5)], axis=-1
    )
    parts = spqr.SpqrParts(
        bits=bits,
        codes=random.integers(0, 1 << bits, (out, inputs), np.uint8),
        scale_codes=random.integers(0, 8, levels, np.uint8),
        zero_codes=random.integers(0, 8, levels, np.uint8),
        statistics=statistics,
        outlier_rows=np.arange(0, per_row * (out + 1), max(per_row, 1), dtype=np.int32)[: out + 1]
        if per_row
        else np.zeros(out + 1, np.int32),
        outlier_cols=columns.reshape(-1),
        outlier_vals=random.standard_normal(out * per_row).astype(np.float16),
        perm=None,
    )
    return spqr.pack(parts)


def _scales(random: np.random.Generator, out: int, inputs: int) -> np.ndarray:
    return random.uniform(0.001, 0.002, (out, -(-inputs // _GROUP))).astype(np.float32)


def _q4(random: np.random.Generator, out: int, inputs: int) -> PackedLinear:
    return q4.pack(random.integers(0, 16, (out, inputs), np.uint8), _scales(random, out, inputs), _GROUP)


def _q8(random: np.random.Generator, out: int, inputs: int) -> PackedLinear:
    return q8.pack(random.integers(-127, 128, (out, inputs), np.int8), _scales(random, out, inputs), _GROUP)


def _f16(random: np.random.Generator, out: int, inputs: int) -> PackedLinear:
    return dense.pack(random.standard_normal((out, inputs), np.float32), "f16")


_MAKERS: dict[str, Callable[[np.random.Generator, int, int], PackedLinear]] = {
    "aqlm-2x8": partial(_aqlm, count=2),
    "aqlm-3x8": partial(_aqlm, count=3),
    "aqlm-4x8": partial(_aqlm, count=4),
    "aqlm-1x8": partial(_aqlm, count=1),
    "aqlm-1x16": partial(_aqlm, count=1, bits=16),
    "spqr-3": partial(_spqr, bits=3),
    "spqr-4": partial(_spqr, bits=4),
    "q4": _q4,
    "q8": _q8,
    "f16": _f16,
}
SCHEMES = tuple(_MAKERS)


def random_linear(scheme: str, out_features: int, in_features: int) -> PackedLinear:
    """A linear of a scheme by its word; the same one for the same sizes."""
    return _MAKERS[scheme](np.random.default_rng(7), out_features, in_features)


def copies(packed: PackedLinear, count: int) -> list[PackedLinear]:
    """As many linears with buffers of their own, each from a cache line on, as in a pack.

    NumPy begins large arrays 16 to 48 bytes behind one: every load of 64 bytes then reads two lines.
    """
    return [
        replace(packed, buffers={name: _aligned(buffer) for name, buffer in packed.buffers.items()})
        for _ in range(count)
    ]


def _aligned(buffer: npt.NDArray[Any]) -> npt.NDArray[Any]:
    room = np.empty(buffer.nbytes + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    copy = room[start : start + buffer.nbytes].view(buffer.dtype).reshape(buffer.shape)
    copy[...] = buffer
    return copy


def streamed_bytes(packed: PackedLinear) -> int:
    """Bytes that a decoded token reads from memory."""
    return sum(packed.buffers[name].nbytes for name in _STREAMED if name in packed.buffers)
