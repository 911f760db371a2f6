"""Damages a GGUF file in seeded ways, most of them aimed at the fields that a careless reader trusts."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
#: what counts, lengths, dimensions and offsets are overwritten with
_EVIL_64 = [
    *(0, 1, 2, 3, 5, 31, 32, 33, 255, 65535, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1),
    *((1 << 61) + 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 8, (1 << 64) - 1),
]
_EVIL_32 = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 16, 31, 42, 43, 64, 127, 255, 512, 513, 1 << 16, 1 << 30]
_EVIL_32 += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1]


@dataclass
class Anatomy:
    """Offsets in a sound file, by what lies there."""

    counts: list[int] = field(default_factory=list)  # 64-bit: numbers of keys, tensors, array elements
    lengths: list[int] = field(default_factory=list)  # 64-bit: of strings
    types: list[int] = field(default_factory=list)  # 32-bit: value types and tensor types
    dimensions: list[int] = field(default_factory=list)  # 64-bit
    dimension_counts: list[int] = field(default_factory=list)  # 32-bit
    offsets: list[int] = field(default_factory=list)  # 64-bit, of tensor data
    scalars: list[tuple[int, int]] = field(default_factory=list)  # offset and width of values
    texts: list[tuple[int, int]] = field(default_factory=list)  # offset and length of strings
    keys: list[tuple[int, int]] = field(default_factory=list)  # start and end of whole entries
    tensors: list[tuple[int, int]] = field(default_factory=list)  # likewise
    header_end: int = 0


def anatomy(data: bytes) -> Anatomy:
    """Walks over a sound little-endian version 3 file."""
    found = Anatomy(counts=[8, 16])
    position = 24

    def number(width: int) -> int:
        nonlocal position
        position += width
        return int.from_bytes(data[position - width : position], "little")

    def text() -> None:
        nonlocal position
        found.lengths.append(position)
        length = number(8)
        found.texts.append((position, length))
        position += length

    def value(kind: int) -> None:
        nonlocal position
        if kind == _STRING:
            text()
        else:
            found.scalars.append((position, _WIDTHS[kind]))
            position += _WIDTHS[kind]

    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    for _ in range(n_keys):
        start = position
        text()
        found.types.append(position)
        kind = number(4)
        if kind == _ARRAY:
            found.types.append(position)
            kind = number(4)
            found.counts.append(position)
            for _ in range(number(8)):
                value(kind)
        else:
            value(kind)
        found.keys.append((start, position))
    for _ in range(n_tensors):
        start = position
        text()
        found.dimension_counts.append(position)
        for _ in range(number(4)):
            found.dimensions.append(position)
            number(8)
        found.types.append(position)
        number(4)
        found.offsets.append(position)
        number(8)
        found.tensors.append((start, position))
    found.header_end = position
    return found


def mutations(path: Path, n: int, seed: int) -> Iterator[bytes]:
    """`n` damaged copies of a sound file, the same ones for the same seed."""
    data = path.read_bytes()
    parts = anatomy(data)
    rng = random.Random(seed)
    for _ in range(n):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            rng.choice(_KINDS)(damaged, parts, rng)
        yield bytes(damaged)


def _flip(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(min(parts.header_end, len(data)))
        data[at] ^= 1 << rng.randrange(8)


def _run(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    at = rng.randrange(min(parts.header_end, len(data)))
    length = rng.choice((1, 2, 4, 8, 16, 64))
    fill = rng.choice((b"\0", b"\xff", b"\x80", b"A")) * length if rng.random() < 0.5 else rng.randbytes(length)
    data[at : at + length] = fill[: len(data) - at]


def _truncate(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    del data[rng.randrange(len(data) if rng.random() < 0.3 else min(parts.header_end, len(data))) or 1 :]


def _overwrite(data: bytearray, at: int, width: int, value: int) -> None:
    if at + width <= len(data):
        data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _count(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    places = rng.choice((parts.counts, parts.lengths, parts.dimensions, parts.offsets))
    at = rng.choice(places)
    old = int.from_bytes(data[at : at + 8], "little")
    near = [old + 1, old - 1, old * 2, old + 32, old - 32, -old]
    _overwrite(data, at, 8, rng.choice(_EVIL_64 if rng.random() < 0.6 else near))


def _type(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    _overwrite(data, rng.choice(parts.types), 4, rng.choice((*range(44), (1 << 32) - 1)))


def _dimension_count(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    _overwrite(data, rng.choice(parts.dimension_counts), 4, rng.choice(_EVIL_32))


def _scalar(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    """A setting, not an element of a long list: those are hit by the others often enough."""
    single = [place for place in parts.scalars if any(place[0] + place[1] == end for _, end in parts.keys)]
    at, width = rng.choice(single)
    _overwrite(data, at, width, rng.choice(_EVIL_32 if width <= 4 else _EVIL_64))


def _text(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    at, length = rng.choice([place for place in parts.texts if place[1]])
    other, amount = rng.choice([place for place in parts.texts if place[1]])
    source = rng.choice((rng.randbytes(length), bytes(data[other : other + min(amount, length)])))
    if at + length <= len(data):
        data[at : at + len(source)] = source


def _swap(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    places = rng.choice((parts.types, parts.types, parts.offsets, parts.dimensions))
    width = 4 if places is parts.types else 8
    a, b = rng.choice(places), rng.choice(places)
    if max(a, b) + width <= len(data):
        data[a : a + width], data[b : b + width] = data[b : b + width], data[a : a + width]


def _duplicate(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    """An entry twice, with the count raised: the rest of the file moves."""
    where, counter = rng.choice(((parts.keys, 16), (parts.tensors, 8)))
    start, end = rng.choice(where)
    if end > len(data):
        return
    data[end:end] = data[start:end]
    _overwrite(data, counter, 8, int.from_bytes(data[counter : counter + 8], "little") + 1)


def _drop(data: bytearray, parts: Anatomy, rng: random.Random) -> None:
    """An entry less, with the count lowered, and padding that keeps the data where it was."""
    where, counter = rng.choice(((parts.keys, 16), (parts.tensors, 8)))
    start, end = rng.choice(where)
    if parts.header_end > len(data):
        return
    removed = end - start
    data[parts.header_end : parts.header_end] = bytes(removed)
    del data[start:end]
    _overwrite(data, counter, 8, int.from_bytes(data[counter : counter + 8], "little") - 1)


_KINDS: tuple[Callable[[bytearray, Anatomy, random.Random], None], ...] = (
    *(_flip, _flip, _run, _truncate, _count, _count, _count, _type, _type),
    *(_dimension_count, _scalar, _scalar, _scalar, _text, _text, _swap, _duplicate, _drop),
)
