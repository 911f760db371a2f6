"""Tuning against the source's next-token distribution: continuous numbers (P), and codes as well (PV).

One block's dense weights exist at a time: the forward pass keeps the hidden states between blocks, and the backward
pass computes each block again. Of the source only its last hidden states are needed, which were kept when it was read.
The best numbers on validation texts win, those from before the first step among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from backend.quantize.graph import Graph
from backend.quantize.layer import Stop
from backend.quantize.torch_blocks import BlockWeights, run_block, tail_hidden
from backend.quantize.tuning.adam import RelativeAdam, cosine
from backend.quantize.tuning.codes import CodeMover, CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.weights import AqlmWeight, TunableWeight, tunable
from kernels.packed import PackedLinear

__all__ = ["EndSettings", "Lesson", "TunedModel", "tune_model"]

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class EndSettings:
    """How long and how fast.

    Attributes:
        epochs: over the texts.
        texts: in one step.
        rate: learning rate of continuous numbers, relative to each tensor's root mean square.
        codes: how codes move; None: they stay (P only).
        looks: how often in an epoch validation is looked at.
        seed: of the order of the texts.
        threads: of the search for codes.
    """

    epochs: int = 1
    texts: int = 4
    rate: float = 1e-3
    codes: CodeSettings | None = None
    looks: int = 4
    seed: int = 0
    threads: int = 1


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
class TunedModel:
    """What tuning gave.

    Attributes:
        packed: the blocks' linears, by module.
        norms: by name, the final one among them.
        before, after: mean KL on validation, nats per token.
        history: (step, KL on validation) at every look.
        moved: codes that changed, in all.
    """

    packed: Mapping[str, PackedLinear]
    norms: Mapping[str, Tensor]
    before: float
    after: float
    history: tuple[tuple[int, float], ...] = field(default=())
    moved: int = 0


def tune_model(
    graph: Graph,
    packed: Mapping[str, PackedLinear],
    norms: Mapping[str, Tensor],
    biases: Mapping[str, Tensor],
    heads: Heads,
    train: Lesson,
    validation: Lesson,
    *,
    settings: EndSettings | None = None,
    report: Callable[[int, int, float], None] = lambda step, steps, kl: None,
    stop: Stop = lambda: False,
) -> TunedModel:
    """Trains all blocks at once.

    Args:
        graph: the model.
        packed: the linears of its blocks.
        norms: (width,) float32 by name.
        biases: (out,) float32 by module.
        heads: of source and build.
        train: texts to learn from.
        validation: texts to choose by; of other files.
        settings: how.
        report: told after each step: step, steps, and the step's KL.
        stop: asked before every block.

    Raises:
        InterruptedError: `stop` said so.
    """
    settings = settings or EndSettings()
    student = _Student(graph, packed, norms, biases, heads, settings, stop)
    before = best = student.divergence(validation)
    kept, kept_moved = student.state(), 0
    history = [(0, before)]
    optimiser = RelativeAdam(student.parameters(), settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    per_epoch = math.ceil(len(train.inputs) / settings.texts)
    steps = settings.epochs * per_epoch
    every = max(1, per_epoch // settings.looks)
    step = moved = 0
    for _ in range(settings.epochs):
        order = torch.randperm(len(train.inputs), generator=generator).tolist()
        for first in range(0, len(order), settings.texts):
            loss = student.learn(train, order[first : first + settings.texts])
            optimiser.step(cosine(step, steps))
            moved += student.move()
            step += 1
            report(step, steps, loss)
            if step % every == 0 or step == steps:
                now = student.divergence(validation)
                history.append((step, now))
                if now < best:
                    best, kept, kept_moved = now, student.state(), moved
    student.load(kept)
    return TunedModel(student.packed(), student.norms(), before, best, tuple(history), kept_moved)


@dataclass(frozen=True, slots=True)
class _State:
    numbers: list[Tensor]
    codes: dict[str, Tensor]

    def rounded(self, norms: int) -> _State:
        """As a file holds it: half precision, but for the norms, which come last."""
        cut = len(self.numbers) - norms
        halves = [one.half().float() for one in self.numbers[:cut]]
        return _State([*halves, *self.numbers[cut:]], self.codes)


class _Student:
    def __init__(
        self,
        graph: Graph,
        packed: Mapping[str, PackedLinear],
        norms: Mapping[str, Tensor],
        biases: Mapping[str, Tensor],
        heads: Heads,
        settings: EndSettings,
        stop: Stop,
    ) -> None:
        self._graph, self._biases, self._heads, self._stop = graph, biases, heads, stop
        self._linears: dict[str, TunableWeight] = {
            module: tunable(packed[module]) for block in graph.blocks for module in block.linears
        }
        self._final = graph.names.norm(graph.tail[0].weight)
        names = [name for block in graph.blocks for name in block.norms] + [self._final]
        self._norms = {name: norms[name].detach().clone().requires_grad_() for name in names}
        self._movers: dict[str, CodeMover] = {}
        if settings.codes is not None:
            self._movers = {
                module: CodeMover(linear, settings.codes, settings.threads)
                for module, linear in self._linears.items()
                if isinstance(linear, AqlmWeight)
            }

    def parameters(self) -> list[Tensor]:
        own = [one for linear in self._linears.values() for one in linear.parameters()]
        return own + list(self._norms.values())

    def learn(self, lesson: Lesson, batch: Sequence[int]) -> float:
        """Adds the gradients of a batch. Returns its mean KL."""
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
            leaves = {module: one.detach().requires_grad_() for module, one in decoded.items()}
            x = x.detach().requires_grad_()
            output = self._block(number, leaves, x)
            torch.autograd.backward(output, carried)
            for module in linears:
                leaf = leaves.pop(module)
                assert leaf.grad is not None
                if module in self._movers:
                    self._movers[module].add(leaf.grad)
                if decoded[module].requires_grad:
                    torch.autograd.backward(decoded.pop(module), leaf.grad)
        return x.grad

    def move(self) -> int:
        return sum(mover.move() for mover in self._movers.values())

    def divergence(self, lesson: Lesson) -> float:
        """Mean KL, with the numbers as a file would hold them."""
        exact = self.state()
        self.load(exact.rounded(len(self._norms)))
        total = tokens = 0.0
        try:
            with torch.no_grad():
                states = [one.float()[None] for one in lesson.inputs]
                for number in range(len(self._graph.blocks)):
                    dense = self._dense(number)
                    states = [self._block(number, dense, x) for x in states]
                for x, wanted in zip(states, lesson.targets, strict=True):
                    hidden = tail_hidden(self._graph, x, self._norms[self._final])[0]
                    total += self._heads.divergence(wanted.float(), hidden, gradient=False)[0]
                    tokens += len(hidden)
        finally:
            self.load(exact)
        return total / tokens if math.isfinite(total) else math.inf

    def state(self) -> _State:
        """A copy of all that moves."""
        codes = {module: self._aqlm(module).codes.clone() for module in self._movers}
        return _State([p.detach().clone() for p in self.parameters()], codes)

    def load(self, state: _State) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state.numbers, strict=True):
                parameter.copy_(value)
        for module, codes in state.codes.items():
            self._aqlm(module).codes.copy_(codes)

    def _aqlm(self, module: str) -> AqlmWeight:
        linear = self._linears[module]
        assert isinstance(linear, AqlmWeight)
        return linear

    def packed(self) -> dict[str, PackedLinear]:
        return {module: linear.packed() for module, linear in self._linears.items()}

    def norms(self) -> dict[str, Tensor]:
        return {name: norm.detach().clone() for name, norm in self._norms.items()}

    def _dense(self, number: int) -> dict[str, Tensor]:
        return {module: self._linears[module].dense().detach() for module in self._graph.blocks[number].linears}

    def _block(self, number: int, dense: Mapping[str, Tensor], x: Tensor) -> Tensor:
        if self._stop():
            raise InterruptedError
        block = self._graph.blocks[number]
        norms = {name: self._norms[name] for name in block.norms}
        return run_block(block, BlockWeights(dict(dense), dict(self._biases), norms), x)
