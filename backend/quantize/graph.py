"""A model's forward pass block by block, with names: what an architecture records, cut between its layers.

The architectures (`backend/architectures`) record a `Program` once. Here they are given placeholders for weights:
empty `PackedLinear`s that carry a number, and the norms, known by their identity; so a step tells what it uses.
Compression knows no architecture by itself, and follows every one that the engine runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.architectures import CommonArgs, build, read_args
from backend.formats.checkpoint import Checkpoint
from backend.formats.gguf_dense import GgufCheckpoint
from backend.formats.hf_folder import HfFolder
from backend.quantize.modules import linear_shapes
from kernels.packed import PackedLinear
from kernels.program import Attention, Embed, LinearAdd, Linears, Output, Program, RmsNorm, Step

__all__ = ["Block", "Graph", "Names", "open_graph"]

#: the parameter of a placeholder that is its number
_NUMBER = "placeholder"


@dataclass(frozen=True)
class Names:
    """Which tensor a step means, by the placeholder that it holds.

    Attributes:
        linears: by the placeholder's number.
        norms: by the array's identity.
    """

    linears: Sequence[str]
    norms: Mapping[int, str]

    def linear(self, placeholder: PackedLinear) -> str:
        """As in "model.layers.0.self_attn.q_proj"."""
        return self.linears[placeholder.parameters[_NUMBER]]

    def norm(self, weight: npt.NDArray[np.float32]) -> str:
        """As in "model.layers.0.input_layernorm.weight"."""
        return self.norms[id(weight)]


@dataclass(frozen=True)
class Block:
    """The steps of one layer: from its first norm to its last addition to the residual.

    Attributes:
        steps: in order.
        residual: index of the value that comes in and goes out.
        inputs: linears that read the same input, in the order of the steps.
        norms: names of the norms.
        names: what the steps' placeholders are called.
    """

    steps: tuple[Step, ...]
    residual: int
    inputs: tuple[tuple[str, ...], ...]
    norms: tuple[str, ...]
    names: Names

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears."""
        return tuple(module for group in self.inputs for module in group)


@dataclass(frozen=True)
class Graph:
    """A model.

    Attributes:
        args: its sizes.
        embed: the first step.
        blocks: one for each layer.
        tail: the final norm, and Output.
        shapes: (out, in) of each linear, embedding and head among them.
        names: what the placeholders are called.
        program: all of it, which keeps the placeholders alive.
    """

    args: CommonArgs
    embed: Embed
    blocks: tuple[Block, ...]
    tail: tuple[RmsNorm, Output]
    shapes: Mapping[str, tuple[int, int]]
    names: Names
    program: Program

    @property
    def head(self) -> str:
        """The linear that gives the logits: the embedding where they are tied."""
        return self.names.linear(self.tail[1].head)


def open_graph(checkpoint: Checkpoint) -> Graph:
    """Records and cuts the forward pass; of the weights only the norms are read.

    Raises:
        UnsupportedModelError, InvalidModelFileError: as `backend.architectures.build`.
    """
    tensors = _Placeholders(checkpoint)
    built = build(tensors)
    names = Names(tuple(tensors.shapes), tensors.norms_by_id)
    steps = built.program.steps
    first, norm, output = steps[0], steps[-2], steps[-1]
    assert isinstance(first, Embed)
    assert isinstance(norm, RmsNorm)
    assert isinstance(output, Output)
    blocks = tuple(_block(part, first.out.index, names) for part in _cut(steps[1:-2], first.out.index))
    return Graph(built.args, first, blocks, (norm, output), tensors.shapes, names, built.program)


def _cut(steps: Sequence[Step], residual: int) -> list[list[Step]]:
    """A layer ends at the last addition to the residual before the next layer's attention."""
    attention = [i for i, step in enumerate(steps) if isinstance(step, Attention)]
    ends = []
    for at, following in zip(attention, [*attention[1:], len(steps)], strict=True):
        added = [
            i
            for i in range(at, following)
            if isinstance(step := steps[i], LinearAdd) and step.residual.index == residual
        ]
        ends.append(added[-1] + 1)
    return [list(steps[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _block(steps: Sequence[Step], residual: int, names: Names) -> Block:
    inputs: list[tuple[str, ...]] = []
    norms: list[str] = []
    for step in steps:
        if isinstance(step, Linears):
            inputs.append(tuple(names.linear(weight) for weight in step.weights))
        elif isinstance(step, LinearAdd):
            inputs.append((names.linear(step.weight),))
        elif isinstance(step, RmsNorm):
            norms.append(names.norm(step.weight))
    return Block(tuple(steps), residual, tuple(inputs), tuple(norms), names)


class _Placeholders:
    """A checkpoint whose linears are empty (`backend.architectures.Tensors`)."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self.config: Mapping[str, Any] = checkpoint.config
        self.norms_by_id: dict[int, str] = {}
        self.shapes: dict[str, tuple[int, int]] = {}
        self._held: dict[str, PackedLinear] = {}
        self._shapes = linear_shapes(read_args(checkpoint.config))

    def has(self, name: str) -> bool:
        return self._checkpoint.has(name)

    def linears(self) -> tuple[str, ...]:
        return self._checkpoint.linears()

    def arrays(self) -> tuple[str, ...]:
        return self._checkpoint.arrays()

    def array(self, name: str) -> npt.NDArray[np.float32]:
        array = np.ascontiguousarray(self._checkpoint.array(name), np.float32)
        self.norms_by_id[id(array)] = name
        return array

    def linear(self, module: str) -> PackedLinear:
        if module not in self._held:
            shape = self._shape(module)
            bias = f"{module}.bias"
            buffers = {"bias": self._checkpoint.array(bias)} if self._checkpoint.has(bias) else {}
            self._held[module] = PackedLinear("f32", *shape, {_NUMBER: len(self.shapes)}, buffers)
            self.shapes[module] = shape
        return self._held[module]

    def _shape(self, module: str) -> tuple[int, int]:
        """(out, in) as the file says, where it says so unread; the architecture compares it with its config."""
        if isinstance(self._checkpoint, GgufCheckpoint | HfFolder):
            return self._checkpoint.shape(module)[1:]
        return self._shapes[module.rpartition(".")[2]]
