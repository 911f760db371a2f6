"""What a quantizer is given of one linear, and what it gives back.

Quantizers (`aqlm.py`, `spqr.py`) work on torch tensors, one linear at a time; what they return is in the kernels'
layout, and its error is taken from that, not from numbers in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backend.quantize.products import product
from kernels.packed import PackedLinear
from kernels.reference import dequantize

__all__ = ["LinearTask", "Quantized", "Stop", "relative_error"]

#: Asked between pieces of work of a second or so: whether to give up by raising `InterruptedError`.
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class LinearTask:
    """One linear to be quantized.

    Attributes:
        module: its name in Hugging Face's models ("model.layers.0.mlp.up_proj").
        weight: (out, in) float32.
        hessian: (in, in) float32, symmetric: the mean of x x^T over calibration tokens (no factor 2, no damping), with
            tokens of massive norm weighted down (`hessian.py`).
        tokens: how many tokens the mean is over: decides the damping.
        bias: (out,) float32, or None; passed on as it is.
        seed: of everything random in this linear.
        threads: how many may compute.
    """

    module: str
    weight: torch.Tensor
    hessian: torch.Tensor
    tokens: int
    bias: npt.NDArray[np.float32] | None = None
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Quantized:
    """A linear in the kernels' layout.

    Attributes:
        packed: what a build holds.
        error: `relative_error` of `packed` under the task's Hessian.
        seconds: wall time it took.
        warm: arrays that help the next linear of the same width (AQLM: its codebooks); stored with the level, so that a
            resumed run starts from the same ones.
    """

    packed: PackedLinear
    error: float
    seconds: float
    warm: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def relative_error(weight: torch.Tensor, packed: PackedLinear, hessian: torch.Tensor) -> float:
    """tr(E H E^T) / tr(W H W^T), E = W - decoded: the squared output error over the squared output.

    Args:
        weight: (out, in) float32.
        packed: of the same shape.
        hessian: (in, in) float32, of calibration or of held-out tokens.
    """
    difference = weight - torch.from_numpy(dequantize(packed))
    wrong = float((product(difference, hessian) * difference).sum(dtype=torch.float64))
    total = float((product(weight, hessian) * weight).sum(dtype=torch.float64))
    return wrong / total if total > 0 else 0.0
