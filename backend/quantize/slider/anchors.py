"""Positions measured from the file, all of them in one reading: what the source says of a text is computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from backend.architectures import build
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_slider import Anchor
from backend.quantize.evaluation_scores import compare, expect
from backend.quantize.graph import Graph
from backend.quantize.layer import Stop
from backend.quantize.products import product
from backend.quantize.slider.upgrades import Slider
from backend.quantize.torch_blocks import tail_hidden
from kernels.cpu.executor import CpuExecutor
from kernels.packed import PackedLinear
from kernels.reference import dequantize

__all__ = ["COUNT", "Reference", "measure_positions", "spread"]

Tensor = torch.Tensor

#: positions that are measured, both ends among them
COUNT = 8
#: rows of one forward: 64 of 150,000 tokens are 39 MB
_ROWS = 64


def spread(slider: Slider, count: int = COUNT) -> list[int]:
    """Positions at equal steps of the logarithm of the predicted sum of errors, from the left end to the right one."""
    logs = np.log(np.maximum(slider.costs(), 1e-12))
    wanted = np.linspace(logs[0], logs[-1], count)
    found = {0, slider.last} | {int(np.abs(logs - one).argmin()) for one in wanted}
    return sorted(found)


@dataclass(frozen=True)
class Reference:
    """The source behind its blocks.

    Attributes:
        graph: the model. head: its output layer, dense.
        hidden: (tokens, hidden) of each text, behind the last block.
        texts: (n, tokens) int32.
    """

    graph: Graph
    head: PackedLinear
    hidden: Sequence[Tensor]
    texts: npt.NDArray[np.int32]


def measure_positions(
    path: Path,
    positions: Sequence[int],
    reference: Reference,
    *,
    threads: int,
    finished: Callable[[float], None] = lambda share: None,
    stop: Stop = lambda: False,
) -> tuple[list[Anchor], float]:
    """KL to the source and perplexity at positions of a pack's slider, by the native engine.

    Args:
        path: a pack.
        positions: numbers of upgrades.
        reference: the source.
        threads: that compute.
        finished: told which share is done.
        stop: asked before each forward.

    Returns:
        what was found, in the order of `positions`, and the source's perplexity.

    Raises:
        InterruptedError: `stop` said so.
    """
    checkpoint = PackCheckpoint(path)
    texts, length = reference.texts, reference.texts.shape[1]
    head = torch.from_numpy(dequantize(reference.head))
    kl, surprise = np.zeros(len(positions)), np.zeros(len(positions))
    theirs, scored = 0.0, 0
    pieces = [range(start, min(start + _ROWS, length - 1)) for start in range(0, length - 1, _ROWS)]
    try:
        views = [checkpoint.at(steps) for steps in positions]
        programs = [build(view).program for view in views]
        runs = [CpuExecutor(program, capacity=length, max_rows=_ROWS, threads=threads) for program in programs]
        for number, text in enumerate(texts):
            hidden = tail_hidden(reference.graph, reference.hidden[number])
            for run in runs:
                run.rewind(0)
            for piece in pieces:
                rows, following = len(piece), text[piece.start + 1 : piece.stop + 1]
                with torch.no_grad():
                    wanted = product(hidden[piece.start : piece.stop], head).numpy()
                expected = expect(wanted, following, threads)
                theirs += float(expected.surprise.sum(dtype=np.float64))
                scored += rows
                for place, run in enumerate(runs):
                    if stop():
                        raise InterruptedError
                    logits = run.forward(text[piece.start : piece.stop].tolist(), range(-1, rows - 1), range(rows))
                    run.commit(range(rows))
                    scores = compare(expected, logits, following, threads)
                    kl[place] += float(scores.kl.sum(dtype=np.float64))
                    surprise[place] += float(scores.surprise.sum(dtype=np.float64))
            finished((number + 1) / len(texts))
    finally:
        checkpoint.close()
    found = [
        Anchor(steps, _finite(one / scored), _perplexity(lost / scored))
        for steps, one, lost in zip(positions, kl, surprise, strict=True)
    ]
    return found, _perplexity(theirs / scored)


def _finite(value: float) -> float:
    """A ruined model's numbers may be none: then the worst that can be written."""
    return value if math.isfinite(value) else 1e6


def _perplexity(loss: float) -> float:
    return math.exp(min(loss, 600.0)) if math.isfinite(loss) else 1e300
