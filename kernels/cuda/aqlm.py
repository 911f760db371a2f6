"""AQLM linears in Triton: any number of codebooks of up to 16 bits, groups of 8 or 16 inputs.

Two kernels with the two regimes of `kernels.cpu`: `matvec` for few rows (each program owns some output rows and walks the
input groups, gathering codebook vectors, which stay in the L1 cache for 8-bit codebooks and in L2 for 16-bit ones), and
`gemm` for many (a tile of weights is decoded once and multiplied by many rows on the tensor cores). Sums are float32.
Source of the scheme: AQLM, section 3; formula in `kernels/cpu/layout.md`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl

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


@triton.jit
def _decode(codes, codebooks, rows, groups, seen, n_groups, K: tl.constexpr, ENTRIES: tl.constexpr, G: tl.constexpr):
    """(rows, groups, G) float32: the sum of the K codebook vectors of each group, 0 where `seen` is not."""
    lanes = tl.arange(0, G)
    total = tl.zeros((rows.shape[0], groups.shape[0], G), dtype=tl.float32)
    for k in tl.static_range(K):
        offsets = (rows[:, None].to(tl.int64) * n_groups + groups[None, :]) * K + k
        code = tl.load(codes + offsets, mask=seen, other=0).to(tl.int32) & (ENTRIES - 1)
        vectors = codebooks + ((k * ENTRIES + code) * G)[:, :, None] + lanes[None, None, :]
        total += tl.load(vectors).to(tl.float32)
    return tl.where(seen[:, :, None], total, 0.0)


@triton.jit
def _matvec(
    x, codes, codebooks, scales, bias, y, n_out, n_groups,
    K: tl.constexpr, ENTRIES: tl.constexpr, G: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_OUT: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
):  # fmt: skip
    """Grid (output blocks, rows of x): y[row, block] = decoded block . x[row]."""
    rows = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    lanes = tl.arange(0, G)
    x += tl.program_id(1).to(tl.int64) * n_groups * G
    total = tl.zeros((BLOCK_OUT,), dtype=tl.float32)
    for start in range(0, n_groups, BLOCK_GROUPS):
        groups = start + tl.arange(0, BLOCK_GROUPS)
        seen = (rows[:, None] < n_out) & (groups[None, :] < n_groups)
        weight = _decode(codes, codebooks, rows, groups, seen, n_groups, K, ENTRIES, G)
        inputs = tl.load(x + groups[:, None] * G + lanes[None, :], mask=(groups < n_groups)[:, None], other=0.0)
        total += tl.sum(tl.sum(weight * inputs.to(tl.float32)[None, :, :], axis=2), axis=1)
    inside = rows < n_out
    total *= tl.load(scales + rows, mask=inside, other=0.0)
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=inside, other=0.0)
    tl.store(y + tl.program_id(1).to(tl.int64) * n_out + rows, total, mask=inside)


@triton.jit
def _gemm(
    x, codes, codebooks, scales, bias, y, n_rows, n_out, n_groups,
    K: tl.constexpr, ENTRIES: tl.constexpr, G: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
):  # fmt: skip
    """Grid (row blocks, output blocks): a tile of the weight is decoded once and multiplied by BLOCK_ROWS rows."""
    tokens = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    rows = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), dtype=tl.float32)
    for start in range(0, n_groups, BLOCK_GROUPS):
        groups = start + tl.arange(0, BLOCK_GROUPS)
        seen = (rows[:, None] < n_out) & (groups[None, :] < n_groups)
        weight = _decode(codes, codebooks, rows, groups, seen, n_groups, K, ENTRIES, G)
        weight = tl.reshape(weight, (BLOCK_OUT, BLOCK_GROUPS * G))
        inputs = start * G + tl.arange(0, BLOCK_GROUPS * G)
        offsets = tokens[:, None].to(tl.int64) * n_groups * G + inputs[None, :]
        tile = tl.load(x + offsets, mask=(tokens < n_rows)[:, None] & (inputs < n_groups * G)[None, :], other=0.0)
        total += tl.dot(tile, tl.trans(weight.to(tile.dtype)))
    inside = rows < n_out
    total *= tl.load(scales + rows, mask=inside, other=0.0)[None, :]
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=inside, other=0.0)[None, :]
    offsets = tokens[:, None].to(tl.int64) * n_out + rows[None, :]
    tl.store(y + offsets, total, mask=(tokens < n_rows)[:, None] & inside[None, :])


def matvec(x: torch.Tensor, weight: AqlmWeight) -> torch.Tensor:
    """x (n, in) in the compute dtype -> (n, out) of the same dtype; for few rows."""
    n_out, n_groups, k = weight.codes.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    block = 16
    _matvec[(triton.cdiv(n_out, block), x.shape[0])](
        x, weight.codes, weight.codebooks, weight.scales, weight.bias, y, n_out, n_groups,
        K=k, ENTRIES=weight.codebooks.shape[1], G=weight.codebooks.shape[2], HAS_BIAS=weight.bias is not None,
        BLOCK_OUT=block, BLOCK_GROUPS=32,
    )  # fmt: skip
    return y


def gemm(x: torch.Tensor, weight: AqlmWeight) -> torch.Tensor:
    """x (n, in) in the compute dtype -> (n, out) of the same dtype; for many rows."""
    n_out, n_groups, k = weight.codes.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    rows, outs, group = 64, 64, weight.codebooks.shape[2]
    _gemm[(triton.cdiv(x.shape[0], rows), triton.cdiv(n_out, outs))](
        x, weight.codes, weight.codebooks, weight.scales, weight.bias, y, x.shape[0], n_out, n_groups,
        K=k, ENTRIES=weight.codebooks.shape[1], G=group, HAS_BIAS=weight.bias is not None,
        BLOCK_ROWS=rows, BLOCK_OUT=outs, BLOCK_GROUPS=64 // group,
    )  # fmt: skip
    return y
