from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]
layout: int

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

_Place = tuple[int, int]

class Stream:
    def __init__(
        self,
        path: str,
        ring: _Array,
        pieces: Sequence[tuple[int, int, int, int, int]],
        behind: Sequence[int],
        depth: int,
        rate: float,
        /,
    ) -> None: ...
    def direct(self) -> bool: ...
    def wait(self, block: int, /) -> None: ...
    def release(self, block: int, /) -> None: ...
    def limit(self, rate: float, /) -> None: ...
    def counts(self) -> tuple[int, float, float]: ...

class Program:
    def __init__(self, level: str, threads: int, slots: int, capacity: int, q8: bool, precise: bool, /) -> None: ...
    def embed(self, table: Linear, out: _Place, scale: float, /) -> None: ...
    def rms_norm(self, x: _Place, weight: _Array, eps: float, out: _Place, /) -> None: ...
    def linears(self, x: _Place, weights: list[Linear], outs: list[_Place], accumulate: bool, /) -> None: ...
    def rope(self, x: _Place, head_dim: int, inverse_frequencies: _Array, factor: float, /) -> None: ...
    def attention(
        self, layer: int, q: _Place, k: _Place, v: _Place, head_dim: int, scale: float, out: _Place, window: int, /
    ) -> None: ...
    def swiglu(self, gate: _Place, up: _Place, out: _Place, /) -> None: ...
    def add(self, x: _Place, y: _Place, /) -> None: ...
    def output(self, final: _Place, head: Linear, /) -> None: ...
    def streamed(self, block: int, /) -> None: ...
    def stream(self, stream: Stream, /) -> None: ...
    def finish(self) -> None: ...
    def forward(
        self,
        committed: int,
        tokens: _Array,
        positions: _Array,
        mask: _Array,
        chain: bool,
        wanted: _Array,
        logits: _Array,
        /,
    ) -> bool: ...
    def move(self, from_: int, to: int, /) -> None: ...
    def hidden(self, out: _Array, /) -> None: ...
    def abort(self, flag: bool, /) -> None: ...
    def kv_bytes(self) -> int: ...
    def profile(self, on: bool, /) -> list[list[float]]: ...

class BytePairs:
    def __init__(self, letters: _Array, offsets: _Array, merges: _Array, whole_words: bool, /) -> None: ...
    def encode(self, symbols: _Array, words: _Array, /) -> list[int]: ...

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
def quantize_columns(
    level: str,
    weight: _Array,
    feedback: _Array,
    importance: _Array,
    bits: int,
    price: float,
    codes: _Array,
    scale_codes: _Array,
    zero_codes: _Array,
    statistics: _Array,
    sparse: _Array,
    errors: _Array,
    threads: int,
    /,
) -> None: ...
def search_block(
    level: str,
    wanted: _Array,
    fed: _Array,
    forward: _Array,
    back: _Array | None,
    later: _Array,
    books: _Array,
    held: _Array | None,
    beam: int,
    codes: _Array,
    left: _Array,
    threads: int,
) -> None: ...
def stream_read(level: str, buffer: _Array, threads: int, /) -> float: ...
def linear_seconds(
    weights: list[Linear], x: _Array, y: _Array, batch: int, threads: int, regime: int, rounds: int, /
) -> list[float]: ...
def gemv_seconds(
    weights: list[Linear], prepared: Mapping[str, _Array], batch: int, threads: int, rounds: int, /
) -> list[float]: ...
def stream_seconds(level: str, buffer: _Array, piece: int, threads: int, rounds: int, /) -> list[float]: ...
