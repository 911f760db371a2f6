"""A linear in the layout that the kernels read: a scheme, its parameters, and named buffers (cpu/layout.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

#: Schemes of packed linears, in the order of the C++ enum.
SCHEMES = ("f32", "f16", "bf16", "q8", "q4", "spqr", "aqlm")


@dataclass(frozen=True)
class PackedLinear:
    """Weights of shape (out_features, in_features), packed.

    Attributes:
        scheme: one of SCHEMES.
        parameters: q8, q4: `group_size`. spqr: `bits`. aqlm: `num_codebooks`, `nbits_per_codebook`, `in_group_size`.
        buffers: arrays by the names of cpu/layout.md; read-only views into a mapped file are fine.
    """

    scheme: str
    out_features: int
    in_features: int
    parameters: Mapping[str, int] = field(default_factory=dict)
    buffers: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def in_padded(self) -> int:
        """Inputs that the buffers hold."""
        unit = max(32, self.parameters.get("group_size", 32))
        return -(-self.in_features // unit) * unit

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers: what one decoded token reads."""
        return sum(buffer.nbytes for buffer in self.buffers.values())
