"""Hidden states between blocks: one file of the work folder for each kind and block, read a text at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch

from backend.quantize.graph import Graph
from backend.quantize.store import Pieces, Store
from backend.quantize.torch_blocks import embed, table_rows
from kernels.packed import PackedLinear
from kernels.packing import dense

__all__ = ["States", "Texts", "embedded", "newest"]

Tensor = torch.Tensor
Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Texts:
    """What the model reads: (texts, tokens) int32. `validation` is not learned from."""

    tokens: Tokens
    validation: Tokens

    @property
    def all(self) -> Tokens:
        """The validation's behind the others."""
        return np.concatenate([self.tokens, self.validation])


class States(Sequence[Tensor]):
    """The states of some texts, (tokens, hidden) float32 each, read from the disk when they are asked for.

    Attributes:
        texts: their numbers.
    """

    def __init__(self, pieces: Pieces | None, texts: Sequence[int]) -> None:
        self._pieces, self.texts = pieces, texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, at: int) -> Tensor: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, at: int | slice) -> Any:
        """One, or a part of them."""
        if isinstance(at, slice):
            return States(self._pieces, self.texts[at])
        if self._pieces is None:
            raise IndexError(at)
        return torch.from_numpy(self._pieces.get(str(self.texts[at])))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[at] for at in range(len(self)))


def newest(store: Store, most: int, kinds: Sequence[str]) -> int | None:
    """The last block, `most` at the latest, whose inputs of all kinds are there; None where there is none."""
    for number in range(most, -1, -1):
        if all(store.reading(f"{kind}-{number}") is not None for kind in kinds):
            return number
    return None


def embedded(
    store: Store,
    name: str,
    graph: Graph,
    table: PackedLinear,
    texts: Texts,
    some: Sequence[int],
    tell: Callable[[], None],
) -> None:
    """Writes what the first block reads.

    Args:
        store: where to.
        name: under which name.
        graph: the model.
        table: the embedding, packed in any way that treats rows alone.
        texts: all of them.
        some: the numbers of those that are wanted.
        tell: called for each.
    """
    tokens = texts.all[np.asarray(some)]
    used, places = np.unique(tokens, return_inverse=True)
    rows = dense.pack(table_rows(table, used), "f32")
    places = places.reshape(tokens.shape)
    with store.writing(name) as add:
        for text, place in zip(some, places, strict=True):
            tell()
            add(str(text), embed(graph, rows, torch.from_numpy(place[None].astype(np.int64)))[0].numpy())
