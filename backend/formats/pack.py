"""Our own file: a safetensors file that holds a whole model in the layout of the kernels (pack.md). Read in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.checkpoint import Floats
from backend.formats.gguf_cursor import damaged
from backend.formats.json_text import parse_object
from backend.formats.numbers import check_finite
from backend.formats.pack_layout import check_buffers, check_numbers, check_parameters
from backend.formats.safetensors import DTYPES, Tensor, TensorFile
from kernels.packed import PackedLinear

__all__ = ["ALIGNMENT", "FILE_NAME", "FORMAT", "SUFFIX", "VERSION", "PackCheckpoint"]

SUFFIX = ".nutshell"
FORMAT = "nutshell"
#: Raised whenever an older program would misread the file.
VERSION = 3
#: The first version with the layout that a scheme has now. Files of older ones are refused if they hold that scheme.
# spqr: outliers in steps of 16, by rows before; aqlm: a block of inputs of all rows in one run, of 256 rows before
_LAYOUT_SINCE = {"spqr": 2, "aqlm": 3}
ALIGNMENT = 64
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


class PackCheckpoint:
    """A pack as a Checkpoint: `linear` gives views into the mapped file.

    Attributes:
        metadata: name, architecture, scheme, bits_per_weight, parameters, data_free, source ... (pack.md).
    """

    kind = "pack"

    def __init__(self, path: Path, *, data: bool = True) -> None:
        """Reads the header; compares every buffer with the layout by arithmetic.

        Args:
            path: the file.
            data: False: for a look at the header; nothing is mapped, and no linear can be had.

        Raises:
            InvalidModelFileError: damaged.
            UnsupportedModelError: made by a newer version of Nutshell, or by one whose layout was another.
        """
        self.path = Path(path)
        self._file = TensorFile.open(self.path, data=data)
        texts = self._file.metadata
        if texts.get("format") != FORMAT:
            raise damaged("It is not a file of Nutshell's.", f"format {texts.get('format')!r}"[:100])
        self._version = _check_version(texts.get("version", ""))
        self.config = parse_object(texts.get("config", "").encode(), "its settings")
        self.metadata: Mapping[str, Any] = MappingProxyType(
            parse_object(texts.get("about", "").encode(), "its description")
        )
        self._shapes: dict[str, PackedLinear] = {}
        self._buffers: dict[str, dict[str, Tensor]] = {}
        self._arrays: dict[str, Tensor] = {}
        self._files: dict[str, Tensor] = {}
        self._sort()
        self._check(parse_object(texts.get("linears", "").encode(), "its list of blocks"))

    def _sort(self) -> None:
        """Sorts the tensors by what their names begin with."""
        for name, tensor in self._file.tensors.items():
            kind, _, rest = name.partition("/")
            module, _, buffer = rest.rpartition("/")
            if kind == "linear" and module:
                self._buffers.setdefault(module, {})[buffer] = tensor
            elif kind == "array" and rest and tensor.dtype == "F32":
                self._arrays[rest] = tensor
            elif kind == "file" and FILE_NAME.fullmatch(rest) and tensor.dtype == "U8" and len(tensor.shape) == 1:
                self._files[rest] = tensor
            elif kind != "pad":
                raise damaged("It holds something that a file of Nutshell's does not.", repr(name)[:200])
            if kind in ("linear", "array") and tensor.start % ALIGNMENT:
                raise damaged("A tensor (a block of weights) begins at an impossible place.", repr(tensor)[:300])

    def _check(self, entries: Mapping[str, Any]) -> None:
        if entries.keys() != self._buffers.keys():
            raise damaged(
                "Its list of blocks does not fit its blocks.", str(sorted(entries.keys() ^ self._buffers))[:300]
            )
        for module, entry in entries.items():
            if not isinstance(entry, list) or len(entry) != 4:
                raise damaged("A block of weights is described in a way that makes no sense.", module)
            packed = self._shapes[module] = check_parameters(module, *entry)
            if self._version < _LAYOUT_SINCE.get(packed.scheme, 1):
                raise UnsupportedModelError(
                    "This model was made by an older version of Nutshell.",
                    why="Its weights lie in an order that this version no longer reads.",
                    remedy="Make it again from the original model.",
                    details=f"{module}: {packed.scheme} of version {self._version}",
                )
            found = {
                name: (DTYPES.get(tensor.dtype, tensor.dtype), tensor.elements)
                for name, tensor in self._buffers[module].items()
            }
            check_buffers(module, packed, found)

    @property
    def tokenizer(self) -> Mapping[str, bytes]:
        """The same as `tokenizer_files`."""
        return self.tokenizer_files()

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._file.size

    def has(self, name: str) -> bool:
        """See Checkpoint."""
        module, _, part = name.rpartition(".")
        if name in self._shapes or name in self._arrays:
            return True
        return module in self._shapes and (part == "weight" or (part == "bias" and "bias" in self._buffers[module]))

    def linears(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(self._shapes)

    def arrays(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(self._arrays)

    def array(self, name: str) -> Floats:
        """See Checkpoint."""
        module, _, part = name.rpartition(".")
        if name in self._arrays:
            numbers: Floats = self._file.array(self._arrays[name].name)
        elif part == "bias" and "bias" in self._buffers.get(module, {}):
            numbers = self._file.array(self._buffers[module][part].name)
        else:
            raise _missing(name)
        check_finite(numbers, "numbers", name)
        return numbers

    def linear(self, module: str) -> PackedLinear:
        """See Checkpoint."""
        if module not in self._shapes:
            raise _missing(module)
        shape = self._shapes[module]
        buffers = {name: self._file.array(tensor.name) for name, tensor in self._buffers[module].items()}
        packed = PackedLinear(shape.scheme, shape.out_features, shape.in_features, shape.parameters, buffers)
        check_numbers(module, packed)
        return packed

    def shape(self, module: str) -> PackedLinear:
        """A linear's scheme and sizes, without its buffers."""
        if module not in self._shapes:
            raise _missing(module)
        return self._shapes[module]

    def tokenizer_files(self) -> dict[str, bytes]:
        """See Checkpoint."""
        return {name: np.asarray(self._file.array(tensor.name)).tobytes() for name, tensor in self._files.items()}

    def close(self) -> None:
        """See Checkpoint."""
        self._file.close()


def _check_version(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise damaged("Its version number makes no sense.", repr(text)[:100])
    if int(text) > VERSION:
        raise UnsupportedModelError(
            "This model was made by a newer version of Nutshell.",
            why=f"Its file is of version {int(text)}; this program knows versions up to {VERSION}.",
            remedy="Look for a newer version of Nutshell.",
        )
    return int(text)


def _missing(name: str) -> InvalidModelFileError:
    return InvalidModelFileError(
        "A part of this model is missing.",
        why="The file lacks some of the weights that this kind of model has.",
        remedy="Make the file again, or choose another model.",
        details=name,
    )
