"""SpQR linears in Triton: 3- or 4-bit codes in groups of 16 inputs, two-level statistics, outliers added.

On the device a (row, group of 16) has its codes in `bits` int16 words (code l at bits l * bits and up) and its two
first-level codes in one byte: 3.75 or 4.75 bits a weight with the second level. Outliers are compressed rows and are
added by a kernel of their own. Source of the scheme: SpQR, section 4; formula in `kernels/cpu/layout.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import triton

from kernels.cuda import spqr_triton
from kernels.packed import PackedLinear
from kernels.packing import spqr as packing

#: inputs that share statistics
GROUP = 16


@dataclass(frozen=True, slots=True)
class SpqrWeight:
    """An SpQR linear on a device.

    Attributes:
        words: (out, in/16, bits) int16. first: (out, in/16) uint8, scale code in bits 0-2, zero code in bits 3-5.
        second: (ceil(out/16), in/16, 4) float32: ss, sz, zs, zz.
        outlier_rows: (out + 1,) int32, outlier_cols: (n,) int32, outlier_vals: (n,) float32.
        perm: (in,) int64 or None: input j of the weight is x[perm[j]].
    """

    words: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    outlier_rows: torch.Tensor
    outlier_cols: torch.Tensor
    outlier_vals: torch.Tensor
    perm: torch.Tensor | None
    bias: torch.Tensor | None
    out_features: int
    in_features: int

    @classmethod
    def upload(cls, packed: PackedLinear, device: torch.device) -> SpqrWeight:
        """Brings a packed linear to the device, in the order that the kernels read."""
        parts = packing.unpack(packed)
        bias = packed.buffers.get("bias")

        def there(array: npt.NDArray[np.generic]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        return cls(
            there(_words(parts.codes, parts.bits)),
            there((parts.scale_codes | parts.zero_codes << 3).astype(np.uint8)),
            there(parts.statistics.astype(np.float32)),
            there(parts.outlier_rows.astype(np.int32)),
            there(parts.outlier_cols.astype(np.int32)),
            there(parts.outlier_vals.astype(np.float32)),
            None if parts.perm is None else there(parts.perm.astype(np.int64)),
            None if bias is None else there(bias.astype(np.float32)),
            packed.out_features,
            packed.in_features,
        )


def _words(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.int16]:
    """(out, in) codes -> (out, in/16, bits) int16, 16 codes in 16 * bits bits, the first in the lowest."""
    groups = codes.reshape(codes.shape[0], -1, GROUP).astype(np.uint64)
    packed = np.zeros(groups.shape[:2], np.uint64)
    for lane in range(GROUP):
        packed |= groups[:, :, lane] << np.uint64(lane * bits)
    words = [(packed >> np.uint64(16 * word) & np.uint64(0xFFFF)).astype(np.uint16) for word in range(bits)]
    return np.stack(words, axis=-1).view(np.int16)


def _finish(x: torch.Tensor, weight: SpqrWeight, y: torch.Tensor) -> torch.Tensor:
    if weight.outlier_vals.numel():
        spqr_triton.add_outliers[(weight.out_features, x.shape[0])](
            x, weight.outlier_rows, weight.outlier_cols, weight.outlier_vals, y, x.shape[1], y.shape[1], BLOCK=32
        )
    return y


def matvec(x: torch.Tensor, weight: SpqrWeight) -> torch.Tensor:
    """Few rows: x (n, in) in the compute dtype -> (n, out) of the same dtype."""
    if weight.perm is not None:
        x = x[:, weight.perm].contiguous()
    n_out, n_groups, bits = weight.words.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    block = 16
    spqr_triton.matvec[(triton.cdiv(n_out, block), x.shape[0])](
        x, weight.words, weight.first, weight.second, weight.bias, y, n_out, n_groups,
        BITS=bits, HAS_BIAS=weight.bias is not None, BLOCK_OUT=block, BLOCK_GROUPS=16,
    )  # fmt: skip
    return _finish(x, weight, y)


def gemm(x: torch.Tensor, weight: SpqrWeight) -> torch.Tensor:
    """Many rows: x (n, in) in the compute dtype -> (n, out) of the same dtype."""
    if weight.perm is not None:
        x = x[:, weight.perm].contiguous()
    n_out, n_groups, bits = weight.words.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    rows, outs = 64, 64
    spqr_triton.gemm[(triton.cdiv(x.shape[0], rows), triton.cdiv(n_out, outs))](
        x, weight.words, weight.first, weight.second, weight.bias, y, x.shape[0], n_out, n_groups,
        BITS=bits, HAS_BIAS=weight.bias is not None, BLOCK_ROWS=rows, BLOCK_OUT=outs, BLOCK_GROUPS=4,
    )  # fmt: skip
    return _finish(x, weight, y)
