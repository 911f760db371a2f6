"""Tuning the continuous numbers of one block."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from backend.quantize.graph import Block, open_graph
from backend.quantize.recipes import encode, recipe_named
from backend.quantize.torch_blocks import BlockWeights, load_block, run_block
from backend.quantize.tuning import block as tuned_block
from backend.quantize.tuning.block import BlockSettings, tune_block
from backend.quantize.tuning.codes import CodeSettings
from backend.quantize.tuning.weights import tunable
from kernels.cpu import nearest_codes
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense
from kernels.reference import dequantize
from tests.unit.architectures.checkpoints import random_tensors
from tests.unit.quantize.test_tuning_end_to_end import noisy


@pytest.fixture(autouse=True)
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on every processor."""
    monkeypatch.setattr(tuned_block, "has_half_products", lambda: False)


SCHEMES = ("aqlm-2x8", "spqr-3", "q8")


def encoded(weight: torch.Tensor, scheme: str, bias: torch.Tensor | None = None) -> PackedLinear:
    source = dense.pack(weight.numpy(), "f32", bias=None if bias is None else bias.numpy())
    return encode(source, recipe_named(scheme), nearest_codes, "test").packed


@pytest.fixture(scope="module")
def case() -> tuple[Block, BlockWeights, list[torch.Tensor], list[torch.Tensor]]:
    checkpoint = random_tensors("qwen2")
    graph = open_graph(checkpoint)
    weights = load_block(checkpoint, graph.blocks[0])
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(10, 40, checkpoint.config["hidden_size"], generator=generator)
    inputs[0, 0] *= 60  # a massive token must not be all that counts
    with torch.no_grad():
        targets = run_block(graph.blocks[0], weights, inputs)
    return graph.blocks[0], weights, list(inputs), list(targets)


def build(block: Block, weights: BlockWeights, scheme: str) -> Mapping[str, PackedLinear]:
    found = {}
    for module in block.linears:
        packed = encoded(weights.linears[module], scheme, weights.biases.get(module))
        if scheme.startswith("aqlm"):  # 256 codewords hold all groups of so small a matrix
            codes, books, scales = aqlm.unpack(packed)
            noise = 1 + 0.2 * np.random.default_rng(len(found)).standard_normal(books.shape)
            packed = aqlm.pack(
                codes, books * noise, scales, bias=packed.buffers.get("bias"), in_features=packed.in_features
            )
        found[module] = packed
    return found


@pytest.mark.parametrize("scheme", ["aqlm-2x8", "spqr-3"])
def test_held_out_outputs_come_nearer_and_codes_stay(scheme: str, case) -> None:  # type: ignore[no-untyped-def]
    block, weights, inputs, targets = case
    packed = build(block, weights, scheme)
    settings = BlockSettings(epochs=6, texts=2, rate=1e-2)
    tuned = tune_block(block, weights, packed, inputs, targets, held_out=2, settings=settings)
    assert tuned.after < 0.9 * tuned.before
    again = BlockWeights({}, weights.biases, dict(tuned.norms))
    for module in block.linears:
        assert np.array_equal(tuned.packed[module].buffers["data"], packed[module].buffers["data"])
        assert not np.array_equal(dequantize(tuned.packed[module]), dequantize(packed[module]))
        assert ("bias" in tuned.packed[module].buffers) == (module in weights.biases)
        again.put(module, tuned.packed[module])
    with torch.no_grad():  # what is promised is what the file gives, on texts that were not trained on
        wrong = (run_block(block, again, torch.stack(inputs[8:])) - torch.stack(targets[8:])).square().sum()
        for module in block.linears:
            again.put(module, packed[module])
        before = (
            (
                run_block(block, BlockWeights(again.linears, weights.biases, weights.norms), torch.stack(inputs[8:]))
                - torch.stack(targets[8:])
            )
            .square()
            .sum()
        )
    assert wrong < 0.95 * before

    same = tune_block(block, weights, packed, inputs, targets, held_out=2, settings=settings)
    assert same.after == tuned.after
    assert all(np.array_equal(dequantize(same.packed[m]), dequantize(tuned.packed[m])) for m in block.linears)


def test_codes_that_move_gain_more(case) -> None:  # type: ignore[no-untyped-def]
    block, weights, inputs, targets = case
    packed = {
        module: noisy(weights.linears[module], number, weights.biases.get(module))
        for number, module in enumerate(block.linears)
    }
    found = [
        tune_block(
            block,
            weights,
            packed,
            inputs,
            targets,
            held_out=2,
            settings=BlockSettings(epochs=8, every=2, codes=codes),
        )
        for codes in (None, CodeSettings(rate=0.02, share=0.05, trust=0.1))
    ]
    assert found[0].moved == 0 < found[1].moved
    assert found[1].after < 0.97 * found[0].after
    kept = BlockWeights({}, weights.biases, dict(found[1].norms))
    for module in block.linears:
        kept.put(module, found[1].packed[module])
    with torch.no_grad():
        wrong_by = (run_block(block, kept, torch.stack(inputs[8:])) - torch.stack(targets[8:])).square().sum()
        for module in block.linears:
            kept.put(module, found[0].packed[module])
        before = BlockWeights(kept.linears, weights.biases, dict(found[0].norms))
        plain = (run_block(block, before, torch.stack(inputs[8:])) - torch.stack(targets[8:])).square().sum()
    assert wrong_by < plain  # codes and numbers of the best moment belong together


def test_numbers_that_do_not_help_are_not_kept(case) -> None:  # type: ignore[no-untyped-def]
    block, weights, inputs, targets = case
    packed = build(block, weights, "aqlm-2x8")
    settings = BlockSettings(epochs=3, rate=100.0, patience=1)
    tuned = tune_block(block, weights, packed, inputs, targets, held_out=2, settings=settings)
    assert tuned.after == tuned.before
    assert tuned.epochs == 1
    assert all(np.array_equal(dequantize(tuned.packed[m]), dequantize(packed[m])) for m in block.linears)
    assert all(torch.equal(tuned.norms[name], weights.norms[name]) for name in block.norms)


def test_stop_and_too_few_texts(case) -> None:  # type: ignore[no-untyped-def]
    block, weights, inputs, targets = case
    packed = build(block, weights, "q8")
    with pytest.raises(InterruptedError):
        tune_block(block, weights, packed, inputs, targets, held_out=2, stop=lambda: True)
    with pytest.raises(ValueError, match="cannot be split"):
        tune_block(block, weights, packed, inputs[:2], targets[:2], held_out=2)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(48, 64), (70, 96)])
def test_a_trainable_linear_is_what_is_packed(scheme: str, shape: tuple[int, int]) -> None:
    packed = encoded(torch.randn(shape, generator=torch.Generator().manual_seed(1)), scheme)
    weight = tunable(packed)
    assert np.array_equal(weight.dense().detach().numpy(), dequantize(packed))
    assert np.array_equal(dequantize(weight.packed()), dequantize(packed))


@pytest.mark.parametrize("scheme", ["aqlm-2x8", "aqlm-3x8", "spqr-3", "spqr-4"])
def test_gradients_of_parameters(scheme: str) -> None:
    packed = encoded(torch.randn(40, 64, generator=torch.Generator().manual_seed(2)), scheme)
    weight = tunable(packed)
    factors = torch.randn(40, 64, generator=torch.Generator().manual_seed(3))
    (weight.dense() * factors).sum().backward()
    for parameter in weight.parameters():
        assert parameter.grad is not None
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)) * parameter.detach().abs()
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter += sign * 0.02 * direction
                ends.append(float((weight.dense().double() * factors).sum()))
                parameter -= sign * 0.02 * direction
        expected = float((parameter.grad.double() * direction).sum())
        # every term is at most bilinear in one tensor, so that the central difference is exact but for rounding
        assert (ends[0] - ends[1]) / 0.04 == pytest.approx(expected, rel=2e-3, abs=2e-3)
