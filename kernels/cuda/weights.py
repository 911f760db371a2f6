"""Packed linears on a device, and the one function that multiplies by any of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from kernels.cuda import aqlm, spqr
from kernels.packed import PackedLinear
from kernels.reference import dequantize

#: Most rows for which reading the codes once per row beats decoding tiles for the tensor cores.
MATVEC_ROWS = 6


@dataclass(frozen=True, slots=True)
class DenseWeight:
    """A linear as plain numbers: (out, in) in the compute dtype. q8 and q4 are brought to the device like this, too."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    out_features: int
    in_features: int


_AQLM = ("num_codebooks", "nbits_per_codebook", "in_group_size")

DeviceWeight = aqlm.AqlmWeight | spqr.SpqrWeight | DenseWeight


def upload(packed: PackedLinear, device: torch.device, dtype: torch.dtype) -> DeviceWeight:
    """Brings a packed linear to the device."""
    if packed.scheme == "aqlm":
        return aqlm.AqlmWeight.upload(packed, device, dtype)
    if packed.scheme == "spqr":
        return spqr.SpqrWeight.upload(packed, device)
    bias = packed.buffers.get("bias")
    return DenseWeight(
        torch.from_numpy(dequantize(packed)).to(device, dtype),
        None if bias is None else torch.from_numpy(bias.copy()).to(device, dtype),
        packed.out_features,
        packed.in_features,
    )


def most_bytes(packed: PackedLinear, dtype: torch.dtype) -> int:
    """Bytes that `upload` takes on the device, at most: of SpQR's outliers the padding is counted."""
    out, width = packed.out_features, packed.in_features
    beside = beside_codes(packed, dtype)
    if packed.scheme == "aqlm":
        books, bits, group = (packed.parameters[name] for name in _AQLM)
        return out * (width // group) * books * (1 if bits <= 8 else 2) + beside
    if packed.scheme == "spqr":
        groups = -(-width // spqr.GROUP)
        words = out * groups * (2 * packed.parameters["bits"] + 1)
        statistics = 16 * -(-out // spqr.GROUP) * groups
        outliers = 8 * (packed.buffers["outliers"].size // 2) + 4 * (out + 1)
        return words + statistics + outliers + beside
    return out * width * dtype.itemsize + beside


def beside_codes(packed: PackedLinear, dtype: torch.dtype) -> int:
    """Of those, the bytes of codebooks, scales of rows, the order of inputs, and the bias."""
    out = packed.out_features
    found = 4 * out if "bias" in packed.buffers else 0
    if packed.scheme == "aqlm":
        books, bits, group = (packed.parameters[name] for name in _AQLM)
        found += (books << bits) * group * dtype.itemsize + 4 * out
    return found + (8 * packed.in_features if "perm" in packed.buffers else 0)


def linear(x: torch.Tensor, weight: DeviceWeight) -> torch.Tensor:
    """From x (n, in) to (n, out), bias included, in the regime that suits n."""
    if isinstance(weight, DenseWeight):
        return functional.linear(x, weight.weight, weight.bias)
    few = x.shape[0] <= MATVEC_ROWS
    if isinstance(weight, aqlm.AqlmWeight):
        return aqlm.matvec(x, weight) if few else aqlm.gemm(x, weight)
    return spqr.matvec(x, weight) if few else spqr.gemm(x, weight)


def embedding(tokens: torch.Tensor, weight: DeviceWeight) -> torch.Tensor:
    """Rows of a table: tokens (n,) -> (n, in)."""
    if not isinstance(weight, DenseWeight):
        raise ValueError("an embedding table must be stored as f32, f16, bf16, q8 or q4")
    return weight.weight[tokens]
