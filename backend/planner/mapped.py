"""llama.cpp on a processor: which weights it holds twice.

It maps the file, and copies some of the weights that it multiplies in an order of its own. The mapped ones stay mapped
and in memory, but are read no more, so the system can take their pages back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EMBEDDING", "MappedTensor", "added_bytes", "is_copied"]

#: Types that are copied, as its log says of files made of each (x86, AVX-512; llama-cpp-python 0.3.36). Q4_1, Q5_0,
#: Q5_1, Q8_0, Q5_K and Q6_K are not. Other processors were not looked at, and this set is taken for them too.
_COPIED = frozenset({"Q2_K", "Q4_0", "Q4_K", "IQ4_NL"})
#: rows that are interleaved
_ROWS = 8
#: the tensor of the embedding
EMBEDDING = "token_embd.weight"


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """A tensor of the file; `offset` within its data, `rows` of one matrix (a stack of experts has more)."""

    name: str
    kind: str
    rows: int
    offset: int
    bytes: int


def is_copied(kind: str, rows: int) -> bool:
    """Whether a linear of this type is held a second time."""
    return kind in _COPIED and rows % _ROWS == 0


def added_bytes(tensors: Sequence[MappedTensor], *, tied: bool) -> int:
    """What the copies add to the file's bytes.

    The embedding is copied only where it is the head too, and its rows are read from the mapped one all the same. In
    front of the first tensor that is needed as it is, and behind the last, the mapping is given up.

    Args:
        tensors: of the whole file.
        tied: the embedding is the head too.
    """
    copied = [one for one in tensors if one.name.endswith(".weight") and is_copied(one.kind, one.rows)]
    if not tied:
        copied = [one for one in copied if one.name != EMBEDDING]
    names = {one.name for one in copied}
    kept = [one for one in tensors if one.name not in names or one.name == EMBEDDING]
    if not kept:
        return 0
    first, last = min(one.offset for one in kept), max(one.offset for one in kept)
    given_up = sum(one.bytes for one in copied if not first <= one.offset <= last)
    return sum(one.bytes for one in copied) - given_up
