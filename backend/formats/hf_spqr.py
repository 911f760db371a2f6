"""Hugging Face folders with SpQR weights: 3 bits, tiles of 16 x 16 (hf_spqr.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import damaged
from backend.formats.hf_folder import HfFolder, quantization
from backend.formats.numbers import check_finite
from backend.formats.packing import pack, packer
from backend.formats.safetensors import Tensor
from kernels.packed import PackedLinear

__all__ = ["TILE", "HfSpqr", "spqr_shape"]

TILE = 16


def spqr_shape(dense: Tensor, rows: Tensor, perm: Tensor | None) -> tuple[int, int, bool]:
    """(out, in, whether row pointers count blocks of 16 rows), from the headers of a module's tensors.

    Raises:
        InvalidModelFileError: the shapes contradict each other.
    """
    words = dense.elements  # 16 weights each
    if perm is not None and perm.elements:
        columns = 2 * perm.elements
        out = words * TILE // columns
    else:
        out = rows.elements - 1
        columns = words * TILE // out if out > 0 else 0
    good = out > 0 and columns > 0 and out * columns == words * TILE and out % TILE == columns % TILE == 0
    if not good or rows.elements not in (out + 1, out // TILE + 1):
        raise damaged(
            "The shapes of a block of weights contradict each other.", f"{dense.name}: {dense} {rows} {perm}"[:400]
        )
    return out, columns, rows.elements != out + 1


def _words(dense: npt.NDArray[np.int64], out: int, columns: int) -> dict[str, npt.NDArray[Any]]:
    """Takes the 64-bit words apart; see hf_spqr.md."""
    words = dense.view(np.uint64).reshape(out // TILE, columns // TILE, TILE)
    if int((words >> np.uint64(62)).max()):
        raise damaged("Some of its codes are not those of this format.", "bits 62 and 63")
    codes = np.empty((*words.shape, TILE), np.uint8)
    for column in range(TILE):
        codes[..., column] = (words >> np.uint64(6 + 3 * column)).astype(np.uint8) & 7
    spread = (words >> np.uint64(54)).astype(np.uint8)  # bits above 61 are zero
    if not np.array_equal(spread[..., ::2], spread[..., 1::2]):
        raise damaged("Some of its scales contradict each other.", "the two copies of a tile's second-order bytes")

    def rows_first(tiles: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:  # [tile row, tile column, row] -> [out, ...]
        return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(out, -1)

    return {
        "codes": rows_first(codes),
        "scale_codes": rows_first((words & np.uint64(7)).astype(np.uint8)),
        "zero_codes": rows_first((words >> np.uint64(3)).astype(np.uint8) & 7),
        "statistics": np.ascontiguousarray(spread[..., ::2]).view("<f2"),
    }


def _outliers(
    pointers: npt.NDArray[np.int32], packed: npt.NDArray[Any], out: int, columns: int, blocks: bool
) -> dict[str, npt.NDArray[Any]]:
    """Row pointers, columns and values; pointers that count blocks of 16 rows are turned into ones that count rows."""
    words = np.zeros(0, np.uint32) if packed.dtype.kind == "f" else packed.view(np.uint32)
    cols = (words & np.uint32(0xFFFF)).astype(np.uint16)
    values = (words >> np.uint32(16)).astype(np.uint16).view(np.float16)
    ends = pointers.astype(np.int64)
    counts = ends[1:] - ends[:-1]
    if pointers[0] != 0 or pointers[-1] != len(words) or (counts < 0).any():
        raise damaged("The list of its outliers contradicts itself.", f"{len(words)} outliers")
    if cols.size and int(cols.max()) >= columns:
        raise damaged("Some of its outliers lie outside their block of weights.", f"column {cols.max()} of {columns}")
    check_finite(values, "outliers")
    if blocks:  # entry j of a block belongs to its row j % 16; shorter rows are filled up with zeros
        starts = np.repeat(ends[:-1], counts)
        rows = np.repeat(np.arange(len(counts)), counts) * TILE + (np.arange(len(words)) - starts) % TILE
        kept = np.flatnonzero(values)
        order = kept[np.argsort(rows[kept], kind="stable")]
        cols, values = cols[order], values[order]
        pointers = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=out))])
    return {"outlier_rows": pointers.astype(np.int32), "outlier_cols": cols, "outlier_vals": values}


def _permutation(packed: npt.NDArray[Any] | None, columns: int) -> npt.NDArray[np.uint32] | None:
    if packed is None or not packed.size:
        return None
    perm = np.ascontiguousarray(packed).view("<u2").astype(np.uint32)
    identity = np.arange(columns, dtype=np.uint32)
    if not np.array_equal(np.sort(perm), identity):
        raise damaged("The order of its columns makes no sense.", f"{columns} columns")
    return None if np.array_equal(perm, identity) else perm


class HfSpqr(HfFolder):
    """A folder whose linears are SpQR or plain, each by the tensors that it has."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], *, dense_scheme: str | None = None, data: bool = True
    ) -> None:
        """Opens the files of weights. Arguments as HfFolder's.

        Raises:
            UnsupportedModelError: other than 3 bits or tiles of 16 x 16. InvalidModelFileError: damaged.
        """
        settings = quantization(config)
        found = [settings.get(key, value) for key, value in (("bits", 3), ("beta1", TILE), ("beta2", TILE))]
        if found != [3, TILE, TILE]:
            raise UnsupportedModelError(
                "This model is in a variant of SpQR that cannot be opened here.",
                why="Other than 3 bits in tiles of 16 by 16 were never published.",
                remedy="Choose another build of this model.",
                details=str(found)[:200],
            )
        super().__init__(folder, config, dense_scheme=dense_scheme, data=data)

    def _packed_modules(self) -> dict[str, str]:
        return {name.removesuffix(".dense_weights"): name for name in self._names if name.endswith(".dense_weights")}

    def _shape(self, module: str) -> tuple[int, int, bool]:
        def info(part: str) -> Tensor:
            return self._shards.info(self._names.get(f"{module}.{part}", f"{module}.{part}"))

        perm = info("in_perm") if f"{module}.in_perm" in self._names else None
        return spqr_shape(info("dense_weights"), info("row_offsets"), perm)

    def packed_shape(self, module: str) -> tuple[str, int, int]:
        """See HfFolder."""
        out, columns, _ = self._shape(module)
        return "spqr-3", out, columns

    def _packed_linear(self, module: str) -> PackedLinear:
        def typed(part: str, *kinds: str) -> npt.NDArray[Any]:
            name = f"{module}.{part}"
            if self._info_dtype(name) not in kinds:
                raise damaged(
                    "The parts of a block of weights have the wrong types.", f"{name}: {self._info_dtype(name)}"
                )
            return np.ascontiguousarray(self._stored(name)).reshape(-1)

        with_perm = f"{module}.in_perm" in self._names
        out, columns, blocks = self._shape(module)
        packed = typed("col_vals", "I32", "F32")
        if packed.dtype.kind == "f" and packed.size:
            raise damaged("The parts of a block of weights have the wrong types.", f"{module}.col_vals")
        parts = _words(typed("dense_weights", "I64"), out, columns)
        check_finite(parts["statistics"], "scales", module)
        parts |= _outliers(typed("row_offsets", "I32"), packed, out, columns, blocks)
        perm = _permutation(typed("in_perm", "I32") if with_perm else None, columns)
        made = packer("spqr").SpqrParts(bits=3, perm=perm, **parts)
        return pack("spqr", module, made, bias=self._bias(module, out))
