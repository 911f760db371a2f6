"""The native kernels. Single operations here, for tests and benchmarks; whole models through `executor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from kernels.packed import SCHEMES, PackedLinear
from kernels.packing import LAYOUT
from kernels.reference.search import Found

try:
    from kernels.cpu import _native
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError(f"The native kernels are not built ({error}). kernels/cpu/README.md has the command.") from error
# Another one would read weights as something else, without an error. A module from before 3 had a number says nothing.
if (_built := getattr(_native, "layout", 3)) != LAYOUT:
    raise ImportError(
        f"The native kernels were built for layout {_built} of weights and these are of layout {LAYOUT}: "
        "build them again, kernels/cpu/README.md has the command."
    )

Floats = npt.NDArray[np.float32]
Regime = Literal["auto", "decode", "many"]
PANEL_ROWS = 64
BLOCK = 128


def levels() -> tuple[str, ...]:
    """Instruction sets that are compiled and supported here, the best last."""
    return tuple(_native.levels())


def native_linear(packed: PackedLinear, level: str | None = None) -> _native.Linear:
    """The native view of a weight at a level (None: the best); it keeps the buffers alive.

    Raises:
        ValueError: no such level here.
        NotImplementedError: the level has no code for the scheme.
    """
    scheme = SCHEMES.index(packed.scheme)
    sizes = (packed.out_features, packed.in_features, packed.in_padded)
    buffers = {name: np.ascontiguousarray(buffer) for name, buffer in packed.buffers.items()}
    return _native.Linear(level or "", scheme, *sizes, dict(packed.parameters), buffers)


def linear(
    packed: PackedLinear,
    x: npt.ArrayLike,
    *,
    level: str | None = None,
    threads: int = 1,
    regime: Regime = "auto",
    precise: bool = False,
) -> Floats:
    """`x @ weight.T + bias` for x (n, in_features) float32; (n, out_features) float32."""
    rows = _rows(x)
    if rows.shape[1] != packed.in_features:
        raise ValueError(f"rows of {rows.shape[1]} numbers for a weight with {packed.in_features} inputs")
    y = _empty(rows.shape[0], packed.out_features)
    modes: tuple[Regime, ...] = ("auto", "decode", "many")
    _native.linear(native_linear(packed, level), rows, y, threads, modes.index(regime), precise)
    return y


def panel_i16(packed: PackedLinear, level: str | None = None) -> tuple[npt.NDArray[np.int16], Floats]:
    """What the many-rows regime multiplies: integers (out, in_padded), |.| <= 8191, and a scale per row (out,)."""
    weight, k = native_linear(packed, level), packed.in_padded
    rows, scales = [], []
    for first in range(0, packed.out_features, PANEL_ROWS):
        panel = np.full((4, k // 2, 16, 2), np.iinfo(np.int16).min, np.int16)
        scale = _empty(PANEL_ROWS)
        weight.panel_i16(first, 0, k, panel, scale)
        rows.append(panel.transpose(0, 2, 1, 3).reshape(PANEL_ROWS, k))
        scales.append(scale)
    return np.concatenate(rows)[: packed.out_features], np.concatenate(scales)[: packed.out_features]


def panel_f32(packed: PackedLinear, level: str | None = None) -> Floats:
    """What precise mode multiplies: the weights as numbers, (out, in_padded)."""
    weight, k = native_linear(packed, level), packed.in_padded
    rows = []
    for first in range(0, packed.out_features, PANEL_ROWS):
        panel = _empty(4, k, 16)
        weight.panel_f32(first, 0, k, panel)
        rows.append(panel.transpose(0, 2, 1).reshape(PANEL_ROWS, k))
    return np.concatenate(rows)[: packed.out_features]


def prepare(
    x: npt.ArrayLike, level: str | None = None, *, perm: npt.NDArray[np.uint32] | None = None, stride: int = 0
) -> dict[str, npt.NDArray[Any]]:
    """Activations as the linears read them (types.h): arrays f32, q, hi, lo, scale, sum16, f32_sum16 by name."""
    rows = _rows(x)
    n = rows.shape[0]
    stride = stride or -(-rows.shape[1] // BLOCK) * BLOCK
    made: dict[str, npt.NDArray[Any]] = {
        "f32": _empty(n, stride),
        "q": np.full((n, stride), -(2**15), np.int16),
        "hi": np.full((n, stride), -128, np.int8),
        "lo": np.full((n, stride), -128, np.int8),
        "scale": _empty(n, stride // BLOCK),
        "sum16": np.full((n, stride // 16), -(2**31), np.int32),
        "f32_sum16": _empty(n, stride // 16),
    }
    _native.prepare(level or "", rows, perm, *made.values())
    return made


def gemm_i16(
    made: Mapping[str, npt.NDArray[Any]],
    weights: npt.NDArray[np.int16],
    row_scale: npt.ArrayLike,
    y: Floats,
    *,
    row0: int = 0,
    k0: int = 0,
    level: str | None = None,
) -> None:
    """Adds to y (n, >= 64) the rows row0 .. row0 + n of `prepare`'s output times the weights (64, k) from input k0 on.

    In integers, with the scales of the activations' blocks and `row_scale` (64,); k0 and k are multiples of 32.
    """
    panel = weights.reshape(4, 16, -1, 2).transpose(0, 2, 1, 3)
    scales = np.ascontiguousarray(row_scale, np.float32)
    _native.gemm_i16(level or "", made["q"], made["scale"], row0, k0, np.ascontiguousarray(panel), scales, y)


def gemm_f32(
    made: Mapping[str, npt.NDArray[Any]],
    weights: Floats,
    y: Floats,
    *,
    row0: int = 0,
    k0: int = 0,
    level: str | None = None,
) -> None:
    """As `gemm_i16`, with numbers instead of integers."""
    panel = np.ascontiguousarray(weights.reshape(4, 16, -1).transpose(0, 2, 1))
    _native.gemm_f32(level or "", made["f32"], row0, k0, panel, y)


def rms_norm(x: npt.ArrayLike, weight: npt.ArrayLike, eps: float, level: str | None = None) -> Floats:
    """Each run of len(weight) numbers of the rows of x (n, width), as x / sqrt(mean(x^2) + eps) * weight."""
    rows = _rows(x)
    y = _empty(*rows.shape)
    _native.rms_norm(level or "", rows, np.ascontiguousarray(weight, np.float32), eps, y)
    return y


def rope(x: npt.ArrayLike, cos: npt.ArrayLike, sin: npt.ArrayLike, heads: int, level: str | None = None) -> Floats:
    """Rows x (n, heads * head_dim), the halves of the first 2 * cos.shape[1] of each head rotated; cos (n, half)."""
    rows = _rows(x).copy()
    _native.rope(level or "", rows, _rows(cos), _rows(sin), heads)
    return rows


def swiglu(gate: npt.ArrayLike, up: npt.ArrayLike, level: str | None = None) -> Floats:
    """silu(gate) * up, both (n, width)."""
    rows = _rows(gate)
    y = _empty(*rows.shape)
    _native.swiglu(level or "", rows, _rows(up), y)
    return y


def add(x: npt.ArrayLike, y: npt.ArrayLike, level: str | None = None) -> Floats:
    """The sum x + y of two arrays of equal shape."""
    total = np.array(y, np.float32, order="C")
    _native.add(level or "", np.ascontiguousarray(x, np.float32), total)
    return total


def softmax(x: npt.ArrayLike, level: str | None = None) -> Floats:
    """exp(x) / sum(exp(x)) of one vector."""
    numbers = np.ascontiguousarray(x, np.float32)
    y = _empty(numbers.size)
    _native.softmax(level or "", numbers, y)
    return y


def top_k(x: npt.ArrayLike, k: int, level: str | None = None) -> tuple[npt.NDArray[np.int32], Floats]:
    """Indices and values of the k largest of one vector, descending; of equal ones the lower index first."""
    numbers = np.ascontiguousarray(x, np.float32)
    indices, values = np.full(min(k, numbers.size), -1, np.int32), _empty(min(k, numbers.size))
    _native.top_k(level or "", numbers, indices, values)
    return indices, values


def attention(
    q: npt.ArrayLike,
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    head_dim: int,
    scale: float,
    committed: int,
    mask: npt.NDArray[np.uint64] | None = None,
    positions: npt.NDArray[np.int32] | None = None,
    window: int = 0,
    kv: Literal["f16", "q8"] = "f16",
    level: str | None = None,
    threads: int = 1,
) -> Floats:
    """Attention of rows q (n, q_heads * head_dim) over a fresh cache of k and v (committed + n, kv_heads * head_dim).

    `mask` (n, words): bit j of row i: provisional cell committed + j is seen; None: a chain. `positions` (n,) are those
    of the rows; None: a chain behind the committed ones. `window`: positions seen, 0: all.
    """
    queries, keys = _rows(q), _rows(k)
    n = queries.shape[0]
    if keys.shape[0] != committed + n:
        raise ValueError(f"{keys.shape[0]} keys for {committed} committed and {n} new cells")
    at = np.arange(committed, committed + n, dtype=np.int32) if positions is None else positions
    bits = np.zeros((n, -(-n // 64)), np.uint64) if mask is None else np.ascontiguousarray(mask)
    out = _empty(*queries.shape)
    _native.attention(
        level or "",
        queries,
        keys,
        _rows(v),
        out,
        head_dim,
        scale,
        committed,
        bits,
        at,
        mask is None,
        window,
        kv == "q8",
        threads,
    )
    return out


def store_kv(
    k: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    head_dim: int,
    kv: Literal["f16", "q8"] = "f16",
    moves: Sequence[tuple[int, int]] = (),
    level: str | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """A fresh cache after storing the rows of k and v (cells, heads * head_dim) and then moving cells (from, to).

    Returns:
        k (heads, capacity/16, head_dim, 16) and v (heads, capacity, head_dim), float16 or int8; with q8 also ks and vs
        (heads, capacity) float16. Cells never written hold NaN (q8: -1).
    """
    keys = _rows(k)
    heads, capacity = keys.shape[1] // head_dim, -(-keys.shape[0] // 16) * 16
    steps = np.array(moves, np.int32).reshape(-1, 2)
    raw_k, raw_v, raw_ks, raw_vs = _native.store_kv(level or "", keys, _rows(v), head_dim, kv == "q8", steps)
    kind = np.int8 if kv == "q8" else np.float16
    made: dict[str, npt.NDArray[Any]] = {
        "k": np.frombuffer(raw_k, kind).reshape(heads, capacity // 16, head_dim, 16),
        "v": np.frombuffer(raw_v, kind).reshape(heads, capacity, head_dim),
    }
    if kv == "q8":
        made["ks"] = np.frombuffer(raw_ks, np.float16).reshape(heads, capacity)
        made["vs"] = np.frombuffer(raw_vs, np.float16).reshape(heads, capacity)
    return made


def nearest_codes(
    x: npt.ArrayLike, books: npt.ArrayLike, *, beam: int = 4, level: str | None = None, threads: int = 1
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Codes (n, K) of the vectors x (n, g) under additive codebooks, and the squared errors (n,).

    `books` are (K, g, entries): entry z of codebook k is `books[k, :, z]`; 16 to 256 entries, g 8 or 16.
    """
    rows, tables = _rows(x), np.ascontiguousarray(books, np.float32)
    norms = np.ascontiguousarray((tables**2).sum(axis=1))
    codes, errors = np.zeros((rows.shape[0], tables.shape[0]), np.uint8), _empty(rows.shape[0])
    _native.nearest_codes(level or "", rows, tables, norms, beam, codes, errors, threads)
    return codes, errors


def search_block(
    wanted: npt.ArrayLike,
    fed: npt.ArrayLike,
    forward: npt.ArrayLike,
    later: npt.ArrayLike,
    books: npt.ArrayLike,
    *,
    back: npt.ArrayLike | None = None,
    held: npt.NDArray[np.uint8] | None = None,
    beam: int = 8,
    level: str | None = None,
    threads: int = 1,
) -> Found:
    """`kernels.reference.search.search_block`, with half squared distances as integers: a beam of 8 loses under 1 %.

    Of the candidates whose codes are equal modulo 16 two survive a codebook.

    Raises:
        ValueError: shapes that do not fit together.
    """
    rows, tables = _rows(wanted), np.ascontiguousarray(books, np.float32)
    rest = np.array(fed, np.float32, order="C")
    first, after = np.ascontiguousarray(forward, np.float32), np.ascontiguousarray(later, np.float32)
    inverse = None if back is None else np.ascontiguousarray(back, np.float32)
    before = None if held is None else np.ascontiguousarray(held, np.uint8)
    count, group, entries = tables.shape
    groups, width = len(first), rows.shape[1]
    codes = np.zeros((len(rows), groups, count), np.uint8)
    fits = width == groups * group and rest.shape == rows.shape and after.shape == (width, width)
    fits = fits and first.shape == (groups, group, group) and (inverse is None or inverse.shape == first.shape)
    fits = fits and (before is None or before.shape == codes.shape)
    if (
        not fits
        or group not in (8, 16)
        or not 0 < entries <= 256
        or entries % 16
        or not 0 < count <= 8
        or not 0 < beam <= 8
    ):
        raise ValueError(
            f"{width} inputs in {groups} groups of {group}, codebooks of shape {tables.shape}, a beam of {beam}"
        )
    left = _empty(*rows.shape)
    _native.search_block(level or "", rows, rest, first, inverse, after, tables, before, beam, codes, left, threads)
    return Found(codes, left, rest)


def stream_read(buffer: npt.NDArray[np.uint8], *, level: str | None = None, threads: int = 1) -> float:
    """Seconds that reading the buffer once takes all threads together (whole megabytes of it)."""
    return _native.stream_read(level or "", buffer, threads)


def _rows(x: npt.ArrayLike) -> Floats:
    rows = np.ascontiguousarray(x, np.float32)
    if rows.ndim != 2:
        raise ValueError(f"rows of numbers are wanted, not an array of {rows.ndim} dimensions")
    return rows


def _empty(*shape: int) -> Floats:
    """NaN everywhere, so that a number that was not written shows."""
    return np.full(shape, np.nan, np.float32)
