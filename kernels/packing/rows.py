"""What the packers of row panels share: 16 output rows side by side, done in pieces that bound the memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packed import PackedLinear

Floats = npt.NDArray[np.float32]
LANES = 16
#: Weights in work at a time: a few copies as float32 stay in a cache of the processor.
PIECE = 1 << 18


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An uninitialised array that starts at a multiple of 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


def panels(out: int) -> int:
    """Row panels that hold `out` rows."""
    return -(-out // LANES)


def pieces(out: int, width: int) -> Iterator[slice]:
    """Slices of row panels that cover `out` rows of `width` weights, PIECE weights or one panel each."""
    step = max(1, PIECE // (LANES * max(1, width)))
    for first in range(0, panels(out), step):
        yield slice(first, min(first + step, panels(out)))


def rows_of(piece: slice, out: int) -> slice:
    """The rows of a slice of panels that exist."""
    return slice(piece.start * LANES, min(piece.stop * LANES, out))


def padded(array: npt.NDArray[Any], piece: slice, width: int, fill: float, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The rows of a slice of panels, (panels, 16, width), with `fill` where `array` (out, <= width) has nothing."""
    rows = rows_of(piece, array.shape[0])
    block = np.full(((piece.stop - piece.start) * LANES, width), fill, dtype)
    block[: rows.stop - rows.start, : array.shape[1]] = array[rows]
    return block.reshape(-1, LANES, width)


def empty_row_max(out: int) -> Floats:
    """`row_max` before it is filled: zeros for the rows behind the last one."""
    array = aligned((-(-out // 64) * 64,), np.float32)
    array[:] = 0
    return array


def lay_scales(scales: npt.NDArray[Any], groups: int) -> npt.NDArray[np.float16]:
    """Scales (out, groups) as f16 [panels, groups, 16].

    Raises:
        ValueError: another shape, or numbers beyond the range of f16.
    """
    out = scales.shape[0]
    if scales.ndim != 2 or scales.shape[1] != groups:
        raise ValueError(f"scales of shape {scales.shape} for {groups} groups")
    laid = aligned((panels(out), groups, LANES), np.float16)
    for piece in pieces(out, groups):
        laid[piece] = padded(
            as_f16(scales[rows_of(piece, out)]), slice(0, piece.stop - piece.start), groups, 0, np.float16
        ).transpose(0, 2, 1)
    return laid


def as_f16(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Numbers as f16.

    Raises:
        ValueError: one that is not finite as f16.
    """
    with np.errstate(over="ignore"):
        half: npt.NDArray[np.float16] = np.asarray(numbers).astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError("a number is beyond the range of f16")
    return half


def finish(
    scheme: str,
    out: int,
    width: int,
    parameters: Mapping[str, int],
    buffers: dict[str, npt.NDArray[Any]],
    bias: npt.ArrayLike | None,
) -> PackedLinear:
    """The packed linear with its bias, where it has one.

    Raises:
        ValueError: a bias of another length.
    """
    if bias is not None:
        numbers = np.ascontiguousarray(bias, np.float32)
        if numbers.shape != (out,):
            raise ValueError(f"a bias of shape {numbers.shape} for {out} outputs")
        buffers = {**buffers, "bias": numbers}
    return PackedLinear(scheme, out, width, dict(parameters), buffers)


def unpermuted(packed: PackedLinear, weights: Floats) -> Floats:
    """Weights (out, in) of a packed linear in the order of its inputs, whatever order it keeps them in."""
    perm = packed.buffers.get("perm")
    if perm is None:
        return weights
    ordered = np.empty_like(weights)
    ordered[:, perm] = weights
    return ordered
