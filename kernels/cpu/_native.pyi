from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

class Linear:
    def __init__(
        self,
        level: str,
        scheme: int,
        out: int,
        in_: int,
        in_padded: int,
        parameters: Mapping[str, int],
        buffers: Mapping[str, _Array],
        /,
    ) -> None: ...
    def panel_i16(self, first_row: int, k0: int, k: int, panel: _Array, scales: _Array, /) -> None: ...
    def panel_f32(self, first_row: int, k0: int, k: int, panel: _Array, /) -> None: ...

def levels() -> list[str]: ...
def linear(weight: Linear, x: _Array, y: _Array, threads: int, regime: int, precise: bool, /) -> None: ...
def attention(
    level: str,
    q: _Array,
    k: _Array,
    v: _Array,
    out: _Array,
    head_dim: int,
    scale: float,
    committed: int,
    mask: _Array,
    positions: _Array,
    chain: bool,
    window: int,
    q8: bool,
    threads: int,
    /,
) -> None: ...
def store_kv(
    level: str, k: _Array, v: _Array, head_dim: int, q8: bool, moves: _Array, /
) -> tuple[bytes, bytes, bytes, bytes]: ...
def prepare(
    level: str,
    x: _Array,
    perm: _Array | None,
    f32: _Array,
    q: _Array,
    hi: _Array,
    lo: _Array,
    scale: _Array,
    sum16: _Array,
    f32_sum16: _Array,
) -> None: ...
def gemm_i16(
    level: str, q: _Array, scale: _Array, row0: int, k0: int, panel: _Array, row_scale: _Array, y: _Array, /
) -> None: ...
def gemm_f32(level: str, f32: _Array, row0: int, k0: int, panel: _Array, y: _Array, /) -> None: ...
def rms_norm(level: str, x: _Array, weight: _Array, eps: float, y: _Array, /) -> None: ...
def rope(level: str, x: _Array, cos: _Array, sin: _Array, heads: int, /) -> None: ...
def swiglu(level: str, gate: _Array, up: _Array, y: _Array, /) -> None: ...
def add(level: str, x: _Array, y: _Array, /) -> None: ...
def softmax(level: str, x: _Array, y: _Array, /) -> None: ...
def top_k(level: str, x: _Array, indices: _Array, values: _Array, /) -> None: ...
def nearest_codes(
    level: str,
    x: _Array,
    books: _Array,
    norms: _Array,
    beam: int,
    codes: _Array,
    errors: _Array,
    threads: int,
    /,
) -> None: ...
def stream_read(level: str, buffer: _Array, threads: int, /) -> float: ...
def linear_seconds(
    weights: list[Linear], x: _Array, y: _Array, threads: int, regime: int, rounds: int, /
) -> list[float]: ...
def gemv_seconds(
    weights: list[Linear], prepared: Mapping[str, _Array], threads: int, rounds: int, /
) -> list[float]: ...
