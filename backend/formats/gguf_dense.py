"""GGUF files as a source of plain weights: every type dequantised, names and row order as in Hugging Face's."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.formats.checkpoint import Floats
from backend.formats.gguf import read_header, read_part
from backend.formats.gguf_config import hf_config
from backend.formats.gguf_cursor import damaged, truncated
from backend.formats.gguf_header import TensorInfo
from backend.formats.gguf_names import to_hf
from backend.formats.gguf_tables import TENSOR_TYPES
from backend.formats.numbers import check_finite
from backend.formats.packing import pack_dense
from kernels.packed import PackedLinear

__all__ = ["GgufCheckpoint"]

#: what it takes to keep a type's numbers; the quantised ones are rounded by up to 2^-11 in f16
_STORED = {"F32": "f32", "BF16": "bf16"}
#: numbers dequantised at a time: 4 MiB of float32
_CHUNK = 1 << 20


class GgufCheckpoint:
    """A GGUF file (or the first of several parts) as a Checkpoint; it has no tokenizer files.

    llama.cpp's converter reorders the rows of q and k of the architecture "llama" (pairs of rotated numbers side by
    side instead of in two halves); they come out in Hugging Face's order.
    """

    kind = "gguf"

    def __init__(self, path: Path, *, dense_scheme: str | None = None) -> None:
        """Reads the header and maps the file.

        Raises:
            InvalidModelFileError, UnsupportedModelError: with the reason in sentences.
        """
        self.path = Path(path)
        self._scheme = dense_scheme
        self.header = read_header(self.path, chat=False)
        self._tensors: dict[str, tuple[npt.NDArray[np.uint8], TensorInfo]] = {}
        factors = None
        for file in self.header.parts:
            part = read_part(file)
            data = _mapped(file, part.file_size)
            for tensor in part.tensors:
                start = part.data_offset + tensor.offset
                raw = data[start : start + tensor.bytes]
                name = to_hf(tensor.name)
                if name is not None:
                    self._tensors[name] = (raw, tensor)
                elif tensor.name == "rope_freqs.weight":
                    factors = _dequantise(raw, tensor).reshape(-1)
                    check_finite(factors, "factors", tensor.name)
                elif len(tensor.shape) > 1:
                    raise UnsupportedModelError(
                        "This kind of model is not known to the engine.",
                        why="It has weights that models of this architecture do not have.",
                        remedy="Choose another build of this model.",
                        details=tensor.name,
                    )
        if "model.embed_tokens.weight" not in self._tensors:
            raise damaged("It has no weights for its tokens.", "token_embd.weight")
        shape = self._tensors["model.embed_tokens.weight"][1].shape
        n_vocab = shape[1] if len(shape) == 2 else 0
        self.config = hf_config(self.header, frozenset(self._tensors), n_vocab, factors)

    def has(self, name: str) -> bool:
        """See Checkpoint."""
        return name in self._tensors or self._is_linear(f"{name}.weight")

    def _is_linear(self, name: str) -> bool:
        return name in self._tensors and len(self._tensors[name][1].shape) == 2

    def linears(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(name.removesuffix(".weight") for name in self._tensors if self._is_linear(name))

    def arrays(self) -> tuple[str, ...]:
        """See Checkpoint."""
        return tuple(name for name in self._tensors if not self._is_linear(f"{name.rpartition('.')[0]}.weight"))

    def shape(self, module: str) -> tuple[str, int, int]:
        """(type, out, in) of a linear, from the header."""
        tensor = self._find(f"{module}.weight")[1]
        if len(tensor.shape) != 2:
            raise damaged("A block of weights has an impossible shape.", f"{tensor.name}: {tensor.shape}")
        return TENSOR_TYPES[tensor.type].name.lower(), tensor.shape[1], tensor.shape[0]

    def _find(self, name: str) -> tuple[npt.NDArray[np.uint8], TensorInfo]:
        if name not in self._tensors:
            raise InvalidModelFileError(
                "A part of this model is missing.",
                why="The file lacks some of the weights that this kind of model has.",
                remedy="Download the model again, or choose another one.",
                details=name,
            )
        return self._tensors[name]

    def array(self, name: str) -> Floats:
        """See Checkpoint."""
        raw, tensor = self._find(name)
        numbers = self._reorder(name, _dequantise(raw, tensor))
        check_finite(numbers, "numbers", name)
        return numbers

    def linear(self, module: str) -> PackedLinear:
        """See Checkpoint."""
        name = f"{module}.weight"
        self.shape(module)
        raw, tensor = self._find(name)
        weight = self._reorder(name, _dequantise(raw, tensor))
        bias = self.array(f"{module}.bias") if f"{module}.bias" in self._tensors else None
        if bias is not None and bias.shape != weight.shape[:1]:
            raise damaged("A bias has another length than its block of weights.", f"{module}: {bias.shape}")
        scheme = self._scheme or _STORED.get(TENSOR_TYPES[tensor.type].name, "f16")
        return pack_dense(weight, scheme, bias, module)

    def _reorder(self, name: str, rows: Floats) -> Floats:
        """Rows of q and k in the order of Hugging Face; anything else as it is."""
        if self.header.architecture != "llama":
            return rows
        if ".q_proj." in name:
            heads = self.config["num_attention_heads"]
        elif ".k_proj." in name:
            heads = self.config["num_key_value_heads"]
        else:
            return rows
        if len(rows) % (2 * heads):
            raise damaged(
                "A block of weights does not fit the number of heads.", f"{name}: {rows.shape}, {heads} heads"
            )
        pairs = rows.reshape(heads, len(rows) // heads // 2, 2, *rows.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)

    def tokenizer_files(self) -> dict[str, bytes]:
        """None: a GGUF file's vocabulary is in its header."""
        return {}

    def close(self) -> None:
        """See Checkpoint."""
        self._tensors = {}


def _mapped(path: Path, size: int) -> npt.NDArray[np.uint8]:
    try:
        with path.open("rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as error:  # ValueError: it shrank since its header was read
        raise truncated(str(error)) from error


def _dequantise(raw: npt.NDArray[np.uint8], tensor: TensorInfo) -> Floats:
    """A tensor's numbers, (rows ..., row length) float32."""
    from gguf import GGMLQuantizationType, quants

    shape = tensor.shape[::-1]
    name = TENSOR_TYPES[tensor.type].name
    try:
        kind: Any = GGMLQuantizationType(tensor.type)
        row_bytes = tensor.bytes // (tensor.elements // shape[-1])
        rows = raw.reshape(-1, row_bytes)
        out = np.empty((len(rows), shape[-1]), np.float32)
        step = max(1, _CHUNK // shape[-1])
        with np.errstate(all="ignore"):  # NaN scales are found in the result
            for first in range(0, len(rows), step):
                part = np.ascontiguousarray(rows[first : first + step])
                out[first : first + step] = quants.dequantize(part, kind)
    except (NotImplementedError, ValueError) as error:
        raise UnsupportedModelError(
            "This model is in a variant of GGUF that cannot be opened here.",
            why=f"Some of its weights are of the type {name}, which is not known as a source.",
            remedy="Choose another build of this model.",
            details=f"{tensor.name}: {error}",
        ) from error
    return out.reshape(shape)
