"""What an error in one linear does to the model's answers: KL for each linear alone at its smallest level.

All variants go through the model side by side, block by block: for each linear the hidden states of the same texts with
only that linear replaced. So every block's weights are read once, and no second copy of the model is needed: states of
168 variants of 512 tokens of a 0.5B model are 0.3 GB. A block costs as many passes as there are linears before it, so
few texts must do; KL is taken at every fourth token, for a head of 150,000 rows is as dear as nine blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch

from backend.hardware.trim import trim
from backend.quantize.graph import Block, Graph
from backend.quantize.layer import Stop
from backend.quantize.slider.ladders import Ladders
from backend.quantize.source import Source
from backend.quantize.states import Texts
from backend.quantize.store import Store
from backend.quantize.torch_blocks import BlockWeights, embed, load_block, run_block, tail_hidden
from backend.quantize.tuning.distill import Heads
from kernels.reference import dequantize

__all__ = ["TEXTS", "TOKENS", "Variants", "sensitivities"]

Tensor = torch.Tensor

#: texts that are read, and tokens of each
TEXTS, TOKENS = 4, 128
#: one token in so many has its KL taken
_EVERY = 4
#: seconds of work between two states on the disk: a kill costs no more
_KEEP_S = 60.0
_NOTE = "sensitivity"


class Variants:
    """Texts on their way through the source, and through it with one linear replaced.

    Args:
        states: (texts, tokens, hidden) float32: behind the embedding.
        stop: asked before each variant.

    Attributes:
        source: (texts, tokens, hidden) float32 of the source.
        states: the same of each variant, by module.
    """

    def __init__(self, states: Tensor, stop: Stop = lambda: False) -> None:
        self.source = states
        self.states: dict[str, Tensor] = {}
        self._stop = stop

    @torch.no_grad()
    def advance(self, block: Block, weights: BlockWeights, replaced: Mapping[str, Tensor]) -> None:
        """Through one block.

        Args:
            block: its steps.
            weights: the source's.
            replaced: (out, in) float32 of each linear of the block as its smallest level decodes.

        Raises:
            InterruptedError: `stop` said so; nothing has moved.
        """
        moved = {}
        for module, states in self.states.items():
            moved[module] = self._run(block, weights, states)
        for module, dense in replaced.items():
            changed = BlockWeights(weights.linears | {module: dense}, weights.biases, weights.norms)
            moved[module] = self._run(block, changed, self.source)
        self.source = self._run(block, weights, self.source)
        self.states = moved

    @torch.no_grad()
    def divergences(self, graph: Graph, heads: Heads, *, every: int = 1) -> dict[str, float]:
        """KL(source || variant) of each, nats per token; `heads.build` is the source's as well.

        Args:
            graph: the model.
            heads: its output layers.
            every: one token in so many is looked at.
        """
        found = {}
        wanted = tail_hidden(graph, self.source).flatten(0, 1)[every - 1 :: every]
        for module, states in self.states.items():
            if self._stop():
                raise InterruptedError
            moved = tail_hidden(graph, states).flatten(0, 1)[every - 1 :: every]
            total, _ = heads.divergence(wanted, moved, gradient=False)
            found[module] = total / len(wanted)
        return found

    def _run(self, block: Block, weights: BlockWeights, states: Tensor) -> Tensor:
        if self._stop():
            raise InterruptedError
        return run_block(block, weights, states)


def sensitivities(
    graph: Graph,
    source: Source,
    store: Store,
    texts: Texts,
    ladders: Ladders,
    *,
    finished: Callable[[int], None] = lambda block: None,
    stop: Stop = lambda: False,
) -> dict[str, float]:
    """Of every linear and table: nats of KL for a relative error of 1, measured at its smallest level.

    What is done is on the disk once a minute, and an earlier call's work is gone on from.

    Args:
        graph: the model.
        source: the open checkpoint.
        store: full; keeps what was found.
        texts: that calibrate.
        ladders: of the store.
        finished: told the number of each block that was walked through, and then the number of blocks.
        stop: asked now and then.

    Raises:
        InterruptedError: `stop` said so; what was kept stays.
    """
    known = store.note(_NOTE)
    if isinstance(known, dict) and known.keys() == ladders.choices.keys():
        finished(len(graph.blocks))
        return {module: float(value) for module, value in known.items()}
    found = _resumed(store, len(graph.blocks), stop)
    if found is None:
        found = 0, _begin(graph, source, texts, ladders, stop)
    start, variants = found
    kept = time.monotonic()
    with torch.no_grad():
        for number in range(start, len(graph.blocks)):
            block = graph.blocks[number]
            weights = load_block(source.checkpoint, block)
            for module, weight in weights.linears.items():
                weights.linears[module] = weight.clone()  # aligned: see store.md, "Same bits"
            variants.advance(block, weights, {m: _smallest(ladders, m).clone() for m in block.linears})
            source.refresh()
            trim()  # each block leaves holes of the size of all variants
            finished(number)
            if time.monotonic() - kept > _KEEP_S:
                _keep(store, number + 1, variants)
                kept = time.monotonic()
        kl = _divergences(graph, torch.from_numpy(dequantize(source.checkpoint.linear(graph.head))), variants, ladders)
    errors = {module: choices[0].error for module, choices in ladders.choices.items()}
    result = {module: max(kl[module], 0.0) / errors[module] if errors[module] > 0 else 0.0 for module in errors}
    store.put_note(_NOTE, result)
    for number in range(len(graph.blocks) + 1):
        store.forget(f"variants-{number}")
    finished(len(graph.blocks))
    return result


def _begin(graph: Graph, source: Source, texts: Texts, ladders: Ladders, stop: Stop) -> Variants:
    """Behind the embedding: the source's, and the one variant that there is yet."""
    step = max(1, len(texts.tokens) // TEXTS)
    tokens = torch.from_numpy(texts.tokens[::step][:TEXTS, :TOKENS].astype(np.int64))
    variants = Variants(embed(graph, source.checkpoint.linear(source.table), tokens), stop)
    table = _table(ladders)
    variants.states[table] = embed(graph, ladders.get(table, _least(ladders, table)).packed, tokens)
    return variants


def _divergences(graph: Graph, head: Tensor, variants: Variants, ladders: Ladders) -> dict[str, float]:
    """KL of every variant; a table that serves as both ends is replaced at both."""
    found = variants.divergences(graph, Heads(head, head), every=_EVERY)
    output = "lm_head" if "lm_head" in ladders.choices else _table(ladders)
    ends = [variants.source, variants.states.get(output, variants.source)]
    wanted, moved = (tail_hidden(graph, states).flatten(0, 1)[_EVERY - 1 :: _EVERY] for states in ends)
    heads = Heads(head, _smallest(ladders, output))
    return found | {output: heads.divergence(wanted, moved, gradient=False)[0] / len(wanted)}


def _table(ladders: Ladders) -> str:
    """The embedding."""
    return next(module for module in ladders.choices if module.endswith("embed_tokens"))


def _least(ladders: Ladders, module: str) -> str:
    return ladders.choices[module][0].level


def _smallest(ladders: Ladders, module: str) -> Tensor:
    return torch.from_numpy(dequantize(ladders.get(module, _least(ladders, module)).packed))


def _keep(store: Store, number: int, variants: Variants) -> None:
    with store.writing(f"variants-{number}") as add:
        add("source", variants.source.numpy())
        for module, states in variants.states.items():
            add(f"variant/{module}", states.numpy())
    for before in range(number):
        store.forget(f"variants-{before}")


def _resumed(store: Store, blocks: int, stop: Stop) -> tuple[int, Variants] | None:
    for number in range(blocks, 0, -1):
        pieces = store.reading(f"variants-{number}")
        if pieces is not None:
            variants = Variants(torch.from_numpy(pieces.get("source")), stop)
            for name in pieces.names():
                if name.startswith("variant/"):
                    variants.states[name.removeprefix("variant/")] = torch.from_numpy(pieces.get(name))
            return number, variants
    return None
