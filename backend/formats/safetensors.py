"""Our own reader of safetensors files: every number is checked against the file before it is used.

The file is mapped and its arrays are views: nothing is copied. The format and what is refused are in safetensors.md.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.gguf_cursor import damaged, truncated
from backend.formats.json_text import parse_object, read_object
from backend.formats.sniff import is_partial, partial_download

__all__ = ["BYTES", "DTYPES", "Shards", "Tensor", "TensorFile", "index_files", "to_float32"]

#: The largest header read; DeepSeek-V3 with 91,000 tensors in one file would take 10 MB.
MAX_HEADER = 16 << 20
MAX_INDEX = 32 << 20
MAX_TENSORS = 1 << 18
MAX_DIMENSIONS = 8
MAX_SHARDS = 2048

#: Names of number types -> NumPy's. BF16 is given as its bits.
DTYPES: dict[str, str] = {
    "BOOL": "|u1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
#: Types that the format has and nothing here computes with, given as bytes.
_OTHER = {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8}
BYTES: dict[str, int] = {name: np.dtype(code).itemsize for name, code in DTYPES.items()} | _OTHER
_SUB_BYTE = frozenset({"F4", "F6_E2M3", "F6_E3M2"})
_SHARD = re.compile(r"[^/\\:\0]+\.safetensors", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of a header. `start` and `bytes` are in the file, not in its data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    bytes: int

    @property
    def elements(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)


@dataclass
class TensorFile:
    """A checked, mapped file.

    Attributes:
        path: the file. size: its bytes. metadata: the header's own texts. tensors: by name, in the order of their data.
    """

    path: Path
    size: int
    metadata: Mapping[str, str]
    tensors: Mapping[str, Tensor]
    _map: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path, *, data: bool = True) -> TensorFile:
        """Reads the header, and maps the file unless `data` is False.

        Raises:
            InvalidModelFileError: missing, damaged or incomplete. UnsupportedModelError: a type that is not known.
        """
        path = Path(path)
        if is_partial(path.name):
            raise partial_download(path)
        try:
            if not path.is_file():  # before opening: a pipe would block
                raise FileNotFoundError(path)
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                length = _header_length(file.read(8), size)
                header = file.read(length)
                if len(header) != length:
                    raise truncated(f"read {len(header)} of {length} bytes of header")
                metadata, tensors = _parse(header, size - 8 - length)
                mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if data else None
                if mapped is not None and hasattr(mmap, "MADV_HUGEPAGE"):
                    with contextlib.suppress(OSError):  # a system without them
                        mapped.madvise(mmap.MADV_HUGEPAGE)  # what is read from the disk now comes in pages of 2 MB
        except FileNotFoundError as error:
            raise InvalidModelFileError(
                "The model file is not there.",
                why=f"{path.name} was moved or deleted, or its disk is not connected.",
                remedy="Choose the file again, or another model.",
                details=str(error),
            ) from error
        except (OSError, ValueError) as error:  # ValueError: the file shrank before it was mapped
            raise InvalidModelFileError(
                "The model file cannot be read.",
                why=f"The system said: {getattr(error, 'strerror', None) or error}.",
                remedy="Check that you may read the file and that its disk is well.",
                details=str(error),
            ) from error
        return cls(path, size, metadata, tensors, None if mapped is None else np.frombuffer(mapped, np.uint8))

    def array(self, name: str) -> npt.NDArray[Any]:
        """A read-only view of a tensor, as stored (BF16 as its bits in uint16).

        Raises:
            KeyError: no such tensor. UnsupportedModelError: a type that nothing here computes with.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in DTYPES:
            raise UnsupportedModelError(
                "This model is in a format that cannot be opened here.",
                why=f"Some of its weights are stored as {tensor.dtype}.",
                remedy="Choose another build of this model.",
                details=name,
            )
        assert self._map is not None, "opened without data, or closed"
        raw = self._map[tensor.start : tensor.start + tensor.bytes]
        return raw.view(DTYPES[tensor.dtype]).reshape(tensor.shape)

    def place_of(self, array: npt.NDArray[Any]) -> int:
        """Where in the file a view that `array` gave begins.

        Raises:
            ValueError: it is none of this file.
        """
        assert self._map is not None, "opened without data, or closed"
        start: int = array.ctypes.data - self._map.ctypes.data
        if not 0 <= start <= self.size - array.nbytes:
            raise ValueError("not a view into this file")
        return start

    def close(self) -> None:
        """Lets go of the mapping; views that are still held keep it alive."""
        self._map = None


def _header_length(first: bytes, size: int) -> int:
    if len(first) < 8:
        raise truncated(f"the file has {size} bytes")
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER:
        raise damaged("Its header is larger than that of any known model.", f"header of {length} bytes")
    if length > size - 8:
        raise truncated(f"header of {length} bytes in a file of {size}")
    return length


def _parse(header: bytes, room: int) -> tuple[dict[str, str], dict[str, Tensor]]:
    """`room`: bytes behind the header."""
    if not header.startswith(b"{"):
        raise damaged("It does not begin as a safetensors file does.", repr(header[:20]))
    entries = parse_object(header.rstrip(b" "), "its header")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged("What its header says about the file itself cannot be read.")
    if len(entries) > MAX_TENSORS:
        raise damaged("It announces more tensors (blocks of weights) than any known model has.", str(len(entries)))
    start = 8 + len(header)
    tensors = sorted((_tensor(*entry, start) for entry in entries.items()), key=lambda t: (t.start, t.bytes))
    expected = start
    for tensor in tensors:
        if tensor.start < expected:
            raise damaged("Two of its tensors (blocks of weights) overlap.", repr(tensor)[:300])
        if tensor.start > expected:
            raise damaged("There is a hole between its tensors (blocks of weights).", repr(tensor)[:300])
        expected = tensor.start + tensor.bytes
    if expected > start + room:
        raise truncated(f"data ends at {expected} of {start + room} bytes")
    if expected < start + room:
        raise damaged("It goes on behind the last of its tensors (blocks of weights).", f"{start + room - expected}")
    return metadata, {tensor.name: tensor for tensor in tensors}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _tensor(name: str, entry: object, start: int) -> Tensor:
    if not name or len(name) > 1024 or not name.isprintable():
        raise damaged("A tensor (a block of weights) has an unreadable name.", repr(name)[:100])
    if not isinstance(entry, dict):
        raise damaged("The entry of a tensor (a block of weights) cannot be read.", name)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_whole, shape)):
        raise damaged("A tensor (a block of weights) has an impossible shape.", f"{name}: {shape!r}"[:300])
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)):
        raise damaged("A tensor (a block of weights) begins at an impossible place.", f"{name}: {offsets!r}"[:300])
    if not isinstance(dtype, str) or (dtype not in BYTES and dtype not in _SUB_BYTE):
        raise UnsupportedModelError(
            "This model is in a format that cannot be opened here.",
            why="Some of its weights are stored as a kind of number that is not known.",
            remedy="Look for a newer version of Nutshell, or choose another build of this model.",
            details=f"{name}: {dtype!r}"[:300],
        )
    begin, end = offsets
    size = end - begin
    bits = math.prod(shape) * (8 * BYTES[dtype] if dtype in BYTES else int(dtype[1]))
    if size < 0 or bits != 8 * size:
        raise damaged(
            "The size of a tensor (a block of weights) does not fit its shape.",
            f"{name}: {dtype} {shape} in {size} bytes"[:300],
        )
    return Tensor(name, dtype, tuple(shape), start + begin, size)


class Shards:
    """The tensors of one or several files as one set of names.

    Raises (when made):
        InvalidModelFileError, UnsupportedModelError: as `TensorFile.open`; also where two files share a name.
    """

    def __init__(self, paths: list[Path], *, data: bool = True) -> None:
        self.files = [TensorFile.open(path, data=data) for path in paths]
        self._where: dict[str, TensorFile] = {}
        for file in self.files:
            for name in file.tensors:
                if name in self._where:
                    raise damaged("Two of its files hold the same weights.", name)
                self._where[name] = file

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def info(self, name: str) -> Tensor:
        """The entry of a tensor.

        Raises:
            InvalidModelFileError: no such tensor.
        """
        return self._file(name).tensors[name]

    def array(self, name: str) -> npt.NDArray[Any]:
        """See `TensorFile.array`; a tensor that is not there is an InvalidModelFileError."""
        return self._file(name).array(name)

    def _file(self, name: str) -> TensorFile:
        if name not in self._where:
            raise InvalidModelFileError(
                "A part of this model is missing.",
                why="Its files lack some of the weights that this kind of model has.",
                remedy="Download the model again, or choose another one.",
                details=name,
            )
        return self._where[name]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def close(self) -> None:
        """See `TensorFile.close`."""
        for file in self.files:
            file.close()


def index_files(index: Path) -> list[Path]:
    """The files that a model.safetensors.index.json names, which must lie beside it.

    Raises:
        InvalidModelFileError: the index is damaged, names a place outside the folder, or a file is missing.
    """
    entries = read_object(index, MAX_INDEX).get("weight_map")
    if not isinstance(entries, dict) or not entries:
        raise damaged("Its list of files cannot be read.", index.name)
    files = set()
    for name in entries.values():
        if not isinstance(name, str) or not _SHARD.fullmatch(name) or name.startswith("."):
            raise damaged("Its list of files names a place outside its folder.", repr(name)[:200])
        files.add(name)
    if len(files) > MAX_SHARDS:
        raise damaged("Its list of files is longer than that of any known model.", str(len(files)))
    missing = sorted(name for name in files if not (index.parent / name).is_file())
    if missing:
        raise InvalidModelFileError(
            "A part of this model is missing."
            if len(missing) == 1
            else f"{len(missing)} parts of this model are missing.",
            why=f"It consists of {len(files)} files of weights, and {missing[0]} is not beside the others.",
            remedy="Download the missing files into the same folder.",
            details="\n".join(missing),
        )
    return [index.parent / name for name in sorted(files)]


def to_float32(array: npt.NDArray[Any], dtype: str) -> npt.NDArray[np.float32]:
    """F16, BF16 (as bits), F32 or F64 numbers as float32; F32 is not copied.

    Raises:
        UnsupportedModelError: another type.
    """
    if dtype == "BF16":
        wide = array.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype not in ("F16", "F32", "F64"):
        raise UnsupportedModelError(
            "This model is in a format that cannot be opened here.",
            why=f"Some of its weights are stored as {dtype}, without a word on what they mean.",
            remedy="Choose another build of this model.",
        )
    return array.astype(np.float32, copy=False)
