"""Tuning against the source's next-token distribution: continuous numbers (P), and codes as well (PV).

Of the source only its last hidden states are needed, which were kept when it was read. The best numbers on validation
texts win, those from before the first step among them. What a run has reached can be taken out and put in again, to
the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backend.quantize.graph import Graph
from backend.quantize.layer import Stop
from backend.quantize.tuning.adam import RelativeAdam, cosine
from backend.quantize.tuning.codes import CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.student import Lesson, State, Student
from kernels.packed import PackedLinear

__all__ = ["EndSettings", "Lesson", "Snapshot", "TunedModel", "tune_model"]

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
    texts: int = 1
    rate: float = 3e-3
    codes: CodeSettings | None = None
    looks: int = 4
    seed: int = 0
    threads: int = 1


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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run between two steps.

    Attributes:
        arrays: numbers, moments and codes, as they are and as they were best; views into what goes on changing.
        about: the rest, in JSON's types.
    """

    arrays: Mapping[str, npt.NDArray[np.generic]]
    about: Mapping[str, Any]


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
    resume: Snapshot | None = None,
    keep: Callable[[Callable[[], Snapshot]], None] = lambda snapshot: None,
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
        resume: where an earlier call with the same arguments was; the result is that of one call.
        keep: called after each step with what takes a snapshot, for whoever wants one now.

    Raises:
        InterruptedError: `stop` said so.
        KeyError: the snapshot is of another run.
    """
    settings = settings or EndSettings()
    student = Student(graph, packed, norms, biases, heads, settings.codes, settings.threads, stop)
    run = _Run(student, RelativeAdam(student.parameters(), settings.rate))
    if resume is None:
        run.look(validation)
    else:
        run.restore(resume)
    per_epoch = math.ceil(len(train.inputs) / settings.texts)
    steps, every = settings.epochs * per_epoch, max(1, per_epoch // settings.looks)
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train.inputs), generator=generator).tolist()
        for number in range(per_epoch):
            if epoch * per_epoch + number < run.step:
                continue  # in an earlier call
            loss = student.learn(train, order[number * settings.texts : (number + 1) * settings.texts])
            run.optimiser.step(cosine(run.step, steps))
            run.moved += student.move()
            run.step += 1
            report(run.step, steps, loss)
            if run.step % every == 0 or run.step == steps:
                run.look(validation)
            keep(run.snapshot)
    student.load(run.best_state)
    history = tuple(run.history)
    return TunedModel(student.packed(), student.norms(), history[0][1], run.best, history, run.best_moved)


class _Run:
    """What changes from step to step."""

    def __init__(self, student: Student, optimiser: RelativeAdam) -> None:
        self.student, self.optimiser = student, optimiser
        self.step = self.moved = self.best_moved = 0
        self.best = math.inf
        self.best_state = student.state()
        self.history: list[tuple[int, float]] = []

    def look(self, validation: Lesson) -> None:
        """Measures, and keeps what is best."""
        now = self.student.divergence(validation)
        if now < self.best:
            self.best, self.best_state, self.best_moved = now, self.student.state(), self.moved
        self.history.append((self.step, now))

    def snapshot(self) -> Snapshot:
        arrays = self.student.state().arrays("now") | self.best_state.arrays("best")
        about = {
            "step": self.step,
            "moved": self.moved,
            "best": self.best if math.isfinite(self.best) else None,
            "best moved": self.best_moved,
            "history": [[step, kl if math.isfinite(kl) else None] for step, kl in self.history],
        }
        return Snapshot(arrays | self.optimiser.arrays() | self.student.pulls(), about)

    def restore(self, snapshot: Snapshot) -> None:
        about, like = snapshot.about, self.best_state
        self.step, self.moved, self.best_moved = about["step"], about["moved"], about["best moved"]
        self.best = math.inf if about["best"] is None else about["best"]
        self.history = [(step, math.inf if kl is None else kl) for step, kl in about["history"]]
        self.best_state = State.of(snapshot.arrays, "best", like)
        self.student.load(State.of(snapshot.arrays, "now", like))
        self.student.load_pulls(snapshot.arrays, self.step)
        self.optimiser.load(snapshot.arrays, self.step)
