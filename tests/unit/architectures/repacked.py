"""A checkpoint packed by a scheme, from its weights alone: crude, but what the kernels must compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.cpu import nearest_codes
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, q8, spqr
from kernels.reference import dequantize
from tests.unit.architectures.checkpoints import Floats

Pack = Callable[[Floats, Floats | None], PackedLinear]


class Repacked:
    """The tensors of a checkpoint, with a scheme for every `step`th layer's linears and one for the embedding and head.

    The other layers stay as they are. A 2-bit build of a small model from weights alone is noise (7 nats beside its
    source) and amplifies every rounding 40-fold; in a few layers the kernels are seen, and not that.
    """

    def __init__(self, source: Any, layers: Pack, table: Pack, step: int) -> None:
        self._source, self._layers, self._table, self._step = source, layers, table, step
        self.config: Mapping[str, Any] = source.config

    def has(self, name: str) -> bool:
        return bool(self._source.has(name))

    def linears(self) -> Sequence[str]:
        return list(self._source.linears())

    def arrays(self) -> Sequence[str]:
        return list(self._source.arrays())

    def array(self, name: str) -> Floats:
        return np.asarray(self._source.array(name))

    def linear(self, module: str) -> PackedLinear:
        plain: PackedLinear = self._source.linear(module)
        _, found, layer = module.partition(".layers.")
        if found and int(layer.partition(".")[0]) % self._step:
            return plain
        return (self._layers if found else self._table)(dequantize(plain), plain.buffers.get("bias"))


def crude_aqlm(weight: Floats, bias: Floats | None, count: int) -> PackedLinear:
    """K-means on a sample, one codebook of what those before it left over after the other; seconds, not minutes."""
    dice = np.random.default_rng(0)
    scales = np.sqrt((weight**2).mean(1, keepdims=True)) + 1e-8
    vectors = np.ascontiguousarray((weight / scales).reshape(-1, 8), np.float32)
    rest = vectors[dice.choice(len(vectors), min(len(vectors), 1 << 13), replace=False)]
    books = []
    for _ in range(count):
        book = rest[dice.choice(len(rest), 256, replace=False)]
        for _ in range(4):
            codes = _nearest(rest, book[None])[:, 0]
            counts = np.maximum(np.bincount(codes, minlength=256), 1)
            book = np.stack([np.bincount(codes, column, 256) / counts for column in rest.T], axis=1)
            book = book.astype(np.float16).astype(np.float32)
        rest = rest - book[_nearest(rest, book[None])[:, 0]]
        books.append(book)
    codebooks = np.stack(books)
    codes = _nearest(vectors, codebooks)
    return aqlm.pack(codes.reshape(len(weight), -1, count), codebooks, scales[:, 0], bias=bias)


def _nearest(vectors: Floats, codebooks: Floats) -> npt.NDArray[np.uint8]:
    codes, _errors = nearest_codes(vectors, np.ascontiguousarray(codebooks.transpose(0, 2, 1)), beam=1)
    return np.asarray(codes)


def _f16(weight: Floats, bias: Floats | None) -> PackedLinear:
    return dense.pack(weight, "f16", bias=bias)


def _bf16(weight: Floats, bias: Floats | None) -> PackedLinear:
    return dense.pack(weight, "bf16", bias=bias)


def _q8(weight: Floats, bias: Floats | None) -> PackedLinear:
    return q8.quantize(weight, 64, bias=bias)


def _q4(weight: Floats, bias: Floats | None) -> PackedLinear:
    return q4.quantize(weight, 32, bias=bias)


def _spqr(bits: int) -> Pack:
    return lambda weight, bias: spqr.quantize(weight, bits, 0.01, bias=bias)


def _aqlm(count: int) -> Pack:
    return lambda weight, bias: crude_aqlm(weight, bias, count)


#: name -> (the layers' linears, embedding and head, every how many layers)
SCHEMES: dict[str, tuple[Pack, Pack, int]] = {
    "f16": (_f16, _f16, 1),
    "bf16": (_bf16, _bf16, 1),
    "q8": (_q8, _q8, 1),
    "q4": (_q4, _q4, 1),
    "spqr-3": (_spqr(3), _q8, 4),
    "spqr-4": (_spqr(4), _q8, 4),
    "aqlm-1x8": (_aqlm(1), _q8, 10),
    "aqlm-2x8": (_aqlm(2), _q8, 10),
    "aqlm-3x8": (_aqlm(3), _q8, 10),
    "aqlm-4x8": (_aqlm(4), _q8, 10),
}
