"""The Triton side of `aqlm.py`. Arguments in capitals are compile-time constants; pointers come first."""

import triton
import triton.language as tl


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
def matvec(
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
def gemm(
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
