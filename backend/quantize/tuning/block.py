"""Block-wise tuning: the continuous numbers of one block against the source's outputs (AQLM section 3.3).

The block reads what the compressed blocks before it give, and is trained towards what the source model's block gives
for the same text: so it also mends what those before it got wrong. Codes stay. Adam; a learning rate in units of each
tensor's size; the best numbers on held-out texts are kept, and what is kept is what the file holds: half precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from backend.quantize.graph import Block
from backend.quantize.layer import Stop
from backend.quantize.torch_blocks import BlockWeights, run_block
from backend.quantize.tuning.adam import RelativeAdam, cosine
from backend.quantize.tuning.weights import TunableWeight, tunable
from kernels.packed import PackedLinear

__all__ = ["BlockSettings", "TunedBlock", "tune_block"]

Tensor = torch.Tensor

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
        seed: of the order of the texts.
    """

    epochs: int = 4
    texts: int = 2
    rate: float = 3e-3
    patience: int = 2
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TunedBlock:
    """What tuning gave.

    Attributes:
        packed: the block's linears, by module.
        norms: by name, float32 (width,).
        before, after: held-out error: squared difference of outputs, over the square of what the block adds.
        epochs: that were computed.
    """

    packed: Mapping[str, PackedLinear]
    norms: Mapping[str, Tensor]
    before: float
    after: float
    epochs: int


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
    student = _Student(block, weights, packed)
    checked = range(train, len(inputs))
    norm = _Weighting(inputs, targets)
    before = best = student.error(inputs, targets, checked, norm)
    kept = student.state()
    optimiser = RelativeAdam(student.parameters(), settings.rate)
    generator = torch.Generator().manual_seed(settings.seed)
    steps = settings.epochs * math.ceil(train / settings.texts)
    step = waited = epochs = 0
    while epochs < settings.epochs and waited < settings.patience:
        for batch in _batches(torch.randperm(train, generator=generator).tolist(), settings.texts):
            if stop():
                raise InterruptedError
            output = student(_stack(inputs, batch))
            norm(output, _stack(targets, batch)).backward()  # type: ignore[no-untyped-call]
            optimiser.step(cosine(step, steps))
            step += 1
        epochs += 1
        now = student.error(inputs, targets, checked, norm)
        if now < best:
            best, kept, waited = now, student.state(), 0
        else:
            waited += 1
    student.load(kept)
    return TunedBlock(student.packed(), student.norms(), before, best, epochs)


class _Student:
    def __init__(self, block: Block, weights: BlockWeights, packed: Mapping[str, PackedLinear]) -> None:
        self._block, self._biases = block, weights.biases
        self._linears: dict[str, TunableWeight] = {module: tunable(packed[module]) for module in block.linears}
        self._norms = {name: norm.detach().clone().requires_grad_() for name, norm in weights.norms.items()}

    def parameters(self) -> list[Tensor]:
        own = [one for linear in self._linears.values() for one in linear.parameters()]
        return own + list(self._norms.values())

    def __call__(self, x: Tensor) -> Tensor:
        dense = {module: linear.dense() for module, linear in self._linears.items()}
        return run_block(self._block, BlockWeights(dense, self._biases, self._norms), x)

    def error(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor], texts: Sequence[int], norm: _Weighting
    ) -> float:
        """The mean over texts, with the numbers as the file would hold them; infinite where it could not hold them."""
        if not all(bool((p.detach().abs() <= _LARGEST).all()) for p in self.parameters()):
            return math.inf
        decoded = BlockWeights({}, self._biases, self.norms())
        for module, packed in self.packed().items():
            decoded.put(module, packed)
        with torch.no_grad():
            losses = [
                float(norm(run_block(self._block, decoded, _stack(inputs, [i])), _stack(targets, [i]))) for i in texts
            ]
        return sum(losses) / len(losses)

    def state(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters()]

    def load(self, state: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), state, strict=True):
                parameter.copy_(value)

    def packed(self) -> dict[str, PackedLinear]:
        return {module: linear.packed() for module, linear in self._linears.items()}

    def norms(self) -> dict[str, Tensor]:
        return {name: norm.detach().clone() for name, norm in self._norms.items()}


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
