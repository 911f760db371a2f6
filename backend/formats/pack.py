"""Our own file: a safetensors file that holds a whole model in the layout of the kernels (pack.md). Read in place."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError, InvalidRequestError, UnsupportedModelError
from backend.formats.checkpoint import Floats
from backend.formats.gguf_cursor import damaged
from backend.formats.json_text import parse_object
from backend.formats.numbers import check_finite
from backend.formats.pack_layout import check_buffers, check_numbers, check_parameters
from backend.formats.pack_slider import PackSlider, key_of, read_slider
from backend.formats.safetensors import DTYPES, Tensor, TensorFile
from kernels.packed import PackedLinear

__all__ = ["ALIGNMENT", "FILE_NAME", "FORMAT", "PLAIN_VERSION", "SUFFIX", "VERSION", "PackCheckpoint", "no_slider"]

SUFFIX = ".nutshell"
FORMAT = "nutshell"
#: Raised whenever an older program would misread the file. Only files with a slider are of the last one.
VERSION = 4
PLAIN_VERSION = 3
#: The first version with the layout that a scheme has now. Files of older ones are refused if they hold that scheme.
# spqr: outliers in steps of 16, by rows before; aqlm: a block of inputs of all rows in one run, of 256 rows before
_LAYOUT_SINCE = {"spqr": 2, "aqlm": 3}
ALIGNMENT = 64
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


class PackCheckpoint:
    """A pack as a Checkpoint: `linear` gives views into the mapped file.

    Attributes:
        metadata: name, architecture, scheme, bits_per_weight, parameters, data_free, source ... (pack.md).
        slider: what there is to choose from; None in most packs.
        steps: the position that `linear` and the others are of; 0 without a slider.
    """

    kind = "pack"

    def __init__(self, path: Path, *, data: bool = True, position: float | None = None) -> None:
        """Reads the header; compares every buffer with the layout by arithmetic.

        Args:
            path: the file.
            data: False: for a look at the header; nothing is mapped, and no linear can be had.
            position: of its slider, 0 to 1; None: the default one.

        Raises:
            InvalidModelFileError: damaged.
            InvalidRequestError: a position where there is no slider, or outside of it.
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
        self.slider: PackSlider | None = None
        self.steps = 0
        #: what a module is called in the file
        self._keys = {module: module for module in self._shapes}
        self._made: dict[str, PackedLinear] = {}
        if "slider" in texts:
            self.slider = read_slider(parse_object(texts["slider"].encode(), "its slider"), self._sizes())
            self._take(self.slider, self.slider.steps(position))
        elif any("@" in module for module in self._shapes):
            raise damaged("It has linears at several levels and no slider.", str(sorted(self._shapes)[:3]))
        elif position is not None:
            raise no_slider(self.path.name)

    def at(self, steps: int) -> PackCheckpoint:
        """The same file at another position: nothing is read, and what is the same linear there is the same object.

        Raises:
            ValueError: there is no such position, or no slider.
        """
        if self.slider is None:
            raise ValueError("there is no slider")
        other = copy.copy(self)
        other._take(self.slider, steps)
        return other

    def mixed(self, ranks: Sequence[int]) -> PackCheckpoint:
        """The same file with any mixture of levels; `steps` is then of no meaning.

        Raises:
            IndexError, ValueError: there are no such levels.
        """
        if self.slider is None:
            raise ValueError("there is no slider")
        other = copy.copy(self)
        other._name(self.slider.named(ranks))
        return other

    def _take(self, slider: PackSlider, steps: int) -> None:
        self._name(slider.levels(steps))
        self.steps = steps

    def _name(self, levels: Mapping[str, str]) -> None:
        plain = {key: key for key in self._shapes if "@" not in key}
        self._keys = plain | {module: key_of(module, level) for module, level in levels.items()}

    def _sizes(self) -> dict[str, tuple[tuple[int, int], int]]:
        return {
            key: ((one.out_features, one.in_features), sum(tensor.bytes for tensor in self._buffers[key].values()))
            for key, one in self._shapes.items()
        }

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

    @property
    def packed_bytes(self) -> int:
        """Of all linears, at all levels."""
        return sum(tensor.bytes for buffers in self._buffers.values() for tensor in buffers.values())

    def has(self, name: str) -> bool:
        """See Checkpoint."""
        module, _, part = name.rpartition(".")
        if name in self._keys or name in self._arrays:
            return True
        key = self._keys.get(module, "")
        return bool(key) and (part == "weight" or (part == "bias" and "bias" in self._buffers[key]))

    def linears(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(self._keys)

    def arrays(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(self._arrays)

    def array(self, name: str) -> Floats:
        """See Checkpoint."""
        module, _, part = name.rpartition(".")
        if name in self._arrays:
            numbers: Floats = self._file.array(self._arrays[name].name)
        elif part == "bias" and "bias" in self._buffers.get(self._keys.get(module, ""), {}):
            numbers = self._file.array(self._buffers[self._keys[module]][part].name)
        else:
            raise _missing(name)
        check_finite(numbers, "numbers", name)
        return numbers

    def linear(self, module: str) -> PackedLinear:
        """See Checkpoint."""
        key = self._keys.get(module, "")
        if not key:
            raise _missing(module)
        if key in self._made:
            return self._made[key]
        shape = self._shapes[key]
        buffers = {name: self._file.array(tensor.name) for name, tensor in self._buffers[key].items()}
        packed = PackedLinear(shape.scheme, shape.out_features, shape.in_features, shape.parameters, buffers)
        check_numbers(module, packed)
        if self.slider is not None:
            self._made[key] = packed
        return packed

    def place_of(self, buffer: npt.NDArray[Any]) -> int:
        """Where in the file a buffer of a linear begins. ValueError: it is none of this file."""
        return self._file.place_of(buffer)

    def shape(self, module: str) -> PackedLinear:
        """A linear's scheme and sizes, without its buffers."""
        if module not in self._keys:
            raise _missing(module)
        return self._shapes[self._keys[module]]

    def tokenizer_files(self) -> dict[str, bytes]:
        """See Checkpoint."""
        return {name: np.asarray(self._file.array(tensor.name)).tobytes() for name, tensor in self._files.items()}

    def close(self) -> None:
        """See Checkpoint. All positions of a file are closed together."""
        self._made.clear()
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


def no_slider(name: str) -> InvalidRequestError:
    """For a position of a model that has none."""
    return InvalidRequestError(
        f"{name} has no slider.",
        why="It was made at one size only.",
        remedy="Use it without a position, or make it at several levels.",
    )


def _missing(name: str) -> InvalidModelFileError:
    return InvalidModelFileError(
        "A part of this model is missing.",
        why="The file lacks some of the weights that this kind of model has.",
        remedy="Make the file again, or choose another model.",
        details=name,
    )
