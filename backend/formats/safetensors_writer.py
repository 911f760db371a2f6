"""Writes safetensors files tensor by tensor: nothing but the tensor at hand is in memory.

The `safetensors` package takes all tensors of a file at once, which for a 7B model is 15 GB. Here room for the header
is left at the front of the file and filled at the end; what the room has too much is spaces, as the format allows.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from backend.api.errors import ModelError
from backend.formats.safetensors import DTYPES

__all__ = ["FolderWriter", "TensorWriter", "replacing", "sync"]

_CHUNK = 8 << 20


class TensorWriter:
    """One file being written. `finish` makes it whole; until then it is no safetensors file.

    Attributes:
        bytes: of tensors in the file so far, padding included.
    """

    def __init__(self, file: BinaryIO, *, room: int, alignment: int = 8) -> None:
        """Args:
        file: empty, open for reading and writing.
        room: bytes left for the header; more costs a copy of the file at the end.
        alignment: of every tensor in the file, 8 or more. Above 8, gaps are filled by tensors called pad/1, pad/2 ...;
            with 8, tensors of odd sizes wait in memory until the end of the file (torch cannot read a number of 2
            bytes at an odd place).
        """
        self._file = file
        self._alignment = alignment
        self._start = -(-(8 + room) // alignment) * alignment
        self._entries: dict[str, dict[str, Any]] = {}
        self._pads = 0
        self._odd: list[tuple[str, npt.NDArray[Any], str]] = []
        self.bytes = 0
        file.seek(self._start)

    def add(self, name: str, array: npt.NDArray[Any], dtype: str = "") -> None:
        """Writes a tensor.

        Args:
            name: not used before.
            array: numbers; copied only if they do not lie one behind the other.
            dtype: "BF16" for its bits in uint16; else the array's own type.

        Raises:
            ValueError: a name twice, or a type that the format does not have.
        """
        code = array.dtype.newbyteorder("<").str
        dtype = dtype or next((key for key, value in DTYPES.items() if value == code and key not in _NOT_PLAIN), "")
        if not dtype:
            raise ValueError(f"{name}: no safetensors type for {array.dtype}")
        if self._alignment == 8 and array.nbytes % 8:
            self._odd.append((name, array.copy(), dtype))
            return
        if self.bytes % self._alignment:  # the start is a multiple of it
            self._pads += 1
            self._append(f"pad/{self._pads}", np.zeros(-self.bytes % self._alignment, np.uint8), "U8")
        self._append(name, array, dtype)

    def _append(self, name: str, array: npt.NDArray[Any], dtype: str) -> None:
        if name in self._entries:
            raise ValueError(f"{name} was written before")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if little.size:
            self._file.write(little.reshape(-1).view(np.uint8).data)
        end = self.bytes + little.nbytes
        self._entries[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [self.bytes, end]}
        self.bytes = end

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Writes the header (metadata first, in its order) and waits until the disk has the file."""
        for odd in sorted(self._odd, key=lambda entry: -entry[1].dtype.itemsize):
            self._append(*odd)
        entries = {"__metadata__": dict(metadata), **self._entries}
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        if 8 + len(header) > self._start:
            start = -(-(8 + len(header)) // self._alignment) * self._alignment
            _shift(self._file, self._start, self.bytes, start - self._start)
            self._start = start
        self._file.seek(0)
        self._file.write((self._start - 8).to_bytes(8, "little") + header.ljust(self._start - 8))
        self._file.flush()
        os.fsync(self._file.fileno())
        if hasattr(
            os, "posix_fadvise"
        ):  # written in small pieces; read again, it comes in pages of 2 MB (safetensors.py)
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


#: types that share NumPy's with another one
_NOT_PLAIN = frozenset({"BOOL", "BF16"})


def _shift(file: BinaryIO, start: int, count: int, by: int) -> None:
    """Moves `count` bytes at `start` towards the end of the file, last ones first."""
    left = count
    while left:
        size = min(_CHUNK, left)
        left -= size
        file.seek(start + left)
        data = file.read(size)
        file.seek(start + left + by)
        file.write(data)


def sync(path: Path) -> None:
    """Waits until the disk has a file or, where folders can be opened, a folder's list of names."""
    if path.is_dir() and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its name when the block ends well, and is gone when it does not.

    Raises:
        ModelError: the disk is full or the folder cannot be written.
    """
    with _words(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "w+b") as file:
                yield file
            _readable(part, 0o666)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        sync(path.parent)


def _readable(path: Path, mode: int) -> None:
    """The rights that a new file of the user's has: mkstemp's are his alone."""
    if sys.platform != "win32":
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(mode & ~mask)


@contextmanager
def _words(path: Path) -> Iterator[None]:
    try:
        yield
    except InterruptedError:  # whoever writes was asked to stop: the disk is not to blame
        raise
    except OSError as error:
        raise ModelError(
            "The model could not be written.",
            why=f"The system said: {error.strerror or error}.",
            remedy=f"Check that there is room on the disk and that you may write into {path.parent}.",
            details=str(error),
        ) from error


class FolderWriter:
    """A Hugging Face folder being written, shard by shard; the folder appears when `finish` is done.

    Use it in a `with` block: what is unfinished at its end is deleted.
    """

    def __init__(self, folder: Path, *, shard_bytes: int = 4 << 30) -> None:
        """Raises ModelError: there is something of that name, or the place cannot be written.

        Args:
            folder: does not exist, or is empty.
            shard_bytes: a file of weights takes a tensor more until it is as large.
        """
        self._folder = folder
        self._shard_bytes = shard_bytes
        with _words(folder):
            if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
                raise ModelError(
                    "The model could not be written.",
                    why=f"There is already something called {folder.name}.",
                    remedy="Choose another name, or remove it first.",
                )
            self._part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:64]}.", suffix=".part", dir=folder.parent))
        self._names: list[list[str]] = []
        self._file: BinaryIO | None = None
        self._writer: TensorWriter | None = None
        self._total = 0

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self._part, ignore_errors=True)

    def add(self, name: str, array: npt.NDArray[Any], dtype: str = "") -> None:
        """See `TensorWriter.add`."""
        with _words(self._folder):
            if self._writer is not None and self._writer.bytes + array.nbytes > self._shard_bytes:
                self._end_shard()
            if self._writer is None:
                self._file = (self._part / f"{len(self._names)}").open("w+b")
                self._writer = TensorWriter(self._file, room=128 << 10)
                self._names.append([])
            self._writer.add(name, array, dtype)
            self._names[-1].append(name)
            self._total += array.nbytes

    def _end_shard(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.finish({"format": "pt"})  # without it transformers refuses the file
            self._file.close()
        self._writer = self._file = None

    def finish(self, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Gives everything its name.

        Args:
            config: config.json.
            files: the tokenizer's, by name.
        """
        with _words(self._folder):
            self._end_shard()
            count = len(self._names)
            shards = ["model.safetensors"]
            if count != 1:
                shards = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
                where = {name: shard for shard, names in zip(shards, self._names, strict=True) for name in names}
                index = {"metadata": {"total_size": self._total}, "weight_map": where}
                self._text("model.safetensors.index.json", index)
            for number, shard in enumerate(shards):
                (self._part / f"{number}").rename(self._part / shard)
            self._text("config.json", config)
            for name, data in files.items():
                (self._part / name).write_bytes(data)
                sync(self._part / name)
            sync(self._part)
            _readable(self._part, 0o777)
            if self._folder.is_dir():
                self._folder.rmdir()
            self._part.rename(self._folder)
            sync(self._folder.parent)

    def _text(self, name: str, value: Mapping[str, Any]) -> None:
        path = self._part / name
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        sync(path)
