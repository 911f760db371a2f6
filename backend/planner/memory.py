"""Bytes that a loaded model holds: weights, keys and values, buffers, tokenizer, process, draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backend.planner.architecture import Architecture

__all__ = [
    "STREAMED_PASS", "Engine", "KvType", "Memory", "cell_bytes", "compute_bytes", "kv_bytes", "pass_tokens",
    "ring_bytes", "takes_q8", "tokenizer_bytes",
]  # fmt: skip

Engine = Literal["native", "llama.cpp"]
KvType = Literal["f16", "q8", "q4"]

#: llama.cpp: bytes of 32 numbers
_BLOCK = {"f16": 64, "q8": 34, "q4": 18}
#: llama.cpp gives cells in lots
_CELLS = 256
#: sequences of our contexts in llama.cpp, one for each leaf of a tree; a window is kept for each
_SEQUENCES = 64
#: most tokens of one pass where weights are read from the disk: as few readings of a prompt as can be
STREAMED_PASS = 512
#: what weights from the disk are read into: twice the widest linears, which are not more than so much of a layer, and
#: four reads beside them
_RING_LAYER, _RING_READS = 1.3, 16 << 20
#: Interpreter, server and libraries: 35 MB in a process that has imported the server, and what storage adds.
PROCESS = 45 << 20
#: Our own tokenizer: 23 MB stay, with 49,152 entries as with 151,936.
_TOKENIZER = 23_000_000
#: llama.cpp's vocabulary: 553 bytes for an entry, between 49,152 and 151,936.
_ENTRY = 553


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one model.

    `learned`: what earlier loads took beyond the rest, negative where they took less. `copied`: weights that llama.cpp
    holds a second time; the mapped ones are read no more, so the system can have their pages and they are not needed.
    """

    weights: int
    kv: int
    compute: int
    tokenizer: int
    process: int = PROCESS
    draft: int = 0
    learned: int = 0
    copied: int = 0

    @property
    def total(self) -> int:
        """All that is needed."""
        return self.weights + self.kv + self.compute + self.tokenizer + self.process + self.draft + self.learned

    @property
    def peak(self) -> int:
        """What the process holds while nobody else wants memory."""
        return self.total + self.copied


def pass_tokens(weight_bytes: int, engine: Engine) -> int:
    """Most tokens of one prefill pass: fewer for slow models, so that progress moves about once a second."""
    most = 256 if engine == "native" else 512  # in our engine 512 are no faster, and take 28 MB more
    if weight_bytes < 700 << 20:
        return most
    return min(most, 256 if weight_bytes < 4000 << 20 else 128)


def ring_bytes(layers: Sequence[int]) -> int:
    """Of the ring that layers of these sizes are read into from the disk: 40 MB measured with 1.5B and 4 bits."""
    return round(_RING_LAYER * max(layers, default=0)) + _RING_READS


def kv_bytes(architecture: Architecture, n_ctx: int, kv: KvType, engine: Engine, n_batch: int = 512) -> int:
    """Of the whole cache.

    Our engine: cells in lots of 16; q8 is a byte with an f16 scale for a head and position; windows save nothing.
    llama.cpp: cells in lots of 256; a layer with a window holds it once for every sequence.

    Raises:
        ValueError: a type that the engine does not have.
    """
    if engine == "native":
        if kv == "q4":
            raise ValueError("our own engine has no keys and values of 4 bits")
        cells = -(-n_ctx // 16) * 16 * architecture.kv_heads
        numbers = cells * architecture.head_dim * (2 if kv == "f16" else 1)
        scales = -(-cells * 2 // 64) * 64 if kv == "q8" else 0
        return architecture.layers * 2 * (-(-numbers // 64) * 64 + scales)
    full = -(-n_ctx // _CELLS) * _CELLS
    window = min(full, -(-(architecture.sliding_window * _SEQUENCES + n_batch) // _CELLS) * _CELLS)
    row = cell_bytes(architecture, kv, engine)
    return sum(row * (window if architecture.windowed(layer) else full) for layer in range(architecture.layers))


def cell_bytes(architecture: Architecture, kv: KvType, engine: Engine) -> int:
    """Of one cell in one layer, keys and values together; without the scales' rounding in our engine."""
    if engine == "native":
        return 2 * (architecture.kv_width * 2 if kv == "f16" else architecture.kv_width + 2 * architecture.kv_heads)
    return 2 * (architecture.kv_width * _BLOCK[kv] // 32)


def takes_q8(architecture: Architecture, engine: Engine) -> bool:
    """Whether keys and values of 8 bits are possible: llama.cpp wants heads of a multiple of 32."""
    return engine == "native" or architecture.head_dim % 32 == 0


def tokenizer_bytes(architecture: Architecture, engine: Engine) -> int:
    """What the vocabulary takes; measured, not counted."""
    return _TOKENIZER if engine == "native" else architecture.vocab_size * _ENTRY


def compute_bytes(architecture: Architecture, engine: Engine, n_batch: int, rows: int = 1, cells: int = 0) -> int:
    """What a pass works in.

    Args:
        architecture: sizes.
        engine: which.
        n_batch: most nodes of a pass.
        rows: nodes of which logits are wanted at once: 1 in plain decoding, all of a tree's with speculation. llama.cpp
            reserves more of them, which is never touched and so never held.
        cells: of the cache; llama.cpp's mask has two bytes for each and each node.

    For each node: its state twice, queries, keys, values, and the feed-forward part three times, as float32. Measured
    with 0.1B and 0.5B: 6.6 and 17 MB of 256 nodes in our engine (6.9 and 18 here). llama.cpp touches 15 and 39 MB of
    512 nodes (15 and 39 here), and 35 of 256 with 1.5B (36), mask apart; 4 MB are there from the load on.
    """
    inner = (architecture.expert_size or architecture.intermediate_size) * max(architecture.experts_used, 1)
    width = 2 * architecture.hidden_size + architecture.q_width + 2 * architecture.kv_width + 3 * inner
    if engine == "native":
        return 4 * (n_batch * width + rows * architecture.vocab_size)
    return round(4.4 * n_batch * width) + (4 << 20) + 4 * rows * architecture.vocab_size + 2 * n_batch * cells
