"""Packed linears as plain numbers."""

from __future__ import annotations

import importlib

import numpy as np
import numpy.typing as npt

from kernels.packed import SCHEMES, PackedLinear


def dequantize(packed: PackedLinear) -> npt.NDArray[np.float32]:
    """The weights (out, in) of any scheme, columns in the order of the inputs, without the bias.

    Raises:
        ValueError: a scheme that does not exist.
    """
    if packed.scheme not in SCHEMES:
        raise ValueError(f"the scheme {packed.scheme!r}; there are {', '.join(SCHEMES)}")
    module = "dense" if packed.scheme in ("f32", "f16", "bf16") else packed.scheme
    weights: npt.NDArray[np.float32] = importlib.import_module(f"kernels.packing.{module}").dequantize(packed)
    return weights


def linear(packed: PackedLinear, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`x @ weight.T + bias` in float64 for x (n, in); (n, out)."""
    y = np.asarray(x, np.float64) @ dequantize(packed).astype(np.float64).T
    bias = packed.buffers.get("bias")
    return y if bias is None else y + bias.astype(np.float64)
