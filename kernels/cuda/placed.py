"""The weights of a program on a device, which its executors share: all of them there, or some in a ring."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from kernels.cuda.ring import ALIGNMENT, WeightRing, ring_room
from kernels.cuda.weights import DeviceWeight, beside_codes, most_bytes, upload
from kernels.packed import PackedLinear
from kernels.program import LinearAdd, Linears, Program, Step, linears
from kernels.ring import spread

__all__ = ["Needs", "Placed", "needs"]


class Placed:
    """See above.

    Args:
        program: whose weights they are.
        device: where.
        dtype: compute dtype.
        resident: share of the layers' bytes that stays on the device; the others pass through the ring in every pass.

    Attributes:
        ring: None where everything stays.
    """

    def __init__(self, program: Program, device: torch.device, dtype: torch.dtype, resident: float = 1.0) -> None:
        self._weights: dict[int, DeviceWeight] = {}
        self._keep: list[PackedLinear] = []
        chosen = _chosen(program, dtype, resident)
        for number, step in enumerate(program.steps):
            for packed in () if number in chosen else linears(step):
                if id(packed) not in self._weights:  # tied weights are brought once
                    self._weights[id(packed)] = upload(packed, device, dtype)
                    self._keep.append(packed)
        self.ring: WeightRing | None = None
        if chosen:
            self.ring = WeightRing({i: linears(program.steps[i]) for i in chosen}, device, dtype)
            self._weights |= self.ring.weights

    def __getitem__(self, packed: PackedLinear) -> DeviceWeight:
        return self._weights[id(packed)]


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes that `Placed` takes on the device, at most, and that pass through its ring in every pass, about."""

    device: int
    link: int


def needs(program: Program, resident: float = 1.0, dtype: torch.dtype = torch.float16) -> Needs:
    """What `Placed` will take: known before anything is brought to the device."""
    chosen = _chosen(program, dtype, resident)
    stay = {id(one): one for i, step in enumerate(program.steps) if i not in chosen for one in linears(step)}
    blocks = [_block(program.steps[i], dtype) for i in chosen]
    beside = sum(beside_codes(one, dtype) for i in chosen for one in linears(program.steps[i]))
    device = sum(most_bytes(one, dtype) for one in stay.values()) + ring_room(blocks) + beside
    return Needs(device, sum(blocks))


def _chosen(program: Program, dtype: torch.dtype, resident: float) -> list[int]:
    """Steps whose weights do not stay."""
    steps = [i for i, step in enumerate(program.steps) if isinstance(step, Linears | LinearAdd)]
    sizes = [_block(program.steps[i], dtype) for i in steps]
    taken = spread(sizes, round(sum(sizes) * (1 - resident))) if resident < 1 else [False] * len(steps)
    return [i for i, passes in zip(steps, taken, strict=True) if passes]


def _block(step: Step, dtype: torch.dtype) -> int:
    """Bytes of what passes through the ring, each of its tensors at an aligned place; at most."""
    tensors = {"aqlm": 1, "spqr": 6}
    return sum(
        most_bytes(packed, dtype) - beside_codes(packed, dtype) + tensors.get(packed.scheme, 1) * ALIGNMENT
        for packed in linears(step)
    )
