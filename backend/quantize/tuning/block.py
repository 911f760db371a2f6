"""Block-wise tuning: the numbers of one block against the source's outputs (AQLM section 3.3), and some of its codes.

The block reads what the compressed blocks before it give, and is trained towards what the source model's block gives
for the same text: so it also mends what those before it got wrong. Adam; a learning rate in units of each tensor's
size; the best numbers on held-out texts are kept, and what is kept is what the file holds: half precision. Codes that
are pulled far move too (`codes.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from backend.quantize.graph import Block
from backend.quantize.layer import Stop
from backend.quantize.products import has_half_products
from backend.quantize.torch_blocks import BlockWeights, run_block
from backend.quantize.tuning.adam import RelativeAdam, cosine
from backend.quantize.tuning.amounts import BLOCK_EPOCHS
from backend.quantize.tuning.codes import CodeMover, CodeSettings
from backend.quantize.tuning.student import State
from backend.quantize.tuning.weights import AqlmWeight, TunableWeight, tunable
from kernels.packed import PackedLinear

__all__ = ["CODES", "BlockSettings", "TunedBlock", "tune_block"]

Tensor = torch.Tensor

#: How codes move: a run has some tens of steps, so that each must reach far.
CODES = CodeSettings(rate=4e-2, share=0.05, trust=0.05)
#: of half precision
_LARGEST = 65504.0


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """How long and how fast.

    Attributes:
        epochs: over the texts.
        texts: in one step.
        rate: learning rate, relative to each tensor's root mean square; falls to a tenth along a cosine.
        patience: epochs without a better held-out error before it ends.
        codes: how codes move; None: they stay.
        every: steps from one move of codes to the next.
        seed: of the order of the texts.
        threads: of the search for codes.
    """

    epochs: int = BLOCK_EPOCHS
    texts: int = 1
    rate: float = 1e-2
    patience: int = 2
    codes: CodeSettings | None = None
    every: int = 4
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class TunedBlock:
    """What tuning gave.

    Attributes:
        packed: the block's linears, by module.
        norms: by name, float32 (width,).
        before, after: held-out error: squared difference of outputs, over the square of what the block adds.
        epochs: that were computed.
        moved: codes that changed.
    """

    packed: Mapping[str, PackedLinear]
    norms: Mapping[str, Tensor]
    before: float
    after: float
    epochs: int
    moved: int = 0


def tune_block(
    block: Block,
    weights: BlockWeights,
    packed: Mapping[str, PackedLinear],
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    *,
    held_out: int,
    settings: BlockSettings | None = None,
    stop: Stop = lambda: False,
) -> TunedBlock:
    """Trains one block.

    Args:
        block: its steps.
        weights: of the source: biases and norms are taken from here.
        packed: all its linears.
        inputs: texts (tokens, hidden) as the compressed blocks before give them.
        targets: what the source's block gave for the same texts.
        held_out: this many texts at the end choose the epoch and are not trained on.
        settings: how.
        stop: asked before every step.

    Raises:
        InterruptedError: `stop` said so.
        ValueError: no text is left to train on.
    """
    settings = settings or BlockSettings()
    train = len(inputs) - held_out
    if train < 1 or held_out < 1:
        raise ValueError(f"{len(inputs)} texts cannot be split into some to train on and {held_out} held out")
    student = _Student(block, weights, packed, settings)
    checked = range(train, len(inputs))
    norm = _Weighting(inputs, targets)
    before = best = student.error(inputs, targets, checked, norm)
    kept, kept_moved = student.state(), 0
    optimiser = RelativeAdam(student.parameters(), settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    steps = settings.epochs * math.ceil(train / settings.texts)
    step = waited = epochs = moved = 0
    while epochs < settings.epochs and waited < settings.patience:
        for batch in _batches(torch.randperm(train, generator=generator).tolist(), settings.texts):
            if stop():
                raise InterruptedError
            student.learn(_stack(inputs, batch), _stack(targets, batch), norm)
            optimiser.step(cosine(step, steps))
            step += 1
            if step % settings.every == 0:
                moved += student.move()
        epochs += 1
        now = student.error(inputs, targets, checked, norm)
        if now < best:
            best, kept, kept_moved, waited = now, student.state(), moved, 0
        else:
            waited += 1
    student.load(kept)
    return TunedBlock(student.packed(), student.norms(), before, best, epochs, kept_moved)


class _Student:
    def __init__(
        self, block: Block, weights: BlockWeights, packed: Mapping[str, PackedLinear], settings: BlockSettings
    ) -> None:
        self._block, self._biases, self._half = block, weights.biases, has_half_products()
        self._linears: dict[str, TunableWeight] = {module: tunable(packed[module]) for module in block.linears}
        self._norms = {name: norm.detach().clone().requires_grad_() for name, norm in weights.norms.items()}
        self._moving: dict[str, AqlmWeight] = {}
        if settings.codes is not None:
            self._moving = {module: one for module, one in self._linears.items() if isinstance(one, AqlmWeight)}
            self._movers = {m: CodeMover(one, settings.codes, settings.threads) for m, one in self._moving.items()}

    def parameters(self) -> list[Tensor]:
        own = [one for linear in self._linears.values() for one in linear.parameters()]
        return own + list(self._norms.values())

    def learn(self, x: Tensor, target: Tensor, norm: _Weighting) -> None:
        """Adds the gradients of some texts."""
        decoded = {module: linear.dense() for module, linear in self._linears.items()}
        leaves = {
            module: (one.detach().bfloat16() if self._half else one.detach()).requires_grad_(one.requires_grad)
            for module, one in decoded.items()
        }
        norm(self._run(leaves, x), target).backward()  # type: ignore[no-untyped-call]
        for module, one in decoded.items():
            gradient = leaves[module].grad
            if gradient is not None:
                gradient = gradient.float()
                if module in self._moving:
                    self._movers[module].add(gradient)
                torch.autograd.backward(one, gradient)

    def move(self) -> int:
        return sum(self._movers[module].move() for module in self._moving)

    def error(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor], texts: Sequence[int], norm: _Weighting
    ) -> float:
        """The mean over texts, with the numbers as the file would hold them; infinite where it could not hold them."""
        if not all(bool((p.detach().abs() <= _LARGEST).all()) for p in self.parameters()):
            return math.inf
        exact = self.state().numbers
        cut = len(exact) - len(self._norms)
        self.load(State([p.half().float() for p in exact[:cut]] + exact[cut:]))
        with torch.no_grad():
            dense = {module: linear.dense() for module, linear in self._linears.items()}
            losses = [float(norm(self._run(dense, _stack(inputs, [i])), _stack(targets, [i]))) for i in texts]
        self.load(State(exact))
        return sum(losses) / len(losses)

    def state(self) -> State:
        codes = {module: one.codes.clone() for module, one in self._moving.items()}
        return State([p.detach().clone() for p in self.parameters()], codes)

    def load(self, state: State) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state.numbers, strict=True):
                parameter.copy_(value)
        for module, codes in state.codes.items():
            self._moving[module].codes.copy_(codes)

    def packed(self) -> dict[str, PackedLinear]:
        return {module: linear.packed() for module, linear in self._linears.items()}

    def norms(self) -> dict[str, Tensor]:
        return {name: norm.detach().clone() for name, norm in self._norms.items()}

    def _run(self, dense: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return run_block(self._block, BlockWeights(dict(dense), self._biases, self._norms), x)


class _Weighting:
    """One weight per token: those whose outputs are massive (norm 640 where others have 26) would be all that counts.

    A token whose target is longer than four medians counts as one of four medians would.
    """

    def __init__(self, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        lengths = torch.cat([t.float().norm(dim=-1) for t in targets])
        self._limit = 4 * float(lengths.median())
        added = torch.cat([(t.float() - x.float()).norm(dim=-1) for x, t in zip(inputs, targets, strict=True)])
        self._unit = float(added.median()) ** 2

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        weights = (self._limit / target.norm(dim=-1).clamp_min(1e-30)).clamp_max(1.0).square()
        loss: Tensor = ((output - target).square().sum(-1) * weights).mean() / max(self._unit, 1e-30)
        return loss


def _stack(texts: Sequence[Tensor], batch: Sequence[int]) -> Tensor:
    return torch.stack([texts[i].float() for i in batch])


def _batches(order: list[int], size: int) -> Iterator[list[int]]:
    return (order[i : i + size] for i in range(0, len(order), size))
