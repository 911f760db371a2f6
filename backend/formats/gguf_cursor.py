"""A bounds-checked cursor over the first bytes of a file: no length is used before it was compared with what is left.

The file is read in growing steps and never mapped: a mapped file that another program shortens kills the process, and
a header of a few megabytes is read as fast as it is mapped.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from backend.api.errors import InvalidModelFileError

__all__ = ["MAX_HEADER", "Cursor", "damaged", "split_strings", "truncated"]

#: The largest header read. The largest known vocabularies (262,144 tokens with half a million merges) take 16 MB;
#: with the copy that the last growth makes, a hostile file costs under 100 MB.
MAX_HEADER = 48 << 20
_FIRST_READ = 1 << 20
_LENGTH = struct.Struct("<Q")

_REMEDY = "Download the file again, or choose another model."


def damaged(why: str, details: str = "") -> InvalidModelFileError:
    """The error for a file that contradicts itself. `why` is one sentence."""
    return InvalidModelFileError("This model file is damaged.", why=why, remedy=_REMEDY, details=details)


def truncated(details: str = "") -> InvalidModelFileError:
    """The error for a file that ends too early."""
    return InvalidModelFileError(
        "This model file is incomplete.",
        why="It ends before everything that it announces, as after an interrupted download.",
        remedy=_REMEDY,
        details=details,
    )


class Cursor:
    """Reads little-endian values from `position` on.

    Attributes:
        size: bytes of the file. position: offset of the next value. buffer: the file's first bytes, read so far.

    Raises (every method):
        InvalidModelFileError: the file ends before the value does, or its header is larger than `MAX_HEADER`.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self.position = 0
        self.buffer = b""

    @property
    def remaining(self) -> int:
        """Bytes of the file behind the position."""
        return self.size - self.position

    def need(self, count: int) -> None:
        """Makes the buffer hold `count` bytes from the position on."""
        end = self.position + count
        if end <= len(self.buffer):
            return
        if end > self.size:
            raise truncated(f"{count} bytes wanted at {self.position}, file has {self.size}")
        if end > MAX_HEADER:
            raise damaged("Its header is larger than that of any known model.", f"header reaches {end}")
        wanted = min(self.size, MAX_HEADER, max(end, 2 * len(self.buffer), _FIRST_READ))
        self.buffer += self._file.read(wanted - len(self.buffer))
        if end > len(self.buffer):  # the file became shorter while it was read
            raise truncated(f"read {len(self.buffer)} of {wanted}")

    def scalar(self, letter: str, width: int) -> int | float:
        """One number; `letter` is a struct format letter of `width` bytes."""
        self.need(width)
        value: int | float = struct.unpack_from("<" + letter, self.buffer, self.position)[0]
        self.position += width
        return value

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        return int(self.scalar("I", 4))

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        return int(self.scalar("Q", 8))

    def string(self, limit: int, what: str) -> bytes:
        """A length-prefixed string of at most `limit` bytes; `what` names it in the error."""
        length = self.u64()
        if length > self.remaining:
            raise truncated(f"{what} of {length} bytes at {self.position}")
        if length > limit:
            raise damaged(f"A {what} in its header is far too long.", f"{length} bytes at {self.position}")
        self.need(length)
        start = self.position
        self.position = start + length
        return self.buffer[start : self.position]

    def skip(self, count: int) -> None:
        """Moves over `count` bytes that must be in the file."""
        self.need(count)
        self.position += count

    def skip_strings(self, count: int, limit: int) -> None:
        """Moves over `count` length-prefixed strings of at most `limit` bytes each, building no objects.

        This loop is most of the time that a header takes: 49,152 tokens and 48,900 merges in about 15 ms.
        """
        unpack = _LENGTH.unpack_from
        position = self.position
        buffer, have = self.buffer, len(self.buffer)
        for _ in range(count):
            if position + 8 > have:
                self.position = position
                self.need(8)
                buffer, have = self.buffer, len(self.buffer)
            length = unpack(buffer, position)[0]
            position += 8 + length
            if position > have or length > limit:
                self.position = position - length
                if length > self.remaining:
                    raise truncated(f"a string of {length} bytes at {self.position}")
                if length > limit:
                    raise damaged("A text in its header is far too long.", f"{length} bytes at {self.position}")
                self.need(length)
                buffer, have = self.buffer, len(self.buffer)
        self.position = position


def split_strings(buffer: bytes, position: int, count: int) -> list[bytes]:
    """The strings of an array that `Cursor.skip_strings` has walked over before: no bounds are checked here."""
    unpack = _LENGTH.unpack_from
    strings = []
    for _ in range(count):
        start = position + 8
        position = start + unpack(buffer, position)[0]
        strings.append(buffer[start:position])
    return strings
