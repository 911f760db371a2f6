"""From a full store to a pack with a slider: sensitivities, one order of upgrades, one file, measured positions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from backend.formats.pack_slider import Anchor, PackSlider, key_of
from backend.quantize.finish import restate, write_pack_of
from backend.quantize.graph import Graph
from backend.quantize.prepare import Prepared
from backend.quantize.slider.anchors import Reference, measure_positions, spread
from backend.quantize.slider.ladders import Ladders
from backend.quantize.slider.quality import Anchor as Measured
from backend.quantize.slider.quality import Quality
from backend.quantize.slider.sensitivity import sensitivities
from backend.quantize.slider.upgrades import Slider, order
from backend.quantize.source import Source
from backend.quantize.states import Texts
from backend.quantize.store import Store
from backend.quantize.teller import Teller
from kernels.packed import PackedLinear

__all__ = ["DEFAULT_KL", "build_slider", "predictions"]

#: KL up to which a position is taken where none is asked for, the smallest of these: about 10 % of perplexity
DEFAULT_KL = 0.1


def build_slider(
    prepared: Prepared,
    graph: Graph,
    source: Source,
    store: Store,
    texts: Texts,
    hidden: Any,
    about: Mapping[str, Any],
    path: Path,
    teller: Teller,
) -> PackSlider:
    """Writes the file and measures it.

    Args:
        prepared: what was asked for.
        graph: of the source.
        source: open.
        store: full.
        texts: that calibrate, and those of validation.
        hidden: the source's last states of the latter, (tokens, hidden) each.
        about: for the file's description.
        path: where to; no list of models looks there.
        teller: of progress.

    Raises:
        InterruptedError: the teller said so; what was found is kept.
    """
    ladders = Ladders.of(prepared, graph, store)
    teller.begin("sensitivity")

    def walked(block: int) -> None:
        for before in range(block):  # done by an earlier call
            teller.plan.finish(f"sensitivity/{before}", 0.0)
        teller.finish(f"sensitivity/{block}")
        teller.begin("sensitivity")

    weights = sensitivities(graph, source, store, texts, ladders, finished=walked, stop=teller.stop)
    found = order(ladders.choices, weights)
    first = _described(ladders, found, weights)
    teller.begin("write")
    _write(prepared, graph, source, ladders, first, about, path)
    teller.finish("write")
    teller.begin("measure")
    with torch.no_grad():
        reference = Reference(graph, source.checkpoint.linear(graph.head), hidden, texts.validation)
        threads = prepared.options.threads
        anchors, theirs = measure_positions(
            path, spread(found), reference, threads=threads, finished=lambda _: teller.tell(), stop=teller.stop
        )
        kl = predictions(found, anchors)
        default = next((steps for steps, one in enumerate(kl) if one <= DEFAULT_KL), found.last)
        if default not in {one.steps for one in anchors}:
            more, _ = measure_positions(path, [default], reference, threads=threads, stop=teller.stop)
            anchors = sorted([*anchors, *more], key=lambda one: one.steps)
            kl = predictions(found, anchors)
    slider = replace(first, kl=kl, anchors=tuple(anchors), perplexity=theirs, default=default)
    restate(path, {}, slider=slider)
    teller.finish("measure")
    return slider


def predictions(slider: Slider, anchors: list[Anchor]) -> tuple[float, ...]:
    """KL at every position, never rising."""
    costs = slider.costs()
    quality = Quality([Measured(costs[one.steps], one.kl) for one in anchors])
    found, least = [], math.inf
    for cost in costs:
        least = min(least, quality.kl(cost))
        found.append(least)
    return tuple(found)


def _described(ladders: Ladders, slider: Slider, weights: Mapping[str, float]) -> PackSlider:
    """As the file says it, before anything is measured. Levels that no upgrade leads to are left out."""
    names: dict[str, list[str]] = {module: [level] for module, level in slider.start.levels.items()}
    for upgrade in slider.upgrades:
        names[upgrade.module].append(upgrade.after)
    places = {module: number for number, module in enumerate(names)}
    known = {module: {one.level: one for one in choices} for module, choices in ladders.choices.items()}
    return PackSlider(
        ladders={module: tuple(levels) for module, levels in names.items()},
        sizes={module: tuple(known[module][level].bytes for level in levels) for module, levels in names.items()},
        errors={module: tuple(known[module][level].error for level in levels) for module, levels in names.items()},
        sensitivities=tuple(weights[module] for module in names),
        order=tuple(places[upgrade.module] for upgrade in slider.upgrades),
        kl=tuple(slider.costs()),
        anchors=(),
        perplexity=0.0,
        mixtures={},
        default=0,
    )


def _write(
    prepared: Prepared,
    graph: Graph,
    source: Source,
    ladders: Ladders,
    slider: PackSlider,
    about: Mapping[str, Any],
    path: Path,
) -> None:
    facts = {**about, "scheme": "slider", "parameters": sum(job.weights for job in prepared.jobs)}

    def modules() -> Iterator[tuple[str, PackedLinear]]:
        for module, levels in slider.ladders.items():
            for level in levels:
                yield key_of(module, level), ladders.get(module, level).packed

    write_pack_of(source, modules(), {}, facts, path, slider=slider)
