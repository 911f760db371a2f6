"""Writes a Hugging Face folder with SpQR weights in the published layout (hf_spqr.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import UnsupportedModelError
from backend.formats.checkpoint import Floats
from backend.formats.hf_spqr import TILE
from backend.formats.hf_writer import write_folder
from backend.formats.packing import packer
from kernels.packed import PackedLinear

__all__ = ["MAX_COLUMN", "dense_words", "write_hf_spqr"]

MAX_COLUMN = 1 << 15  # the published kernel reads a column as a signed 16-bit number


def dense_words(
    codes: npt.NDArray[np.uint8],
    scale_codes: npt.NDArray[np.uint8],
    zero_codes: npt.NDArray[np.uint8],
    statistics: npt.NDArray[np.float16],
) -> npt.NDArray[np.int64]:
    """One 64-bit word per row of a tile, in the file's order: (out * in / 16,).

    Args:
        codes: (out, in), 0 .. 7.
        scale_codes: (out, in / 16), 0 .. 7.
        zero_codes: the same shape.
        statistics: (out / 16, in / 16, 4).
    """
    out, columns = codes.shape
    tiles = out // TILE, columns // TILE

    def tiled(
        rows: npt.NDArray[np.uint8],
    ) -> npt.NDArray[np.uint64]:  # [out, tile column] -> [tile row, tile column, row]
        return rows.reshape(tiles[0], TILE, tiles[1]).swapaxes(1, 2).astype(np.uint64)

    words = tiled(scale_codes) | tiled(zero_codes) << np.uint64(3)
    for column in range(TILE):
        words |= tiled(codes[:, column::TILE]) << np.uint64(6 + 3 * column)
    spread = np.ascontiguousarray(statistics, "<f2").view(np.uint8)  # 8 bytes of each tile, each for two rows
    words |= np.repeat(spread, 2, axis=2).astype(np.uint64) << np.uint64(54)
    return words.reshape(-1).view(np.int64)


def _tensors(module: str, parts: Any) -> dict[str, npt.NDArray[Any]]:
    """The four tensors of a linear."""
    out, columns = parts.codes.shape
    if parts.bits != 3 or out % TILE or columns % TILE or (columns > MAX_COLUMN and len(parts.outlier_cols)):
        raise UnsupportedModelError(
            "This model cannot be written in the published form of SpQR.",
            why=f"One of its blocks has {parts.bits} bits and {out} x {columns} weights; that form has 3 bits, "
            f"multiples of {TILE}, and at most {MAX_COLUMN} columns.",
            remedy="Write it as a file of Nutshell's own.",
            details=module,
        )
    cols = parts.outlier_cols.astype(np.uint32)
    values = np.asarray(parts.outlier_vals, np.float16).view(np.uint16).astype(np.uint32)
    packed = (values << np.uint32(16) | cols).view(np.int32)
    perm = np.arange(columns) if parts.perm is None else parts.perm
    return {
        "dense_weights": dense_words(parts.codes, parts.scale_codes, parts.zero_codes, parts.statistics),
        "row_offsets": parts.outlier_rows.astype(np.int32),
        "col_vals": packed if packed.size else np.zeros(0, np.float32),  # as the published converter writes none
        "in_perm": perm.astype("<u2").view("<i4"),
    }


def write_hf_spqr(
    folder: Path,
    config: Mapping[str, Any],
    modules: Iterable[tuple[str, PackedLinear]],
    arrays: Iterable[tuple[str, Floats]],
    tokenizer: Mapping[str, bytes],
    *,
    shard_bytes: int = 4 << 30,
) -> None:
    """Writes SpQR linears of 3 bits as they are and any other scheme as f16. Arguments as `hf_writer.write_folder`.

    Raises:
        UnsupportedModelError: a linear of 4 bits, or of a shape that the published layout cannot hold.
        ModelError: the folder cannot be written.
    """
    shapes: dict[str, int] = {}

    def tensors_of(module: str, packed: PackedLinear) -> dict[str, npt.NDArray[Any]]:
        tensors = _tensors(module, packer("spqr").unpack(packed))
        shapes.update({f"{module}.{part}.shape": tensor.size for part, tensor in tensors.items()})
        return tensors

    def quantization(plain: list[str]) -> dict[str, Any] | None:
        if not shapes:
            return None
        return {
            "quant_method": "spqr",
            "bits": 3,
            "beta1": TILE,
            "beta2": TILE,
            "modules_to_not_convert": plain,
            "shapes": shapes,
        }

    write_folder(
        folder,
        config,
        modules,
        arrays,
        tokenizer,
        scheme="spqr",
        tensors_of=tensors_of,
        quantization=quantization,
        shard_bytes=shard_bytes,
    )
