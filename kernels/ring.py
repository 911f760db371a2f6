"""A ring of memory that weights pass through, whoever brings them.

From the disk that is `kernels.cpu.stream`, from the machine's memory to a graphics card `kernels.cuda.ring`.

The weights of one step (linears of one input) are a block. Every pass needs the blocks in the same order, so each has
one place in the ring for good, and what points into it never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Ring", "lay", "spread"]


@dataclass(frozen=True, slots=True)
class Ring:
    """Where blocks lie.

    Attributes:
        bytes: of the memory.
        places: of each block.
        behind: how many blocks ago the last one was there, 1 to the number of blocks.
    """

    bytes: int
    places: tuple[int, ...]
    behind: tuple[int, ...]


def lay(sizes: Sequence[int], room: int) -> Ring:
    """One block after the other, from the beginning again where the next would not fit into `room` bytes.

    Args:
        sizes: bytes of each block, multiples of what a place is aligned to.
        room: of the ring; a block that is larger makes it larger.
    """
    room = max(room, *sizes)
    places, at = [], 0
    for size in sizes:
        if at + size > room:
            at = 0
        places.append(at)
        at += size
    count, behind = len(sizes), []
    for block, (place, size) in enumerate(zip(places, sizes, strict=True)):
        for back in range(1, count + 1):
            other = (block - back) % count
            if places[other] < place + size and place < places[other] + sizes[other]:
                break
        behind.append(back)
    return Ring(max(place + size for place, size in zip(places, sizes, strict=True)), tuple(places), tuple(behind))


def spread(sizes: Sequence[int], wanted: int) -> list[bool]:
    """Which blocks to bring in every pass so that they are about `wanted` bytes, in even shares all along the pass.

    Each is within half of its size of the even share, so that neither what brings them nor what computes waits long for
    the other anywhere.
    """
    total, passed, taken = max(sum(sizes), 1), 0, 0
    chosen = []
    for size in sizes:
        passed += size
        chosen.append(2 * (wanted * passed - taken * total) >= size * total)
        taken += size * chosen[-1]
    return chosen
