"""AQLM linears in Triton: any number of codebooks of up to 16 bits, groups of 8 or 16 inputs.

Two kernels, the two regimes of `kernels.cpu`. `matvec` for few rows: each program owns some output rows and walks the
input groups, gathering codebook vectors, which stay in the L1 cache for 8-bit codebooks and in L2 for 16-bit ones.
`gemm` for many: a tile of weights is decoded once and multiplied by many rows on the tensor cores. Sums are float32.
Source of the scheme: AQLM, section 3; formula in `kernels/cpu/layout.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton

from kernels.cuda import aqlm_triton
from kernels.packed import PackedLinear
from kernels.packing import aqlm as packing


@dataclass(frozen=True, slots=True)
class AqlmWeight:
    """An AQLM linear on a device.

    Attributes:
        codes: (out, in/g, K) int16 holding the unsigned bits of each code (uint8 for codes of up to 8 bits).
        codebooks: (K, 2^bits, g) in the compute dtype.
        scales: (out,) float32. bias: (out,) float32 or None.
    """

    codes: torch.Tensor
    codebooks: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    out_features: int
    in_features: int

    @classmethod
    def upload(cls, packed: PackedLinear, device: torch.device, dtype: torch.dtype) -> AqlmWeight:
        """Brings a packed linear to the device, in the order that the kernels read."""
        codes, codebooks, scales = packing.unpack(packed)
        narrow = packed.parameters["nbits_per_codebook"] <= 8
        codes = np.ascontiguousarray(codes.astype(np.uint8 if narrow else np.uint16))
        bias = packed.buffers.get("bias")
        return cls(
            torch.from_numpy(codes if narrow else codes.view(np.int16)).to(device),
            torch.from_numpy(np.asarray(codebooks, np.float32)).to(device, dtype),
            torch.from_numpy(np.asarray(scales, np.float32)).to(device),
            None if bias is None else torch.from_numpy(np.array(bias, np.float32)).to(device),
            packed.out_features,
            packed.in_features,
        )


def matvec(x: torch.Tensor, weight: AqlmWeight) -> torch.Tensor:
    """Few rows: x (n, in) in the compute dtype -> (n, out) of the same dtype."""
    n_out, n_groups, k = weight.codes.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    block = 16
    aqlm_triton.matvec[(triton.cdiv(n_out, block), x.shape[0])](
        x, weight.codes, weight.codebooks, weight.scales, weight.bias, y, n_out, n_groups,
        K=k, ENTRIES=weight.codebooks.shape[1], G=weight.codebooks.shape[2], HAS_BIAS=weight.bias is not None,
        BLOCK_OUT=block, BLOCK_GROUPS=32,
    )  # fmt: skip
    return y


def gemm(x: torch.Tensor, weight: AqlmWeight) -> torch.Tensor:
    """Many rows: x (n, in) in the compute dtype -> (n, out) of the same dtype."""
    n_out, n_groups, k = weight.codes.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    rows, outs, group = 64, 64, weight.codebooks.shape[2]
    aqlm_triton.gemm[(triton.cdiv(x.shape[0], rows), triton.cdiv(n_out, outs))](
        x, weight.codes, weight.codebooks, weight.scales, weight.bias, y, x.shape[0], n_out, n_groups,
        K=k, ENTRIES=weight.codebooks.shape[1], G=group, HAS_BIAS=weight.bias is not None,
        BLOCK_ROWS=rows, BLOCK_OUT=outs, BLOCK_GROUPS=64 // group,
    )  # fmt: skip
    return y
