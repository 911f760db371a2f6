"""The build while it learns from what the source would say: one block's dense weights exist at a time.

The forward pass keeps the hidden states between blocks, and the backward pass computes each block again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from backend.hardware.trim import trim
from backend.quantize.graph import Graph
from backend.quantize.layer import Stop
from backend.quantize.products import has_half_products
from backend.quantize.torch_blocks import BlockWeights, run_block, tail_hidden
from backend.quantize.tuning.codes import CodeMover, CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.weights import AqlmWeight, TunableWeight, tunable
from kernels.packed import PackedLinear

__all__ = ["Lesson", "State", "Student"]

Tensor = torch.Tensor
Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Lesson:
    """Texts with what the source thinks of them.

    Attributes:
        inputs: (tokens, hidden) of each text: rows of the embedding, as the build decodes them.
        targets: (tokens, hidden) of each: what the source's head read.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]


@dataclass(frozen=True, slots=True)
class State:
    """All that moves: numbers in the order of `Student.parameters`, and codes by module."""

    numbers: list[Tensor]
    codes: dict[str, Tensor] = field(default_factory=dict)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[np.generic]]:
        """As they are kept on the disk; views."""
        numbers = {f"{prefix}/{i}": one.numpy() for i, one in enumerate(self.numbers)}
        return numbers | {f"{prefix}/code/{module}": codes.numpy() for module, codes in self.codes.items()}

    @classmethod
    def of(cls, arrays: Arrays, prefix: str, like: State) -> State:
        """What `arrays` gave. Raises KeyError: something is missing."""
        numbers = [torch.from_numpy(np.array(arrays[f"{prefix}/{i}"])) for i in range(len(like.numbers))]
        return cls(numbers, {m: torch.from_numpy(np.array(arrays[f"{prefix}/code/{m}"])) for m in like.codes})


class Student:
    """The build.

    Args:
        graph: the model.
        packed: the linears of its blocks.
        norms: (width,) float32 by name, the final one among them.
        biases: (out,) float32 by module.
        heads: of source and build.
        codes: how codes move; None: they stay.
        threads: of the search for codes.
        stop: asked before every block.
    """

    def __init__(
        self,
        graph: Graph,
        packed: Mapping[str, PackedLinear],
        norms: Mapping[str, Tensor],
        biases: Mapping[str, Tensor],
        heads: Heads,
        codes: CodeSettings | None,
        threads: int,
        stop: Stop,
    ) -> None:
        self._graph, self._biases, self._heads, self._stop = graph, biases, heads, stop
        self._half = has_half_products()
        self._linears: dict[str, TunableWeight] = {
            module: tunable(packed[module]) for block in graph.blocks for module in block.linears
        }
        self._final = graph.names.norm(graph.tail[0].weight)
        names = [name for block in graph.blocks for name in block.norms] + [self._final]
        self._norms = {name: norms[name].detach().clone().requires_grad_() for name in names}
        self._movers: dict[str, CodeMover] = {}
        if codes is not None:
            self._movers = {
                module: CodeMover(linear, codes, threads)
                for module, linear in self._linears.items()
                if isinstance(linear, AqlmWeight)
            }
        trim()  # the decoded weights of each linear left holes: 0.6 GB of 2.4 with 0.5B

    def parameters(self) -> list[Tensor]:
        """float32 leaves: of the linears, then the norms."""
        own = [one for linear in self._linears.values() for one in linear.parameters()]
        return own + list(self._norms.values())

    def learn(self, lesson: Lesson, batch: Sequence[int]) -> float:
        """Adds the gradients of a batch. Returns its mean KL.

        Raises:
            InterruptedError: `stop` said so.
        """
        x = torch.stack([lesson.inputs[i].float() for i in batch])
        wanted = torch.stack([lesson.targets[i].float() for i in batch])
        tokens = x.shape[0] * x.shape[1]
        between = []
        with torch.no_grad():
            for number in range(len(self._graph.blocks)):
                between.append(x)
                x = self._block(number, self._dense(number), x)
        x = x.requires_grad_()
        hidden = tail_hidden(self._graph, x, self._norms[self._final])
        total, gradient = self._heads.divergence(wanted.flatten(0, 1), hidden.detach().flatten(0, 1))
        assert gradient is not None
        torch.autograd.backward(hidden, gradient.view_as(hidden) / tokens)
        carried = x.grad
        for number in reversed(range(len(self._graph.blocks))):
            carried = self._backward(number, between.pop(), carried)
        return total / tokens

    def _backward(self, number: int, x: Tensor, carried: Tensor | None) -> Tensor | None:
        """Through one block: gradients reach its parameters, its movers, and then its input."""
        linears = self._graph.blocks[number].linears
        with torch.enable_grad():
            decoded = {module: self._linears[module].dense() for module in linears}
            leaves = {module: self._lower(one.detach()).requires_grad_() for module, one in decoded.items()}
            x = x.detach().requires_grad_()
            output = self._block(number, leaves, x)
            torch.autograd.backward(output, carried)
            for module in linears:
                leaf, own = leaves.pop(module), decoded.pop(module)
                assert leaf.grad is not None
                if module not in self._movers and not own.requires_grad:
                    continue
                gradient = leaf.grad.float()
                if module in self._movers:
                    self._movers[module].add(gradient)
                if own.requires_grad:
                    torch.autograd.backward(own, gradient)
        trim()  # 3.6 GB without and 3.0 with it, of PV with 0.5B; 20 ms of a second or more
        return x.grad

    def move(self) -> int:
        """Lets codes move. Returns how many did."""
        return sum(mover.move() for mover in self._movers.values())

    def divergence(self, lesson: Lesson) -> float:
        """Mean KL, with the numbers as a file would hold them, in float32."""
        exact = self.state()
        cut = len(exact.numbers) - len(self._norms)
        self.load(State([one.half().float() for one in exact.numbers[:cut]] + exact.numbers[cut:]))
        total = tokens = 0.0
        try:
            with torch.no_grad():
                states = [one.float()[None] for one in lesson.inputs]
                for number in range(len(self._graph.blocks)):
                    dense = self._dense(number, exact=True)
                    states = [self._block(number, dense, x) for x in states]
                for x, wanted in zip(states, lesson.targets, strict=True):
                    hidden = tail_hidden(self._graph, x, self._norms[self._final])[0]
                    total += self._heads.divergence(wanted.float(), hidden, gradient=False)[0]
                    tokens += len(hidden)
        finally:
            self.load(exact)
            trim()
        return total / tokens if math.isfinite(total) else math.inf

    def state(self) -> State:
        """A copy of all that moves."""
        codes = {module: self._aqlm(module).codes.clone() for module in self._movers}
        return State([p.detach().clone() for p in self.parameters()], codes)

    def load(self, state: State) -> None:
        """Takes a state; codes that it lacks stay."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state.numbers, strict=True):
                parameter.copy_(value)
        for module, codes in state.codes.items():
            self._aqlm(module).codes.copy_(codes)

    def pulls(self) -> dict[str, npt.NDArray[np.generic]]:
        """What the movers have gathered, for a run that goes on; views."""
        return {f"{name}/{module}": a for module, one in self._movers.items() for name, a in one.arrays().items()}

    def load_pulls(self, arrays: Arrays, steps: int) -> None:
        """Takes what `pulls` gave after so many steps. Raises KeyError: something is missing."""
        for module, mover in self._movers.items():
            mover.load({name: arrays[f"{name}/{module}"] for name in mover.arrays()}, steps)

    def packed(self) -> dict[str, PackedLinear]:
        """The linears, rounded to what the file holds."""
        return {module: linear.packed() for module, linear in self._linears.items()}

    def norms(self) -> dict[str, Tensor]:
        """By name."""
        return {name: norm.detach().clone() for name, norm in self._norms.items()}

    def _aqlm(self, module: str) -> AqlmWeight:
        linear = self._linears[module]
        assert isinstance(linear, AqlmWeight)
        return linear

    def _lower(self, weight: Tensor) -> Tensor:
        return weight.to(torch.bfloat16) if self._half else weight

    def _dense(self, number: int, *, exact: bool = False) -> dict[str, Tensor]:
        dense = {module: self._linears[module].dense().detach() for module in self._graph.blocks[number].linears}
        return dense if exact else {module: self._lower(one) for module, one in dense.items()}

    def _block(self, number: int, dense: Mapping[str, Tensor], x: Tensor) -> Tensor:
        if self._stop():
            raise InterruptedError
        block = self._graph.blocks[number]
        norms = {name: self._norms[name] for name in block.norms}
        return run_block(block, BlockWeights(dict(dense), dict(self._biases), norms), x)
