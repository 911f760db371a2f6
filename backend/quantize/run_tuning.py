"""The last stage of a tuned build: all blocks at once, against what the source would say (tiers "p" and "pv").

It begins where block-wise tuning ended, and its result is stored as another level of each linear. It is one piece of
work: killed in the middle it begins again, and ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from backend.quantize.graph import Graph
from backend.quantize.options import Options
from backend.quantize.run_blocks import TUNED, norms_name
from backend.quantize.source import Source
from backend.quantize.states import States, Texts, embedded
from backend.quantize.store import Store
from backend.quantize.teller import Teller
from backend.quantize.torch_blocks import tail_hidden
from backend.quantize.tuning.codes import CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.end_to_end import EndSettings, Lesson, tune_model
from kernels.packed import PackedLinear
from kernels.reference import dequantize

__all__ = ["FINAL_NORMS", "WHOLE", "tune_whole"]

#: the name of a linear's level after this stage
WHOLE = "tuned whole"
#: of the norms after it
FINAL_NORMS = "norms-whole"
_INPUTS = "lesson"


def tune_whole(
    options: Options,
    graph: Graph,
    source: Source,
    store: Store,
    texts: Texts,
    targets: Callable[[Sequence[int]], States],
    tables: Mapping[str, PackedLinear],
    teller: Teller,
) -> None:
    """Tunes what block-wise tuning left, and stores it.

    Args:
        options: the tier, seed and threads.
        graph: the model.
        source: its weights.
        store: has every block tuned.
        texts: what was read.
        targets: the source's last hidden states, before the final norm, of texts by their numbers.
        tables: "embed_tokens" and, where it is another, "lm_head" as the build has them.
        teller: of progress.

    Raises:
        InterruptedError: the teller said so.
    """
    modules = [module for block in graph.blocks for module in block.linears]
    if store.get_arrays(FINAL_NORMS) is not None and all(store.get(module, WHOLE) for module in modules):
        teller.plan.finish("whole", 0.0)
        return
    teller.begin("tune")
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
    learned, every = len(texts.tokens), len(texts.all)
    heads = Heads(
        torch.from_numpy(dequantize(source.checkpoint.linear(graph.head))),
        torch.from_numpy(dequantize(tables.get("lm_head", tables["embed_tokens"]))),
    )
    embedded(store, _INPUTS, graph, tables["embed_tokens"], texts, range(every), teller.tell)
    pieces = store.reading(_INPUTS)
    lessons = [
        Lesson(States(pieces, some), [tail_hidden(graph, one) for one in targets(some)])
        for some in (range(learned), range(learned, every))
    ]
    settings = EndSettings(
        seed=options.seed, threads=options.threads, codes=CodeSettings() if options.tuning == "pv" else None
    )
    with torch.enable_grad():
        tuned = tune_model(
            graph, packed, norms, biases, heads, lessons[0], lessons[1], settings=settings, stop=teller.stop
        )
    for module, one in tuned.packed.items():
        stored = before[module]
        assert stored is not None
        store.put(module, WHOLE, one, error=stored.error)
    notes = {"before": tuned.before, "after": tuned.after, "moved": tuned.moved, "history": list(tuned.history)}
    store.put_arrays(FINAL_NORMS, {name: norm.numpy() for name, norm in tuned.norms.items()}, notes)
    store.forget(_INPUTS)
    teller.finish("whole")
