"""What the words of `nutshell pack --scheme` mean, and one linear by each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError, InvalidRequestError
from backend.quantize.residual_kmeans import Search, quantize
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, q8, spqr

__all__ = ["HEAD_SCHEMES", "SCHEMES", "Encoded", "Recipe", "dense_rows", "encode", "expected_bytes", "recipe_named"]

Floats = npt.NDArray[np.float32]

#: One scale for 64 inputs: q4 is 4.25 bits, q8 8.25. Widths of small models (576, 896) are multiples of 64, not of 128.
_GROUP = 64
#: SpQR's outliers: half a percent of the weights, 0.16 bits a weight; past 1 % another bit is cheaper.
_OUTLIERS = 0.005
#: Rows in one piece where only a piece at a time is held as float32: 4 M numbers, 16 MB.
_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scheme with its numbers.

    Attributes:
        name: the word for it.
        scheme: of PackedLinear.
        number: aqlm: codebooks; spqr: bits; 0 for the others.
        bits: nominal bits per weight, scales included, codebooks and outliers not.
    """

    name: str
    scheme: str
    number: int
    bits: float


_ALL = (
    *(Recipe(f"aqlm-{k}x8", "aqlm", k, float(k)) for k in (2, 3, 4)),
    *(Recipe(f"spqr-{bits}", "spqr", bits, bits + 0.625) for bits in (3, 4)),
    Recipe("q4", "q4", 0, 4.25),
    Recipe("q8", "q8", 0, 8.25),
    Recipe("f16", "f16", 0, 16.0),
    Recipe("bf16", "bf16", 0, 16.0),
    Recipe("f32", "f32", 0, 32.0),
)
#: for the linears of the layers
SCHEMES = ("aqlm-2x8", "aqlm-3x8", "aqlm-4x8", "spqr-3", "spqr-4", "q8", "q4")
#: for the embedding and the head
HEAD_SCHEMES = ("q4", "q8", "f16", "bf16", "f32")


def recipe_named(name: str, known: tuple[str, ...] = SCHEMES) -> Recipe:
    """The recipe for a word.

    Raises:
        InvalidRequestError: there is none.
    """
    for recipe in _ALL:
        if recipe.name == name and name in known:
            return recipe
    raise InvalidRequestError(f"There is no scheme {name!r} here.", remedy=f"Use one of {', '.join(known)}.")


def expected_bytes(recipe: Recipe, out_features: int, in_features: int) -> int:
    """About how much a linear will take, for the check of the disk: rather too much than too little."""
    extra = 1 << 15 if recipe.scheme == "aqlm" else 1 << 12
    return int(out_features * in_features * (recipe.bits + 0.2) / 8) + 6 * out_features + extra


@dataclass(frozen=True, slots=True)
class Encoded:
    """A linear, and how far it is from its source: squared error over squared weight."""

    packed: PackedLinear
    error: float


def encode(source: PackedLinear, recipe: Recipe, search: Search, module: str) -> Encoded:
    """A dense linear by a recipe, its bias kept.

    Raises:
        InvalidModelFileError: weights that are not finite, or too large for the scheme's half-precision scales.
    """
    bias = source.buffers.get("bias")
    if recipe.scheme == "aqlm":
        weight = _checked(dense.dequantize(source), module)
        parts = quantize(weight, recipe.number, search)
        packed = aqlm.pack(parts.codes, parts.codebooks, parts.scales, bias=bias, in_features=source.in_features)
        return Encoded(packed, parts.error)
    if recipe.scheme == "spqr":
        weight = _checked(dense.dequantize(source), module)
        packed = spqr.quantize(weight, recipe.number, _OUTLIERS, bias=bias)
        return Encoded(packed, _error(weight, spqr.dequantize(packed)))
    return _in_pieces(source, recipe, bias, module)


def dense_rows(source: PackedLinear, first: int, count: int) -> PackedLinear:
    """Rows `first` .. `first + count` of a dense linear, as views, without the bias; `first` is a multiple of 64."""
    last = min(first + count, source.out_features)
    buffers = {"data": source.buffers["data"][first // 16 : -(-last // 16)]}
    if "row_max" in source.buffers:
        buffers["row_max"] = source.buffers["row_max"][first : -(-last // 64) * 64]
    return replace(source, out_features=last - first, buffers=buffers)


def _in_pieces(source: PackedLinear, recipe: Recipe, bias: Any, module: str) -> Encoded:
    """The schemes that treat each row alone, some rows at a time: an embedding as float32 would be a gigabyte."""
    packed, wrong, total = [], 0.0, 0.0
    for piece in _pieces(source):
        weight = _checked(dense.dequantize(piece), module)
        if recipe.scheme in ("q4", "q8"):
            module_of = {"q4": q4, "q8": q8}[recipe.scheme]
            part = module_of.quantize(weight, _GROUP)
            decoded = module_of.dequantize(part)
        else:
            part = dense.pack(weight, recipe.scheme)
            decoded = dense.dequantize(part)
        packed.append(part)
        difference = weight - decoded
        wrong += float(np.vdot(difference, difference))
        total += float(np.vdot(weight, weight))
    buffers: dict[str, npt.NDArray[Any]] = {
        name: np.concatenate([part.buffers[name] for part in packed]) for name in packed[0].buffers
    }
    if bias is not None:
        buffers["bias"] = np.ascontiguousarray(bias, np.float32)
    whole = replace(packed[0], out_features=source.out_features, buffers=buffers)
    return Encoded(whole, wrong / total if total else 0.0)


def _pieces(source: PackedLinear) -> Iterator[PackedLinear]:
    step = max(1, _PIECE // source.in_features // 64) * 64
    for first in range(0, source.out_features, step):
        yield dense_rows(source, first, step)


def _checked(weight: Floats, module: str) -> Floats:
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= 65504.0:  # NaN included
        raise InvalidModelFileError(
            "This model's weights cannot be packed.",
            why=f"{module} has weights that are not numbers, or too large for half precision.",
            remedy="The file is probably damaged. Download it again, or choose another one.",
        )
    return weight


def _error(weight: Floats, decoded: Floats) -> float:
    total = float(np.vdot(weight, weight))
    difference = weight - decoded
    return float(np.vdot(difference, difference)) / total if total else 0.0
