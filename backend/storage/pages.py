"""Reading rows out of a damaged SQLite file, page by page, without SQLite.

SQLite reads through its trees from the root and stops at the first bad page; here every page stands for itself. The
format is stable and public (sqlite.org/fileformat2.html). In short: a file of pages, numbered from 1; page 1 begins
with a header of 100 bytes. A table is a tree: interior pages (type 5) hold page numbers, leaf pages (type 13) hold rows
by number; what does not fit into its page goes on in a chain of overflow pages. A row is a record: the types of all
columns, then their values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["HEADER", "DamagedPageError", "Pages", "Value", "Walk"]

HEADER = b"SQLite format 3\0"
_LEAF, _INTERIOR = 13, 5
_FREELIST_TRUNK = struct.Struct(">II")

Value = int | float | str | bytes | None
_INT_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class DamagedPageError(Exception):
    """Bytes that cannot be what they should be."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(9):
        if at >= len(data):
            raise DamagedPageError("number cut off")
        byte = data[at]
        at += 1
        if count == 8:
            value = value << 8 | byte
            break
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return (value - (1 << 64) if value >= 1 << 63 else value), at


def _text(raw: bytes) -> str:
    if raw.endswith(bytes(64)):  # its last page was lost: no text ends in so many zero bytes
        raw = raw.rstrip(b"\0")
    return raw.decode("utf-8", "replace")


def _values(record: bytes, whole: bool) -> list[Value]:
    """The columns of a record; of one that is not whole, those that are there, the last one perhaps shortened."""
    end, at = _varint(record, 0)
    if not at <= end <= len(record):
        raise DamagedPageError("record header")
    types = []
    while at < end:
        kind, at = _varint(record, at)
        types.append(kind)
    values: list[Value] = []
    at = end
    for kind in types:
        if kind in (0, 8, 9):
            values.append(None if kind == 0 else kind - 8)
            continue
        if kind < 0 or kind in (10, 11):
            raise DamagedPageError("column type")
        size = _INT_SIZES.get(kind) or (8 if kind == 7 else (kind - 12) // 2)
        raw = record[at : at + size]
        at += size
        if len(raw) < size:
            if whole:
                raise DamagedPageError("record cut off")
            if kind > 12 and kind % 2:
                values.append(raw.decode("utf-8", "ignore"))
            break
        if kind == 7:
            values.append(struct.unpack(">d", raw)[0])
        elif kind < 7:
            values.append(int.from_bytes(raw, "big", signed=True))
        else:
            values.append(_text(raw) if kind % 2 else raw)
    return values


class Walk:
    """What a walk through one tree found: its leaf pages in order, and how many pages it could not read."""

    def __init__(self) -> None:
        self.leaves: list[int] = []
        self.seen: set[int] = set()
        self.unreadable = 0


class Pages:
    """The pages of a database file, with newer versions of some laid over them (from the write-ahead log)."""

    def __init__(self, path: Path, default_page_size: int, newer: Mapping[int, bytes]) -> None:
        self._newer = newer
        self.shortened = 0  # rows whose last part could not be read
        self._file = path.open("rb")
        self._file_size = path.stat().st_size
        first = newer.get(1) or self._file.read(100)
        self.header_sound = first.startswith(HEADER) and len(first) >= 100
        size = int.from_bytes(first[16:18], "big") if self.header_sound else 0
        size = 65536 if size == 1 else size
        self.page_size = size if 512 <= size <= 65536 and size & (size - 1) == 0 else default_page_size
        reserved = first[20] if self.header_sound else 0
        self._usable = self.page_size - (reserved if reserved <= 32 else 0)
        self.count = max(-(-self._file_size // self.page_size), max(newer, default=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def page(self, number: int, *, may_be_empty: bool = False) -> bytes:
        """The bytes of a page. Raises DamagedPageError when it is not in the file, cut off, or all zeros."""
        if not 1 <= number <= self.count:
            raise DamagedPageError("no such page")
        data = self._newer.get(number)
        if data is None:
            try:
                self._file.seek((number - 1) * self.page_size)
                data = self._file.read(self.page_size)
            except OSError as error:  # a bad sector
                raise DamagedPageError(str(error)) from error
        if len(data) < self.page_size or not (may_be_empty or any(data)):
            raise DamagedPageError("empty page")
        return data

    def kind(self, number: int) -> int:
        """The type byte of a page; 0 for one that cannot be read."""
        try:
            return self.page(number)[100 if number == 1 else 0]
        except DamagedPageError:
            return 0

    def walk(self, root: int) -> Walk:
        """Follow a table's tree from its root through all that is readable."""
        walk = Walk()
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number in walk.seen:
                walk.unreadable += 1  # a page cannot be reached twice
                continue
            walk.seen.add(number)
            try:
                data = self.page(number)
                start = 100 if number == 1 else 0
                if data[start] == _LEAF:
                    walk.leaves.append(number)
                elif data[start] == _INTERIOR:
                    children = [struct.unpack_from(">I", data, cell)[0] for cell in self._cells(data, start, 12)]
                    children.append(struct.unpack_from(">I", data, start + 8)[0])
                    waiting.extend(reversed(children))
                else:
                    raise DamagedPageError("page type")
            except (DamagedPageError, struct.error):
                walk.unreadable += 1
        return walk

    def free_pages(self) -> set[int]:
        """Pages on the list of unused ones, as far as it can be followed; what they hold was deleted."""
        free: set[int] = set()
        if not self.header_sound:
            return free
        try:
            trunk: int = struct.unpack_from(">I", self.page(1), 32)[0]
            while trunk and trunk not in free:
                free.add(trunk)
                data = self.page(trunk)
                following, count = _FREELIST_TRUNK.unpack_from(data)
                if count <= self._usable // 4 - 2:
                    free.update(struct.unpack_from(f">{count}I", data, 8))
                trunk = following
        except (DamagedPageError, struct.error):
            pass
        return free

    def rows(self, number: int) -> Iterator[tuple[int, list[Value]] | None]:
        """The rows of a leaf page: row number and values; None for each that cannot be read."""
        try:
            data = self.page(number)
            start = 100 if number == 1 else 0
            if data[start] != _LEAF:
                raise DamagedPageError("not a leaf")
            cells = self._cells(data, start, 8)
        except (DamagedPageError, struct.error):
            yield None
            return
        for cell in cells:
            try:
                yield self._row(data, cell)
            except (DamagedPageError, struct.error, OverflowError):
                yield None

    def _cells(self, data: bytes, start: int, header: int) -> tuple[int, ...]:
        count: int = struct.unpack_from(">H", data, start + 3)[0]
        if count > (self.page_size - start - header) // 4:
            raise DamagedPageError("cell count")
        return struct.unpack_from(f">{count}H", data, start + header)

    def _row(self, data: bytes, at: int) -> tuple[int, list[Value]]:
        if at < 8:
            raise DamagedPageError("cell pointer")
        size, at = _varint(data, at)
        number, at = _varint(data, at)
        if not 0 < size < 1 << 31:
            raise DamagedPageError("record size")
        most = self._usable - 35
        local = size
        if size > most:
            least = (self._usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (self._usable - 4)
            local = local if local <= most else least
        record = data[at : at + local]
        if len(record) < local:
            raise DamagedPageError("record cut off")
        if local < size:
            record += self._overflow(struct.unpack_from(">I", data, at + local)[0], size - local)
            self.shortened += len(record) < size
        return number, _values(record, len(record) == size)

    def _overflow(self, number: int, size: int) -> bytes:
        """What is readable of a chain of overflow pages, `size` bytes at most."""
        parts: list[bytes] = []
        per_page = self._usable - 4
        count = -(-size // per_page)
        for index in range(count):
            try:
                # The last page points nowhere, and a file that ends in zeros is nothing strange.
                data = self.page(number, may_be_empty=index == count - 1)
            except DamagedPageError:
                break
            number = struct.unpack_from(">I", data)[0]
            parts.append(data[4 : 4 + per_page])
        return b"".join(parts)[:size]
