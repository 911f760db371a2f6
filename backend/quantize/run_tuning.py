"""The last stage of a tuned build: all blocks at once, against what the source would say (tiers "p" and "pv").

It begins where block-wise tuning ended, and its result is stored as another level of each linear. Every few minutes it
writes down where it is: killed in the middle it goes on from there, and ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from backend.hardware.trim import trim
from backend.quantize.graph import Graph
from backend.quantize.options import Options
from backend.quantize.products import has_half_products
from backend.quantize.run_blocks import TUNED, norms_name
from backend.quantize.source import Source
from backend.quantize.states import States, Texts, embedded
from backend.quantize.store import Store
from backend.quantize.teller import Teller
from backend.quantize.torch_blocks import load_block, run_block, table_rows, tail_hidden
from backend.quantize.tuning.amounts import WHOLE_CHECKED
from backend.quantize.tuning.codes import CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.end_to_end import EndSettings, Lesson, Snapshot, tune_model
from kernels.packed import PackedLinear
from kernels.reference import dequantize

__all__ = ["FINAL_NORMS", "WHOLE", "tune_whole"]

#: the name of a linear's level after this stage
WHOLE = "tuned whole"
#: of the norms after it
FINAL_NORMS = "norms-whole"
#: from one snapshot to the next; PV on 0.5B writes a gigabyte then
KEEP_SECONDS = 180.0
#: How codes move: a run has some tens of steps and not thousands, so that each must reach far.
_CODES = CodeSettings(rate=2e-2, share=0.02, trust=0.02)
_INPUTS, _TARGETS, _STATES, _STATE = "lesson", "lesson-targets", "lesson-source-{}", "whole-state"
#: of a table that are made float32 at a time
_ROWS = 8192


def tune_whole(
    options: Options,
    graph: Graph,
    source: Source,
    store: Store,
    texts: Callable[[], Texts],
    tables: Mapping[str, PackedLinear],
    teller: Teller,
) -> None:
    """Tunes what block-wise tuning left, and stores it.

    Args:
        options: the tier, seed and threads.
        graph: the model.
        source: its weights.
        store: has every block tuned.
        texts: to learn from and to choose by; asked for once.
        tables: "embed_tokens" and, where it is another, "lm_head" as the build has them.
        teller: of progress.

    Raises:
        InterruptedError: the teller said so.
    """
    modules = [module for block in graph.blocks for module in block.linears]
    if store.get_arrays(FINAL_NORMS) is not None and all(store.get(module, WHOLE) for module in modules):
        for key in [key for key in teller.plan.pieces if key.startswith("whole")]:
            teller.plan.finish(key, 0.0)
        return
    before = {module: store.get(module, TUNED) for module in modules}
    packed = {module: stored.packed for module, stored in before.items() if stored is not None}
    norms: dict[str, torch.Tensor] = {}
    for number in range(len(graph.blocks)):
        found = store.get_arrays(norms_name(number))
        assert found is not None, number
        norms |= {name: torch.from_numpy(np.array(norm, np.float32)) for name, norm in found[1].items()}
    final = graph.names.norm(graph.tail[0].weight)
    norms[final] = torch.from_numpy(np.array(source.checkpoint.array(final), np.float32))
    biases = {
        module: torch.from_numpy(np.array(one.buffers["bias"], np.float32))
        for module, one in packed.items()
        if "bias" in one.buffers
    }
    lessons = _lessons(graph, source, store, texts(), tables["embed_tokens"], teller)
    source.refresh()
    heads = Heads(_table(source.checkpoint.linear(graph.head)), _table(tables.get("lm_head", tables["embed_tokens"])))
    settings = EndSettings(seed=options.seed, threads=options.threads, codes=_CODES if options.tuning == "pv" else None)
    done = store.get_arrays(_STATE)
    keeper = _Keeper(store)
    first = int(done[0]["step"]) if done else 0
    for step in range(first):
        teller.plan.finish(f"whole/{step + 1}", 0.0)
    teller.begin("tune")

    def report(step: int, steps: int, kl: float) -> None:
        teller.finish(f"whole/{step}")
        teller.begin("tune")

    with torch.enable_grad():
        tuned = tune_model(
            graph,
            packed,
            norms,
            biases,
            heads,
            *lessons,
            settings=settings,
            report=report,
            stop=teller.stop,
            resume=Snapshot(done[1], done[0]) if done else None,
            keep=keeper.keep,
        )
    for module, one in tuned.packed.items():
        stored = before[module]
        assert stored is not None
        store.put(module, WHOLE, one, error=stored.error)
    notes = {"before": tuned.before, "after": tuned.after, "moved": tuned.moved, "history": list(tuned.history)}
    store.put_arrays(FINAL_NORMS, {name: norm.numpy() for name, norm in tuned.norms.items()}, notes)
    for name in (_STATE, _INPUTS, _TARGETS):
        store.forget(name)
    for key in [piece.key for piece in teller.plan if piece.key.startswith("whole")]:
        teller.plan.finish(key, 0.0)


class _Keeper:
    """Writes where the run is, every few minutes: PV's state is 3 bytes a weight."""

    def __init__(self, store: Store) -> None:
        self._store, self._kept = store, time.monotonic()

    def keep(self, snapshot: Callable[[], Snapshot]) -> None:
        if time.monotonic() - self._kept < KEEP_SECONDS:
            return
        now = snapshot()
        self._store.put_arrays(_STATE, now.arrays, now.about)
        self._kept = time.monotonic()


def _lessons(
    graph: Graph, source: Source, store: Store, texts: Texts, table: PackedLinear, teller: Teller
) -> tuple[Lesson, Lesson]:
    """What the build reads and the source's head reads, of texts to learn from and of texts to choose by."""
    learned = len(texts.tokens)
    every = range(learned + min(len(texts.validation), WHOLE_CHECKED))
    if store.reading(_INPUTS) is None:
        embedded(store, _INPUTS, graph, table, texts, every, teller.tell)
    if store.reading(_TARGETS) is None:
        _read_source(graph, source, store, texts, every, teller)
    teller.plan.finish("whole/source", 0.0)
    inputs, targets = store.reading(_INPUTS), store.reading(_TARGETS)
    return (
        Lesson(States(inputs, range(learned)), States(targets, range(learned))),
        Lesson(States(inputs, every[learned:]), States(targets, every[learned:])),
    )


def _read_source(
    graph: Graph, source: Source, store: Store, texts: Texts, every: Sequence[int], teller: Teller
) -> None:
    """The source's states before its head, block by block; what is not finished begins again."""
    teller.begin("tune")
    original = source.checkpoint.linear(source.table)
    embedded(store, _STATES.format(0), graph, original, texts, every, teller.tell)
    del original
    with torch.no_grad():
        for number, block in enumerate(graph.blocks):
            weights = load_block(source.checkpoint, block)
            for module, weight in weights.linears.items():
                weights.linears[module] = weight.clone()  # into torch's memory: sums depend on how numbers are aligned
            states = States(store.reading(_STATES.format(number)), every)
            last = number + 1 == len(graph.blocks)
            with store.writing(_TARGETS if last else _STATES.format(number + 1)) as add:
                for text, x in zip(every, states, strict=True):
                    teller.tell()
                    y = run_block(block, weights, x[None])[0]
                    add(str(text), (tail_hidden(graph, y) if last else y).numpy())
            store.forget(_STATES.format(number))
            source.refresh()
            trim()
    teller.finish("whole/source")


def _table(packed: PackedLinear) -> torch.Tensor:
    """(vocab, hidden), a part at a time: bfloat16 where products of it are fast, else float32."""
    half = has_half_products()
    if not half:
        return torch.from_numpy(dequantize(packed))
    out = torch.empty(packed.out_features, packed.in_features, dtype=torch.bfloat16)
    for first in range(0, len(out), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(out)))
        out[first : first + _ROWS] = torch.from_numpy(table_rows(packed, rows)).bfloat16()
    return out
