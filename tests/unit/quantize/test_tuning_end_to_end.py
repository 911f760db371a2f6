"""Tuning against the source's distribution: gradients, codes that move, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from backend.quantize.graph import Graph, open_graph
from backend.quantize.torch_blocks import BlockWeights, embed, load_block, run_block, tail_hidden
from backend.quantize.tuning import student
from backend.quantize.tuning.codes import CodeMover, CodeSettings
from backend.quantize.tuning.distill import Heads
from backend.quantize.tuning.end_to_end import EndSettings, Lesson, Snapshot, TunedModel, tune_model
from backend.quantize.tuning.weights import AqlmWeight
from kernels.packed import PackedLinear
from kernels.packing import aqlm
from kernels.reference import dequantize
from tests.unit.architectures.checkpoints import random_tensors

MOVING = CodeSettings(rate=0.1, share=0.05, trust=0.3)


def noisy(weight: torch.Tensor, seed: int, bias: torch.Tensor | None = None, entries: int = 16) -> PackedLinear:
    """AQLM of two small random codebooks with the nearest sums: coarse, so that there is something to gain."""
    out, width = weight.shape
    groups = -(-width // 8)
    padded = np.zeros((out, groups * 8), np.float32)
    padded[:, :width] = weight.numpy()
    random = np.random.default_rng(seed)
    scales = np.sqrt(np.square(padded).mean(1)) + 1e-6
    x = (padded / scales[:, None]).reshape(-1, 8)
    first = x[random.choice(len(x), entries)] + 0.1 * random.standard_normal((entries, 8))
    codes = np.empty((len(x), 2), np.uint8)
    codes[:, 0] = ((x[:, None] - first) ** 2).sum(-1).argmin(1)
    rest = x - first[codes[:, 0]]
    second = rest[random.choice(len(x), entries)]
    codes[:, 1] = ((rest[:, None] - second) ** 2).sum(-1).argmin(1)
    books = np.stack([first, second])
    return aqlm.pack(
        codes.reshape(out, groups, 2),
        books,
        scales,
        bias=None if bias is None else bias.numpy(),
        in_features=width,
    )


@dataclass
class Case:
    graph: Graph
    packed: dict[str, PackedLinear]
    norms: dict[str, torch.Tensor]
    biases: dict[str, torch.Tensor]
    heads: Heads
    train: Lesson
    validation: Lesson


@pytest.fixture(scope="module")
def case() -> Case:
    checkpoint = random_tensors("qwen2", num_hidden_layers=2)
    graph = open_graph(checkpoint)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, checkpoint.config["vocab_size"], (16, 20)))
    inputs = x = embed(graph, checkpoint.linear("model.embed_tokens"), tokens)
    packed: dict[str, PackedLinear] = {}
    norms = {"model.norm.weight": torch.from_numpy(checkpoint.array("model.norm.weight").copy())}
    biases: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for block in graph.blocks:
            weights = load_block(checkpoint, block)
            x = run_block(block, weights, x)
            norms |= weights.norms
            biases |= weights.biases
            for module in block.linears:
                packed[module] = noisy(weights.linears[module], len(packed), weights.biases.get(module))
        targets = tail_hidden(graph, x)
    head = torch.from_numpy(dequantize(checkpoint.linear(graph.head)))
    return Case(
        graph,
        packed,
        norms,
        biases,
        Heads(head, head),
        Lesson(list(inputs[:12]), list(targets[:12])),
        Lesson(list(inputs[12:]), list(targets[12:])),
    )


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every processor; `test_half_products_learn_as_well` asks for the others."""
    monkeypatch.setattr(student, "has_half_products", lambda: False)


def tune(case: Case, *, more: dict[str, Any] | None = None, **settings: object) -> TunedModel:
    return tune_model(
        case.graph,
        case.packed,
        case.norms,
        case.biases,
        case.heads,
        case.train,
        case.validation,
        settings=EndSettings(**settings),  # type: ignore[arg-type]
        **(more or {}),
    )


def measured(case: Case, packed: dict[str, PackedLinear], norms: dict[str, torch.Tensor]) -> float:
    """KL on validation, computed plainly."""
    total = 0.0
    with torch.no_grad():
        for x, wanted in zip(case.validation.inputs, case.validation.targets, strict=True):
            x = x[None]
            for block in case.graph.blocks:
                weights = BlockWeights({}, case.biases, {name: norms[name] for name in block.norms})
                for module in block.linears:
                    weights.put(module, packed[module])
                x = run_block(block, weights, x)
            q = torch.log_softmax(tail_hidden(case.graph, x[0], norms["model.norm.weight"]) @ case.heads.build.T, -1)
            p = torch.log_softmax(wanted @ case.heads.source.T, -1)
            total += float((p.exp() * (p - q)).sum(-1).mean())
    return total / len(case.validation.inputs)


def test_the_divergence_and_its_gradient_are_those_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = Heads(torch.randn(50, 12, generator=generator), torch.randn(50, 12, generator=generator))
    source, build = torch.randn(300, 12, generator=generator), torch.randn(300, 12, generator=generator)
    build.requires_grad_()
    p, q = torch.log_softmax(source @ heads.source.T, -1), torch.log_softmax(build @ heads.build.T, -1)
    expected = (p.exp() * (p - q)).sum()
    expected.backward()
    total, gradient = heads.divergence(source, build.detach())
    assert total == pytest.approx(float(expected.detach()), rel=1e-5)
    assert gradient is not None
    assert build.grad is not None
    assert torch.allclose(gradient, build.grad, rtol=1e-3, atol=1e-5)
    assert heads.divergence(source, build.detach(), gradient=False)[1] is None


def test_heads_of_half_precision_point_the_same_way() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(20000, 64, generator=generator).bfloat16() for _ in range(2)]
    source, build = (torch.randn(150, 64, generator=generator) * 0.3 for _ in range(2))
    exact, direction = Heads(tables[0].float(), tables[1].float()).divergence(source, build)
    halves = Heads(tables[0], tables[1])
    assert halves.divergence(source, build, gradient=False)[0] == pytest.approx(exact, rel=1e-5)
    total, rounded = halves.divergence(source, build)
    assert total == pytest.approx(exact, rel=1e-2)
    assert direction is not None
    assert rounded is not None
    assert float((rounded - direction).norm() / direction.norm()) < 0.02


def test_half_products_learn_as_well(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tune(case, epochs=4, texts=4, rate=1e-2)
    monkeypatch.setattr(student, "has_half_products", lambda: True)
    halves = tune(case, epochs=4, texts=4, rate=1e-2)
    assert halves.history != plain.history
    assert halves.before == plain.before  # what is chosen by is exact
    assert halves.after == pytest.approx(plain.after, rel=0.05)


@pytest.mark.parametrize("codes", [None, MOVING], ids=["p", "pv"])
@pytest.mark.parametrize("at", [1, 5])
def test_a_run_goes_on_from_a_snapshot_to_the_bit(case: Case, codes: CodeSettings | None, at: int) -> None:
    settings = {"epochs": 2, "texts": 4, "rate": 1e-2, "codes": codes}
    whole = tune(case, **settings)
    seen: list[int] = []
    kept: list[Snapshot] = []

    def keep(snapshot: Callable[[], Snapshot]) -> None:
        seen.append(at)
        if len(seen) == at:
            now = snapshot()  # views: they are copied as a file would
            kept.append(Snapshot({name: np.array(one) for name, one in now.arrays.items()}, dict(now.about)))

    tune(case, more={"keep": keep}, **settings)
    steps: list[int] = []
    again = tune(case, more={"resume": kept[0], "report": lambda step, *_: steps.append(step)}, **settings)
    assert steps == list(range(at + 1, 7))
    assert again.history == whole.history
    assert (again.moved, again.after) == (whole.moved, whole.after)
    for module, packed in whole.packed.items():
        for name, buffer in packed.buffers.items():
            assert np.array_equal(again.packed[module].buffers[name], buffer)
    assert all(torch.equal(again.norms[name], norm) for name, norm in whole.norms.items())


def test_continuous_numbers_learn_and_codes_stay(case: Case) -> None:
    tuned = tune(case, epochs=6, texts=4, rate=1e-2)
    assert tuned.after < 0.8 * tuned.before
    assert tuned.before == pytest.approx(measured(case, case.packed, case.norms), rel=1e-4)
    assert tuned.after == pytest.approx(measured(case, tuned.packed, tuned.norms), rel=1e-4)
    assert tuned.moved == 0
    for module, packed in case.packed.items():
        assert np.array_equal(tuned.packed[module].buffers["data"], packed.buffers["data"])


def test_codes_that_move_gain_more(case: Case) -> None:
    plain = tune(case, epochs=6, texts=4, rate=1e-2)
    moving = tune(case, epochs=6, texts=4, rate=1e-2, codes=MOVING)
    assert moving.moved > 50
    assert moving.after < 0.97 * plain.after
    assert moving.after == pytest.approx(measured(case, moving.packed, moving.norms), rel=1e-4)
    changed = [
        m for m, p in case.packed.items() if not np.array_equal(moving.packed[m].buffers["data"], p.buffers["data"])
    ]
    assert len(changed) > len(case.packed) // 2
    again = tune(case, epochs=6, texts=4, rate=1e-2, codes=MOVING)
    assert again.history == moving.history


def test_a_ruinous_rate_keeps_what_was_there(case: Case) -> None:
    tuned = tune(case, epochs=1, texts=4, rate=50.0)
    assert tuned.after == tuned.before
    for module, packed in case.packed.items():
        assert np.array_equal(dequantize(tuned.packed[module]), dequantize(packed))


def test_stop(case: Case) -> None:
    with pytest.raises(InterruptedError):
        tune_model(
            case.graph, case.packed, case.norms, case.biases, case.heads, case.train, case.validation, stop=lambda: True
        )


def test_few_groups_move_and_no_farther_than_is_trusted() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(5))
    settings = CodeSettings(rate=0.3, share=0.03, trust=0.1)
    linear = AqlmWeight(noisy(weight, 1, entries=256))
    before = linear.dense().detach().clone()
    mover = CodeMover(linear, settings)
    mover.add(linear.dense().detach() - weight)  # towards the weights
    moved = mover.move()
    after = linear.dense().detach()
    assert 0 < moved <= 0.03 * 64 * 16 + 1
    assert (after - before).norm() <= 0.1 * before.norm() * 1.01
    assert (after - weight).norm() < (before - weight).norm()
    groups = ((after - before).view(-1, 8).abs().sum(1) > 0).sum()
    assert int(groups) == moved

    tiny = AqlmWeight(noisy(weight, 1, entries=256))
    mover = CodeMover(tiny, replace(settings, trust=1e-9))
    mover.add(tiny.dense().detach() - weight)
    assert mover.move() == 1  # one group always may

    still = CodeMover(AqlmWeight(noisy(weight, 1)), settings)
    assert still.move() == 0  # nothing pulled
