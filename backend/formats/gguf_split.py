"""Models that are split over several files: NAME-00001-of-00003.gguf and so on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.gguf_cursor import damaged
from backend.formats.gguf_header import GGUFHeader
from backend.formats.gguf_tables import ValueType

__all__ = ["MAX_PARTS", "SplitName", "join_parts", "split_name"]

MAX_PARTS = 512
_NAME = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SplitName:
    """A part's file name, taken apart; `index` counts from 1."""

    stem: str
    index: int
    count: int

    def part(self, index: int) -> str:
        """The file name of another part."""
        return f"{self.stem}-{index:05d}-of-{self.count:05d}.gguf"


def split_name(name: str) -> SplitName | None:
    """Takes a file name apart, or None where it is not that of a part."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    found = SplitName(match["stem"], int(match["index"]), int(match["count"]))
    return found if 1 <= found.index <= found.count <= MAX_PARTS else None


def join_parts(first: GGUFHeader, read: Callable[[Path], GGUFHeader]) -> GGUFHeader:
    """Adds the other parts of a split model to the header of its first part; any other header comes back as it is.

    Args:
        first: a header.
        read: reads one other part's header.

    Raises:
        InvalidModelFileError: not the first part, or parts are missing, mixed up or damaged.
        UnsupportedModelError: the parts were renamed.
    """
    count = _number(first, "split.count")
    if count <= 1:
        return first
    if count > MAX_PARTS:
        raise damaged("It says that it is split into more parts than any known model is.", f"split.count = {count}")
    name = split_name(first.path.name)
    index = _number(first, "split.no")
    if name is None or name.count != count or name.index != index + 1:
        raise UnsupportedModelError(
            "This part of a model has lost its name.",
            why=f"It is part {index + 1} of {count}, and the others cannot be found because the file was renamed.",
            remedy=f"Give the parts their names back: they end in -{1:05d}-of-{count:05d}.gguf and so on.",
        )
    if index != 0:
        raise InvalidModelFileError(
            f"This is part {index + 1} of {count} of a model.",
            why="A model that is split over several files is opened by its first part.",
            remedy=f"Open {name.part(1)} instead.",
        )
    paths = [first.path, *(first.path.with_name(name.part(number)) for number in range(2, count + 1))]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InvalidModelFileError(
            f"{'A part' if len(missing) == 1 else f'{len(missing)} parts'} of this model "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            why=f"It is split into {count} files, and {missing[0]} is not beside the others.",
            remedy="Download the missing files into the same folder.",
            details="\n".join(missing),
        )
    headers = [first]
    for number, path in enumerate(paths[1:], start=1):
        part = read(path)
        # The engine reads this key of the other parts as a 16-bit number without asking for its type.
        if part.value_types.get("split.no") != ValueType.UINT16 or part.metadata["split.no"] != number:
            raise damaged(f"{path.name} does not belong to the other parts.")
        headers.append(replace(part, buffer=b""))
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise damaged("Two of its parts hold the same weights.")
    if len(tensors) != _number(first, "split.tensors.count"):
        raise damaged("Its parts do not belong together: they hold another number of weights than the first one says.")
    total = sum(header.file_size for header in headers)
    return replace(first, tensors=tensors, parts=tuple(paths), total_bytes=total)


def _number(header: GGUFHeader, key: str) -> int:
    value = header.metadata.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise damaged("It does not say properly into how many parts it is split.", f"{key} = {value!r}")
    return value
