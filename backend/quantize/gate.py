"""The last check of a build: does it still read text, measured from the very file that is handed over.

Two linears in a hundred can ruin a model with the smallest errors of all (quantizer errors say little about a massive
activation), so no build leaves unmeasured. Good figures are `nutshell measure`'s business; this one is about ruin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backend.architectures import build
from backend.formats.checkpoint import open_checkpoint
from backend.quantize.graph import Graph
from backend.quantize.layer import Stop
from backend.quantize.recipes import dense_rows
from backend.quantize.torch_blocks import tail_hidden
from kernels.cpu.executor import CpuExecutor
from kernels.packed import PackedLinear
from kernels.reference import dequantize

__all__ = ["RUINED", "build_loss", "loss_of", "source_loss", "verdict"]

Tensor = torch.Tensor

#: times the source's perplexity: 2 bits without tuning give small models 2, a ruined one gives 5 to 100000
RUINED = 3.0
#: rows of one forward: 64 of 150,000 tokens are 39 MB
_ROWS = 64
#: rows of which double-precision copies are made at a time: 8 of 150,000 tokens are 10 MB, and there are two
_WIDE = 8
#: numbers of the head in one piece as float32: 16 MB
_PIECE = 1 << 22


def loss_of(logits: npt.NDArray[np.float32], following: npt.NDArray[Any]) -> float:
    """The sum over rows of -log softmax(logits)[following], in nats and float64.

    Args:
        logits: (n, n_vocab).
        following: (n,) tokens.
    """
    total = 0.0
    for first in range(0, len(logits), _WIDE):
        wide = logits[first : first + _WIDE].astype(np.float64)
        wide -= wide.max(axis=1, keepdims=True)
        lost = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(wide)), following[first : first + _WIDE]]
        total += float(lost.sum())
    return total


def build_loss(path: Path, texts: npt.NDArray[np.int32], *, threads: int, stop: Stop = lambda: False) -> float:
    """Nats per token of a build on texts, by the native engine.

    Args:
        path: a pack.
        texts: (n, tokens); the first token of each is not scored.
        threads: that compute.
        stop: asked before each forward.

    Raises:
        InterruptedError: `stop` said so.
    """
    checkpoint = open_checkpoint(path)
    try:
        program = build(checkpoint).program
        executor = CpuExecutor(program, capacity=texts.shape[1], max_rows=_ROWS, threads=threads)

        def logits(tokens: Sequence[int]) -> npt.NDArray[np.float32]:
            if stop():
                raise InterruptedError
            n = len(tokens)
            rows = executor.forward(tokens, range(-1, n - 1), range(n))
            executor.commit(range(n))
            return rows

        return _mean([_text_loss(text, logits, executor.rewind) for text in texts])
    finally:
        checkpoint.close()


def source_loss(
    graph: Graph,
    head: PackedLinear,
    hidden: Sequence[Tensor],
    texts: npt.NDArray[np.int32],
    *,
    stop: Stop = lambda: False,
) -> float:
    """Nats per token of the source, of which only what comes after its blocks is computed here.

    Args:
        graph: the model.
        head: its output layer, dense.
        hidden: (tokens, hidden) of each text, behind the last block.
        texts: (n, tokens).
        stop: asked before each piece of the head.

    Raises:
        InterruptedError: `stop` said so.
    """
    x = torch.cat([tail_hidden(graph, states)[:-1] for states in hidden])
    following = torch.from_numpy(texts[:, 1:].reshape(-1).astype(np.int64))
    sums, chosen = torch.full((len(x),), -math.inf), torch.empty(len(x))
    step = max(1, _PIECE // head.in_features // 64) * 64
    for first in range(0, head.out_features, step):
        if stop():
            raise InterruptedError
        logits = x @ torch.from_numpy(dequantize(dense_rows(head, first, step))).T
        sums = torch.logaddexp(sums, logits.logsumexp(-1))
        here = (following >= first) & (following < first + logits.shape[1])
        chosen[here] = logits[here, following[here] - first]
    return float((sums - chosen).mean(dtype=torch.float64))


def _text_loss(
    text: npt.NDArray[np.int32],
    logits: Callable[[Sequence[int]], npt.NDArray[np.float32]],
    rewind: Callable[[int], None],
) -> float:
    rewind(0)
    total = 0.0
    for start in range(0, len(text) - 1, _ROWS):
        following = text[start + 1 : start + 1 + _ROWS]
        total += loss_of(logits(text[start : start + len(following)].tolist()), following)
    return total / (len(text) - 1)


def _mean(losses: Sequence[float]) -> float:
    return sum(losses) / len(losses)


def verdict(loss: float, source: float) -> str:
    """What is wrong with a build in a sentence, or "".

    Args:
        loss: of the build, in nats per token.
        source: of its source on the same text.
    """
    if math.isfinite(loss) and loss - source <= math.log(RUINED):
        return ""
    if not math.isfinite(loss) or loss - source > math.log(1000):
        return "It does not read text any more: this compression ruined the model."
    return (
        f"It finds text {math.exp(loss - source):.1f} times as surprising as its source does: expect bad answers. "
        "A level with more bits, or tuning, would help."
    )
