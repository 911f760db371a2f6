"""The Triton side of `spqr.py`. Arguments in capitals are compile-time constants; pointers come first."""

import triton
import triton.language as tl


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
def matvec(
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
def gemm(
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
def add_outliers(x, outlier_rows, outlier_cols, outlier_vals, y, n_in, n_out, BLOCK: tl.constexpr):
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
