"""What a column loop gives back (`kernels.cpu.column`, `kernels.reference.column`), as SpQR's parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.packing.spqr import TILE, SpqrParts


@dataclass(frozen=True)
class Columns:
    """Arrays of a linear (out, in), columns in the order in which they were visited; made empty, then filled.

    Attributes:
        bits: of the codes, 3 or 4.
        codes, scale_codes, zero_codes, statistics: as those of SpqrParts.
        sparse: (out, in) f16: what is added to the code's weight; 0 where there is no outlier.
        errors: (out,) f32: the squared output error of each row under the damped Hessian.
    """

    bits: int
    codes: npt.NDArray[np.uint8]
    scale_codes: npt.NDArray[np.uint8]
    zero_codes: npt.NDArray[np.uint8]
    statistics: npt.NDArray[np.float16]
    sparse: npt.NDArray[np.float16]
    errors: npt.NDArray[np.float32]

    @classmethod
    def empty(cls, out: int, width: int, bits: int) -> Columns:
        """Numbers that nothing would write: 255 and NaN."""
        tiles = -(-width // TILE)

        def codes(count: int) -> npt.NDArray[np.uint8]:
            return np.full((out, count), 255, np.uint8)

        def half(*shape: int) -> npt.NDArray[np.float16]:
            return np.full(shape, np.nan, np.float16)

        return cls(
            bits=bits,
            codes=codes(width),
            scale_codes=codes(tiles),
            zero_codes=codes(tiles),
            statistics=half(-(-out // TILE), tiles, 4),
            sparse=half(out, width),
            errors=np.full(out, np.nan, np.float32),
        )

    @property
    def outliers(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.sparse))

    def parts(self, perm: npt.NDArray[Any] | None) -> SpqrParts:
        """For `spqr.pack` and the published layout; `perm` (in,): column j was input perm[j]; None: in their order."""
        rows, columns = np.nonzero(self.sparse)
        return SpqrParts(
            bits=self.bits,
            codes=self.codes,
            scale_codes=self.scale_codes,
            zero_codes=self.zero_codes,
            statistics=self.statistics,
            outlier_rows=np.searchsorted(rows, np.arange(len(self.codes) + 1)).astype(np.int32),
            outlier_cols=columns.astype(np.uint16),
            outlier_vals=self.sparse[rows, columns],
            perm=None if perm is None else np.ascontiguousarray(perm, np.uint32),
        )
