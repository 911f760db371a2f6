"""Linears that stay in the machine's memory and pass through a ring on the device, ahead of the steps that use them.

What `kernels.cpu.stream` does from the disk, over the link to a card: copies run on a stream of their own, in the order
of the steps, and go on while the pass computes and after it, for the next one. A block may be sent once the one that
lay on its place was computed with; two events say so, without the processor waiting for either.
"""

from __future__ import annotations

import dataclasses
import logging
import mmap
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kernels.cuda.weights import DeviceWeight, upload
from kernels.packed import PackedLinear
from kernels.ring import lay

__all__ = ["ALIGNMENT", "WeightRing", "ring_room"]

#: of a tensor on the device: what Triton assumes of a pointer is 16, and an allocation has 512
ALIGNMENT = 256
#: Tensors that stay on the device: shared by all rows of a linear, and small beside its codes.
_STAY = frozenset({"codebooks", "scales", "bias", "perm"})

logger = logging.getLogger(__name__)


def ring_room(sizes: Sequence[int]) -> int:
    """Bytes of a ring for such blocks: for one that is computed with and two that arrive meanwhile."""
    return 3 * max(sizes, default=0)


class WeightRing:
    """See above. One thread at a time.

    Args:
        blocks: step of the program -> its linears.
        device: where the ring is; on a CPU copies are made at once, which is how the tests run it.
        dtype: compute dtype.

    Attributes:
        weights: of each linear, by `id`; what they point to is there between `take` and `done` of its step.
        pass_bytes: sent in one pass. ring_bytes: of the ring.
        pinned: the system keeps the host's copy in place, so that the card reads it by itself.
    """

    def __init__(self, blocks: Mapping[int, Sequence[PackedLinear]], device: torch.device, dtype: torch.dtype) -> None:
        steps = sorted(blocks)
        self._number = {step: number for number, step in enumerate(steps)}
        self._host: list[torch.Tensor] = []
        placed: list[list[tuple[PackedLinear, DeviceWeight, dict[str, tuple[int, torch.Tensor]]]]] = []
        for step in steps:
            found = []
            at = 0
            for packed in blocks[step]:
                weight = upload(packed, torch.device("cpu"), dtype)
                inside = {}
                for name, tensor in _tensors(weight).items():
                    if name not in _STAY:
                        inside[name] = (at, tensor)
                        at += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
                found.append((packed, weight, inside))
            host = torch.from_numpy(np.frombuffer(mmap.mmap(-1, max(at, 1)), np.uint8))[:at]
            for _, _, inside in found:
                for start, tensor in inside.values():
                    host[start : start + tensor.nbytes] = tensor.contiguous().view(-1).view(torch.uint8)
            self._host.append(host)
            placed.append(found)
        sizes = [host.nbytes for host in self._host]
        ring = lay(sizes, ring_room(sizes))
        self.pass_bytes, self.ring_bytes = sum(sizes), ring.bytes
        self._behind = ring.behind
        memory = torch.empty(ring.bytes, dtype=torch.uint8, device=device)
        self._places = [memory[at : at + size] for at, size in zip(ring.places, sizes, strict=True)]
        self.weights: dict[int, DeviceWeight] = {}
        for place, found in zip(self._places, placed, strict=True):
            for packed, weight, inside in found:
                there: dict[str, Any] = {
                    name: place[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
                    for name, (start, tensor) in inside.items()
                }
                kept: dict[str, Any] = {
                    name: tensor.to(device) for name, tensor in _tensors(weight).items() if name in _STAY
                }
                self.weights[id(packed)] = dataclasses.replace(weight, **there, **kept)
        self._keep = [packed for found in placed for packed, _, _ in found]  # an `id` is one while its owner lives
        self.pinned = False
        self._stream: torch.cuda.Stream | None = None
        self._arrived: list[torch.cuda.Event] = []
        self._left: list[torch.cuda.Event] = []
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._arrived = [torch.cuda.Event() for _ in sizes]  # type: ignore[no-untyped-call]
            self._left = [torch.cuda.Event() for _ in sizes]  # type: ignore[no-untyped-call]
            self.pinned = self._pin()
        self._sent = self._used = 0  # blocks, counted through all passes since `begin` last found them out of step
        self._send()

    def begin(self) -> None:
        """A pass begins. After one that was given up, the ring is filled from the first block again."""
        if self._used % len(self._host):
            if self._stream is not None:  # rare, and simpler than to show that no place is still in use
                self._stream.wait_stream(torch.cuda.current_stream())
            self._sent = self._used = 0
            self._send()

    def take(self, step: int) -> None:
        """What is computed from here on finds the weights of this step in their place; no other step's do."""
        number = self._number.get(step)
        if number is not None and self._stream is not None:
            torch.cuda.current_stream().wait_event(self._arrived[number])

    def done(self, step: int) -> None:
        """What is computed from here on needs them no more."""
        number = self._number.get(step)
        if number is None:
            return
        if self._stream is not None:
            self._left[number].record(torch.cuda.current_stream())
        self._used += 1
        self._send()

    def _send(self) -> None:
        """Blocks whose place is free, or will be by what was given to the device already."""
        count = len(self._host)
        while (before := self._sent - self._behind[self._sent % count]) < self._used:
            number = self._sent % count
            if self._stream is None:
                self._places[number].copy_(self._host[number])
            else:
                with torch.cuda.stream(self._stream):
                    if before >= 0:
                        self._stream.wait_event(self._left[before % count])
                    self._places[number].copy_(self._host[number], non_blocking=True)
                    self._arrived[number].record(self._stream)
            self._sent += 1

    def _pin(self) -> bool:
        # torch's own pinned memory is rounded up to powers of two: 9 GB of weights would take 16
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        done: list[int] = []
        weakref.finalize(self, _unpin, runtime, done, self._host).atexit = False
        for host in self._host:
            if int(runtime.cudaHostRegister(host.data_ptr(), host.nbytes, 0)) != 0:
                logger.info("the system does not keep the weights in place for the card: copies take longer")
                return False
            done.append(host.data_ptr())
        return True


def _unpin(runtime: object, addresses: list[int], host: list[torch.Tensor]) -> None:
    torch.cuda.synchronize()  # the last blocks that were sent ahead
    for address in addresses:
        runtime.cudaHostUnregister(address)  # type: ignore[attr-defined]
    host.clear()


def _tensors(weight: DeviceWeight) -> dict[str, torch.Tensor]:
    fields = {one.name: getattr(weight, one.name) for one in dataclasses.fields(weight)}
    return {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}
