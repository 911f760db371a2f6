"""The tensors of a checkpoint by the names that architectures use, with their shapes checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backend.architectures.args import CommonArgs
from backend.architectures.config import damaged, unsupported
from kernels.packed import PackedLinear


class Tensors(Protocol):
    """What an architecture needs of a checkpoint (`backend.formats.checkpoint.Checkpoint`)."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The keys of a Hugging Face config.json."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a parameter or a module of that name."""
        ...

    def linears(self) -> Sequence[str]:
        """Names that `linear` takes."""
        ...

    def arrays(self) -> Sequence[str]:
        """Names that `array` takes, biases not among them."""
        ...

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """A norm or another small parameter."""
        ...

    def linear(self, module: str) -> PackedLinear:
        """The weight of a linear or an embedding, with its bias."""
        ...


class Weights:
    """A checkpoint whose names begin with `prefix`. `finish` refuses tensors that nobody read.

    Raises (every method):
        InvalidModelFileError: a tensor is missing or has another shape than the config says.
    """

    def __init__(self, tensors: Tensors, prefix: str, ignored: str) -> None:
        self._tensors = tensors
        self._prefix = prefix
        self._ignored = re.compile(ignored)
        self._read_names: set[str] = set()

    def linear(self, module: str, out_features: int, in_features: int, *, bias: bool = False) -> PackedLinear:
        """The linear of a layer.

        Raises:
            UnsupportedModelError: it has a bias where this architecture has none.
        """
        packed = self._read(self._prefix + module, out_features, in_features)
        if bias and "bias" not in packed.buffers:
            raise damaged(f"The tensor {self._prefix}{module}.bias is missing.")
        if not bias and "bias" in packed.buffers:
            if np.any(packed.buffers["bias"]):
                raise unsupported(f"It has a tensor {self._prefix}{module}.bias, which its config does not announce.")
            packed = replace(packed, buffers={name: b for name, b in packed.buffers.items() if name != "bias"})
        return packed

    def norm(self, name: str, width: int) -> npt.NDArray[np.float32]:
        """(width,) float32."""
        name = self._prefix + name
        self._read_names.add(name)
        if not self._tensors.has(name):
            raise damaged(f"The tensor {name} is missing.")
        array = np.ascontiguousarray(self._tensors.array(name), np.float32)
        if array.shape != (width,):
            raise damaged(f"The tensor {name} has the shape {array.shape}, and the config says {(width,)}.")
        return array

    def embedding(self, args: CommonArgs) -> PackedLinear:
        """The rows of tokens: (vocab_size, hidden_size)."""
        return self._read(self._prefix + "embed_tokens", args.vocab_size, args.hidden_size)

    def head(self, args: CommonArgs, embedding: PackedLinear) -> PackedLinear:
        """The output layer: lm_head where there is one, else the embedding.

        A file may hold both though the config ties them (a pack whose head has fewer bits); and a file that holds none
        though the config does not tie them can only mean that they are the same.
        """
        return self._read("lm_head", args.vocab_size, args.hidden_size) if self._has("lm_head") else embedding

    def finish(self) -> None:
        """Refuses a checkpoint with tensors that were not read: a forward pass without them would be another one.

        Raises:
            UnsupportedModelError: there is one, by its name.
        """
        for name in (*self._tensors.linears(), *self._tensors.arrays()):
            if name not in self._read_names and not self._ignored.fullmatch(name):
                raise unsupported(f"It has a tensor {name}, which its architecture does not use.")

    def _has(self, module: str) -> bool:
        return self._tensors.has(module) or self._tensors.has(module + ".weight")

    def _read(self, module: str, out_features: int, in_features: int) -> PackedLinear:
        if not self._has(module):
            raise damaged(f"The tensor {module}.weight is missing.")
        packed = self._tensors.linear(module)
        self._read_names.add(module)
        shape, expected = (packed.out_features, packed.in_features), (out_features, in_features)
        if shape != expected:
            raise damaged(f"The tensor {module}.weight has the shape {shape}, and the config says {expected}.")
        return packed


def find_weights(tensors: Tensors, ignored: str = r".*\.rotary_emb\.inv_freq") -> Weights:
    """The weights, be the checkpoint that of a whole model ("model.layers.0...") or of its body ("layers.0...").

    Args:
        tensors: the checkpoint.
        ignored: a pattern of tensors that change nothing: frequencies follow from the config, old files store them too.

    Raises:
        InvalidModelFileError: it has no embedding under any of these names.
    """
    for prefix in ("model.", "", "model.model."):
        if tensors.has(f"{prefix}embed_tokens") or tensors.has(f"{prefix}embed_tokens.weight"):
            return Weights(tensors, prefix, ignored)
    raise damaged("The tensor model.embed_tokens.weight is missing.")
