"""What `backend.formats.gguf.read_header` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from backend.formats.gguf_tables import FILE_TYPES, TENSOR_TYPES

__all__ = ["DEFAULT_ALIGNMENT", "GGUFArray", "GGUFHeader", "TensorInfo", "Value"]

DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GGUFArray:
    """Where an array is; long ones are checked and skipped, and `read_strings` reads one of strings."""

    element_type: int
    count: int
    offset: int  # of its first element in the file


Value = int | float | bool | str | tuple[int | float | bool | str, ...] | GGUFArray


class TensorInfo(NamedTuple):
    """One tensor: `shape` as the file has it (row length first), `offset` from the start of the file's data."""

    name: str
    shape: tuple[int, ...]
    type: int  # key of TENSOR_TYPES
    offset: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class GGUFHeader:
    """A checked header.

    Attributes:
        path: the file; of a split model, its first part.
        version: 2 or 3. file_size, data_offset: bytes. alignment: bytes, a power of two.
        metadata: key -> value, long arrays as GGUFArray. value_types: key -> code of ValueType.
        arrays: key -> where it is, for every array, also the short ones.
        tensors: in file order; of a split model, those of all parts.
        parts: the files of a split model, in order; else just `path`. total_bytes: of all parts.
    """

    path: Path
    version: int
    metadata: dict[str, Value]
    value_types: dict[str, int]
    arrays: dict[str, GGUFArray]
    tensors: tuple[TensorInfo, ...]
    file_size: int
    data_offset: int
    alignment: int = DEFAULT_ALIGNMENT
    parts: tuple[Path, ...] = ()
    total_bytes: int = 0
    #: the file's first bytes; only while it is being checked
    buffer: bytes = field(default=b"", repr=False, compare=False)

    def text(self, key: str) -> str:
        """A string value in one line without control characters, or ""."""
        value = self.metadata.get(key)
        return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""

    def integer(self, key: str) -> int:
        """An integer value, or 0. `key` may be relative to the architecture ("block_count")."""
        value = self.metadata.get(key, self.metadata.get(f"{self.architecture}.{key}"))
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @property
    def architecture(self) -> str:
        """For example "llama"; just as the file has it, for it is part of other keys."""
        value = self.metadata.get("general.architecture")
        return value if isinstance(value, str) else ""

    @property
    def name(self) -> str:
        """The name that the file gives itself, else its file name without endings."""
        name = self.text("general.name") or self.text("general.basename")
        return name[:200] or self.path.name.removesuffix(".gguf")

    @property
    def parameters(self) -> int:
        """Weights, counted from the tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantization(self) -> str:
        """The known name of the file's mixture ("Q4_K_M"), else the type that holds most of the bytes."""
        kind = self.metadata.get("general.file_type")
        if isinstance(kind, int) and kind & ~1024 in FILE_TYPES:  # 1024 marks a guess by the program that wrote it
            return FILE_TYPES[kind & ~1024]
        sums: dict[int, int] = {}
        for tensor in self.tensors:
            sums[tensor.type] = sums.get(tensor.type, 0) + tensor.bytes
        return TENSOR_TYPES[max(sums, key=sums.__getitem__)].name if sums else ""

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained to read at once."""
        return self.integer("context_length")

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return self.integer("block_count")

    @property
    def licence(self) -> str:
        """As the file states it ("apache-2.0"), or ""."""
        return (self.text("general.license") or self.text("general.license.name"))[:200]

    @property
    def chat_template(self) -> str:
        """The Jinja template, or ""."""
        value = self.metadata.get("tokenizer.chat_template")
        return value if isinstance(value, str) else ""

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)
