"""Bytes of a model's weights: tensor by tensor for a scheme that is only planned, from the header for a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from backend.formats.gguf import GGUFHeader
from backend.formats.gguf_tables import TENSOR_TYPES, TensorType
from backend.formats.pack_layout import buffer_sizes
from backend.planner.architecture import Architecture, Tensor
from backend.planner.arithmetic import of_token
from backend.planner.mapped import EMBEDDING, MappedTensor, added_bytes, is_copied
from kernels.packed import PackedLinear

__all__ = ["Weights", "by_layer", "gguf_weights", "hf_bytes", "native_bytes", "native_weights", "of_header"]

_TYPES = {kind.name: kind for kind in TENSOR_TYPES.values()}
#: Bytes of SpQR's outliers for a weight: 0.028 to 0.044 in builds of 0.1B to 1.5B, the less the larger.
_OUTLIERS = 0.03
#: What a K-quant becomes where a row is no multiple of its 256.
_FALLBACK = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
#: GGUF's mixtures: the type of most weights, of those that get more bits, and of the head.
_MIXTURES = {
    "Q4_K_M": ("Q4_K", "Q6_K", "Q6_K"),
    "Q5_K_M": ("Q5_K", "Q6_K", "Q6_K"),
    "Q6_K": ("Q6_K", "Q6_K", "Q6_K"),
    "Q8_0": ("Q8_0", "Q8_0", "Q8_0"),
    "F16": ("F16", "F16", "F16"),
    "BF16": ("BF16", "BF16", "BF16"),
}
#: dimensions of a tensor that a vector is multiplied with
_MATRIX = 2
_AQLM = re.compile(r"(\d+)x(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of weights by where they are.

    Attributes:
        embedding: of the embedding; where it is the head too, its bytes are in `head`.
        layers: of each layer.
        head: of the head and what else stands outside of the layers.
        row: of one row of the embedding, which is all of it that a token reads.
        active: share of the layers' bytes that one token reads: below 1 where there are experts.
        copied: what llama.cpp holds a second time on a processor; not in the total.
        multiplied: seconds of one core for the arithmetic of one token (`arithmetic.py`).
    """

    embedding: int
    layers: tuple[int, ...]
    head: int
    row: int
    active: float = 1.0
    copied: int = 0
    multiplied: float = 0.0

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + sum(self.layers) + self.head

    @property
    def per_token(self) -> int:
        """Read for one decoded token."""
        return round(sum(self.layers) * self.active) + self.head + self.row


def gguf_weights(architecture: Architecture, scheme: str, *, head_apart: bool = False) -> Weights:
    """Of a GGUF file that llama.cpp's own tool makes without an importance matrix.

    Args:
        architecture: of the model.
        scheme: a key of `_MIXTURES`, or a plain type.
        head_apart: a tied head is in the file a second time.

    Raises:
        ValueError: a mixture that is not known.
    """
    if scheme not in _MIXTURES and scheme not in _TYPES:
        raise ValueError(f"the mixture {scheme!r} is not known")
    usual, more, head_type = _MIXTURES.get(scheme, (scheme, scheme, scheme))
    apart = head_apart and architecture.tied

    def kind_of(tensor: Tensor) -> str:
        if tensor.kind in ("plain", "router"):
            return "F32"
        if tensor.kind == "head" or (tensor.kind == "embedding" and architecture.tied and not apart):
            return head_type
        return more if tensor.kind in ("v", "down") and _more_bits(tensor.layer, architecture.layers) else usual

    not_linear = {"plain"} if architecture.tied and not apart else {"plain", "embedding"}
    found = _gathered(architecture, lambda tensor: _gguf_bytes(kind_of(tensor), tensor))
    linears = [
        (_gguf_type(kind_of(tensor), tensor).name, tensor)
        for tensor in architecture.tensors()
        if tensor.kind not in not_linear
    ]
    if apart:
        head = Tensor("head", -1, architecture.vocab_size, architecture.hidden_size)
        table = _gguf_bytes(usual, head)
        found = replace(
            found,
            embedding=table,
            head=found.head - table + _gguf_bytes(head_type, head),
            row=table // architecture.vocab_size,
        )
        linears.append((_gguf_type(head_type, head).name, head))
    return replace(
        found,
        copied=sum(_gguf_bytes(kind, tensor) for kind, tensor in linears if is_copied(kind, tensor.rows)),
        multiplied=of_token(
            ((kind, tensor.weights, tensor.copies > 1) for kind, tensor in linears), _share_of_experts(architecture)
        ),
    )


def of_header(header: GGUFHeader, architecture: Architecture) -> Weights:
    """Of a GGUF file, tensor by tensor; experts are stacked in one of three dimensions."""
    tied, sizes = architecture.tied, ((one.name, one.bytes) for one in header.tensors)
    found = by_layer(sizes, architecture.layers, tied, architecture.vocab_size)
    kinds = [TENSOR_TYPES[one.type].name for one in header.tensors]
    mapped = [
        MappedTensor(one.name, kind, one.shape[1] if len(one.shape) > 1 else 1, one.offset, one.bytes)
        for one, kind in zip(header.tensors, kinds, strict=True)
    ]
    experts = sum(one.bytes for one in header.tensors if len(one.shape) > _MATRIX)
    active = _active(architecture, sum(found.layers), sum(found.layers) - experts)
    linears = [
        (kind, one.elements, len(one.shape) > _MATRIX)
        for one, kind in zip(header.tensors, kinds, strict=True)
        if len(one.shape) >= _MATRIX and (tied or one.name != EMBEDDING)
    ]
    multiplied = of_token(linears, _share_of_experts(architecture))
    return replace(found, active=active, copied=added_bytes(mapped, tied=tied), multiplied=multiplied)


def _share_of_experts(architecture: Architecture) -> float:
    return architecture.experts_used / architecture.experts if architecture.experts else 1.0


def _more_bits(layer: int, layers: int) -> bool:
    """Which layers get more bits in a mixture of llama.cpp: the first and last eighth, and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _gguf_type(name: str, tensor: Tensor) -> TensorType:
    kind = _TYPES[name]
    while tensor.columns % kind.block:
        if kind.name not in _FALLBACK:
            return _TYPES["F16"]
        kind = _TYPES[_FALLBACK[kind.name]]
    return kind


def _gguf_bytes(name: str, tensor: Tensor) -> int:
    kind = _gguf_type(name, tensor)
    return tensor.weights // kind.block * kind.bytes


@lru_cache(maxsize=4096)  # layers are alike, and this looks through a layout
def native_bytes(scheme: str, rows: int, columns: int) -> int:
    """Of one linear without its bias in the layout of our kernels.

    Args:
        scheme: "aqlm-2x8" (groups of 8), "spqr-3", "q8", "q4" (groups of 64), "f16" ...; q8 instead where inputs do
            not fill whole groups.
        rows: outputs.
        columns: inputs.

    Raises:
        ValueError: no such scheme.
    """
    aqlm = _AQLM.fullmatch(scheme.removeprefix("aqlm-"))
    outliers = 0
    if scheme.startswith("aqlm-") and aqlm is not None:
        if columns % 8:
            return native_bytes("q8", rows, columns)
        parameters = {"num_codebooks": int(aqlm[1]), "nbits_per_codebook": int(aqlm[2]), "in_group_size": 8}
        packed = PackedLinear("aqlm", rows, columns, parameters)
    elif scheme in ("spqr-3", "spqr-4"):
        if columns % 16:
            return native_bytes("q8", rows, columns)
        packed, outliers = PackedLinear("spqr", rows, columns, {"bits": int(scheme[-1])}), 1
    elif scheme in ("q8", "q4"):
        packed = PackedLinear(scheme, rows, columns, {"group_size": 64})
    elif scheme in ("f32", "f16", "bf16"):
        packed = PackedLinear(scheme, rows, columns)
    else:
        raise ValueError(f"the scheme {scheme!r} is not known")
    exact = sum(np.dtype(kind).itemsize * count for kind, count in buffer_sizes(packed).values() if count)
    return exact + round(outliers * _OUTLIERS * rows * columns)


def native_weights(architecture: Architecture, scheme: str, *, table: str = "q4") -> Weights:
    """Of a pack with every linear of the layers in one scheme, and embedding and head in another.

    Raises:
        ValueError: no such scheme.
    """

    def kind_of(tensor: Tensor) -> str:
        return table if tensor.kind in ("embedding", "head") else scheme

    def size(tensor: Tensor) -> int:
        if tensor.kind == "plain":
            return 4 * tensor.weights
        return native_bytes(kind_of(tensor), tensor.rows, tensor.columns) * tensor.copies

    not_linear = {"plain"} if architecture.tied else {"plain", "embedding"}
    linears = (
        (kind_of(tensor), tensor.weights, tensor.copies > 1)
        for tensor in architecture.tensors()
        if tensor.kind not in not_linear
    )
    multiplied = of_token(linears, _share_of_experts(architecture))
    return replace(_gathered(architecture, size), multiplied=multiplied)


def hf_bytes(architecture: Architecture, codebooks: int, bits: int) -> int:
    """Of an AQLM checkpoint in Hugging Face's layout: codes of a byte or two, embedding and head as f16."""
    total = 0
    for tensor in architecture.tensors():
        if tensor.kind in ("embedding", "head", "plain", "router"):
            total += 2 * tensor.weights
        else:
            codes = tensor.rows * (tensor.columns // 8) * codebooks * (1 if bits <= 8 else 2)
            total += (codes + 2 * tensor.rows + 2 * 8 * (codebooks << bits)) * tensor.copies
    return total


def _gathered(architecture: Architecture, size: Callable[[Tensor], int]) -> Weights:
    layers = [0] * architecture.layers
    shared = [0] * architecture.layers
    embedding = head = 0
    for tensor in architecture.tensors():
        bytes_ = size(tensor)
        if tensor.layer >= 0:
            layers[tensor.layer] += bytes_
            shared[tensor.layer] += bytes_ if tensor.copies == 1 else 0
        elif tensor.kind == "embedding" and not architecture.tied:
            embedding += bytes_
        else:
            head += bytes_
    return Weights(
        embedding,
        tuple(layers),
        head,
        embedding // architecture.vocab_size,
        _active(architecture, sum(layers), sum(shared)),
    )


def _active(architecture: Architecture, layers: int, shared: int) -> float:
    if not architecture.experts or not layers:
        return 1.0
    return (shared + (layers - shared) * architecture.experts_used / architecture.experts) / layers


def by_layer(sizes: Iterable[tuple[str, int]], count: int, tied: bool, rows: int) -> Weights:
    """Of a file's own tensors.

    Args:
        sizes: name ("blk.3.attn_q.weight", "model.layers.3.mlp.up_proj") and bytes.
        count: layers.
        tied: the embedding is the head too.
        rows: of the embedding.
    """
    layers = [0] * count
    embedding = head = 0
    for name, bytes_ in sizes:
        found = re.search(r"(?:blk|layers)\.(\d+)\.", name)
        if found is not None and int(found[1]) < count:
            layers[int(found[1])] += bytes_
        elif "embd" in name or "embed_tokens" in name:
            embedding += bytes_
        else:
            head += bytes_
    if tied:
        embedding, head = 0, embedding + head
    return Weights(embedding, tuple(layers), head, embedding // max(rows, 1))
