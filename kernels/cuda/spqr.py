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
import triton.language as tl

from kernels.packed import PackedLinear
from kernels.packing import spqr as packing

_GROUP = 16


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
    groups = codes.reshape(codes.shape[0], -1, _GROUP).astype(np.uint64)
    packed = np.zeros(groups.shape[:2], np.uint64)
    for lane in range(_GROUP):
        packed |= groups[:, :, lane] << np.uint64(lane * bits)
    words = [(packed >> np.uint64(16 * word) & np.uint64(0xFFFF)).astype(np.uint16) for word in range(bits)]
    return np.stack(words, axis=-1).view(np.int16)


@triton.jit
def _decode(words, first, second, rows, groups, seen, n_groups, BITS: tl.constexpr):
    """(rows, groups, 16) float32 weights without outliers, 0 where `seen` is not."""
    lanes = tl.arange(0, 16)
    at = rows[:, None].to(tl.int64) * n_groups + groups[None, :]
    packed = tl.zeros((rows.shape[0], groups.shape[0]), dtype=tl.int64)
    for word in tl.static_range(BITS):
        part = tl.load(words + at * BITS + word, mask=seen, other=0).to(tl.int64) & 0xFFFF
        packed |= part << (16 * word)
    code = ((packed[:, :, None] >> (lanes * BITS)[None, None, :].to(tl.int64)) & ((1 << BITS) - 1)).to(tl.float32)
    level = tl.load(first + at, mask=seen, other=0).to(tl.int32)
    tile = second + ((rows // 16)[:, None].to(tl.int64) * n_groups + groups[None, :]) * 4
    scale_scale = tl.load(tile, mask=seen, other=0.0)
    zero_scale = tl.load(tile + 1, mask=seen, other=0.0)
    scale_zero = tl.load(tile + 2, mask=seen, other=0.0)
    zero_zero = tl.load(tile + 3, mask=seen, other=0.0)
    scale = scale_scale * ((level & 7).to(tl.float32) - scale_zero)
    zero = zero_scale * ((level >> 3 & 7).to(tl.float32) - zero_zero)
    return scale[:, :, None] * (code - zero[:, :, None])


@triton.jit
def _matvec(
    x, words, first, second, bias, y, n_out, n_groups,
    BITS: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
):  # fmt: skip
    """Grid (output blocks, rows of x), the dense part."""
    rows = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    lanes = tl.arange(0, 16)
    x += tl.program_id(1).to(tl.int64) * n_groups * 16
    total = tl.zeros((BLOCK_OUT,), dtype=tl.float32)
    for start in range(0, n_groups, BLOCK_GROUPS):
        groups = start + tl.arange(0, BLOCK_GROUPS)
        seen = (rows[:, None] < n_out) & (groups[None, :] < n_groups)
        weight = _decode(words, first, second, rows, groups, seen, n_groups, BITS)
        inputs = tl.load(x + groups[:, None] * 16 + lanes[None, :], mask=(groups < n_groups)[:, None], other=0.0)
        total += tl.sum(tl.sum(weight * inputs.to(tl.float32)[None, :, :], axis=2), axis=1)
    inside = rows < n_out
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=inside, other=0.0)
    tl.store(y + tl.program_id(1).to(tl.int64) * n_out + rows, total, mask=inside)


@triton.jit
def _gemm(
    x, words, first, second, bias, y, n_rows, n_out, n_groups,
    BITS: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_GROUPS: tl.constexpr,
):  # fmt: skip
    """Grid (row blocks, output blocks), the dense part: a tile is decoded once and multiplied by BLOCK_ROWS rows."""
    tokens = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    rows = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), dtype=tl.float32)
    for start in range(0, n_groups, BLOCK_GROUPS):
        groups = start + tl.arange(0, BLOCK_GROUPS)
        seen = (rows[:, None] < n_out) & (groups[None, :] < n_groups)
        weight = _decode(words, first, second, rows, groups, seen, n_groups, BITS)
        weight = tl.reshape(weight, (BLOCK_OUT, BLOCK_GROUPS * 16))
        inputs = start * 16 + tl.arange(0, BLOCK_GROUPS * 16)
        offsets = tokens[:, None].to(tl.int64) * n_groups * 16 + inputs[None, :]
        tile = tl.load(x + offsets, mask=(tokens < n_rows)[:, None] & (inputs < n_groups * 16)[None, :], other=0.0)
        total += tl.dot(tile, tl.trans(weight.to(tile.dtype)))
    inside = rows < n_out
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=inside, other=0.0)[None, :]
    offsets = tokens[:, None].to(tl.int64) * n_out + rows[None, :]
    tl.store(y + offsets, total, mask=(tokens < n_rows)[:, None] & inside[None, :])


@triton.jit
def _add_outliers(x, outlier_rows, outlier_cols, outlier_vals, y, n_in, n_out, BLOCK: tl.constexpr):
    """Grid (output rows, rows of x): y[token, row] += sum of outliers of the row times their inputs."""
    row = tl.program_id(0)
    token = tl.program_id(1).to(tl.int64)
    begin = tl.load(outlier_rows + row)
    end = tl.load(outlier_rows + row + 1)
    total = 0.0
    for start in range(begin, end, BLOCK):
        at = start + tl.arange(0, BLOCK)
        cols = tl.load(outlier_cols + at, mask=at < end, other=0)
        values = tl.load(outlier_vals + at, mask=at < end, other=0.0)
        total += tl.sum(values * tl.load(x + token * n_in + cols, mask=at < end, other=0.0).to(tl.float32))
    if end > begin:
        old = tl.load(y + token * n_out + row).to(tl.float32)
        tl.store(y + token * n_out + row, old + total)


def _finish(x: torch.Tensor, weight: SpqrWeight, y: torch.Tensor) -> torch.Tensor:
    if weight.outlier_vals.numel():
        _add_outliers[(weight.out_features, x.shape[0])](
            x, weight.outlier_rows, weight.outlier_cols, weight.outlier_vals, y, x.shape[1], y.shape[1], BLOCK=32
        )
    return y


def matvec(x: torch.Tensor, weight: SpqrWeight) -> torch.Tensor:
    """x (n, in) in the compute dtype -> (n, out) of the same dtype; for few rows."""
    if weight.perm is not None:
        x = x[:, weight.perm].contiguous()
    n_out, n_groups, bits = weight.words.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    block = 16
    _matvec[(triton.cdiv(n_out, block), x.shape[0])](
        x, weight.words, weight.first, weight.second, weight.bias, y, n_out, n_groups,
        BITS=bits, HAS_BIAS=weight.bias is not None, BLOCK_OUT=block, BLOCK_GROUPS=16,
    )  # fmt: skip
    return _finish(x, weight, y)


def gemm(x: torch.Tensor, weight: SpqrWeight) -> torch.Tensor:
    """x (n, in) in the compute dtype -> (n, out) of the same dtype; for many rows."""
    if weight.perm is not None:
        x = x[:, weight.perm].contiguous()
    n_out, n_groups, bits = weight.words.shape
    y = torch.empty(x.shape[0], n_out, dtype=x.dtype, device=x.device)
    rows, outs = 64, 64
    _gemm[(triton.cdiv(x.shape[0], rows), triton.cdiv(n_out, outs))](
        x, weight.words, weight.first, weight.second, weight.bias, y, x.shape[0], n_out, n_groups,
        BITS=bits, HAS_BIAS=weight.bias is not None, BLOCK_ROWS=rows, BLOCK_OUT=outs, BLOCK_GROUPS=4,
    )  # fmt: skip
    return _finish(x, weight, y)
