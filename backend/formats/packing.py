"""The way from numbers in a file to a PackedLinear, with the checks that files need and kernels do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backend.formats.gguf_cursor import damaged
from backend.formats.numbers import check_finite
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, spqr

__all__ = ["DENSE_SCHEMES", "dequantize", "pack", "pack_dense", "packer"]

DENSE_SCHEMES = ("f32", "f16", "bf16")
_F16_MAX = 65504.0


_MODULES = {"aqlm": aqlm, "dense": dense, "spqr": spqr}


def _module(scheme: str) -> Any:
    return _MODULES[scheme]


def packer(scheme: str) -> Any:
    """The module kernels.packing.`scheme`: "aqlm", "dense" or "spqr"."""
    return _module(scheme)


def pack(scheme: str, module: str, *parts: Any, bias: npt.NDArray[np.float32] | None) -> PackedLinear:
    """The linear of a module, from what kernels.packing.`scheme`.pack takes.

    Raises:
        InvalidModelFileError: the parts do not fit together in a way that no reader looked for.
    """
    try:
        packed: PackedLinear = _module(scheme).pack(*parts, bias=bias)
    except ValueError as error:
        raise damaged("The parts of a block of weights do not fit together.", f"{module}: {error}") from error
    return packed


def dequantize(packed: PackedLinear) -> npt.NDArray[np.float32]:
    """The weights (out, in) of any scheme, without the bias."""
    from kernels import reference  # for writers only; a list of models must not wait for it

    return reference.dequantize(packed)


def pack_dense(
    weight: npt.NDArray[Any], scheme: str, bias: npt.NDArray[np.float32] | None, module: str
) -> PackedLinear:
    """Numbers (out, in) of any float type as a linear; f32 where f16 was asked for and a number is beyond its range.

    Raises:
        InvalidModelFileError: a number that is none.
    """
    bound = check_finite(weight, "weights", module)
    if scheme == "f16" and bound > _F16_MAX:
        scheme = "f32"
    return pack("dense", module, weight, scheme, bias=bias)
