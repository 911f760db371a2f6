"""Blocks in torch against transformers, for every architecture and setting, and what they give to compression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from backend.api.errors import InvalidModelFileError
from backend.formats.checkpoint import open_checkpoint
from backend.quantize.graph import Graph, open_graph
from backend.quantize.hessian import HessianSum
from backend.quantize.torch_blocks import BlockWeights, embed, load_block, run_block, tail_hidden
from kernels.reference import dequantize
from tests.unit.architectures.checkpoints import random_tensors
from tests.unit.architectures.test_against_transformers import CASES, IDS
from tests.unit.architectures.tiny import checkpoint_of, make, transformers_logits

TEXTS = np.random.default_rng(3).integers(0, 101, (2, 24))


def logits(checkpoint: Any, graph: Graph, tokens: torch.Tensor) -> torch.Tensor:
    x = embed(graph, checkpoint.linear("model.embed_tokens"), tokens)
    for block in graph.blocks:
        x = run_block(block, load_block(checkpoint, block), x)
    head = checkpoint.linear(graph.head) if checkpoint.has(graph.head) else checkpoint.linear("model.embed_tokens")
    return tail_hidden(graph, x) @ torch.from_numpy(dequantize(head)).T


@pytest.mark.parametrize(("model_type", "name", "changes"), CASES, ids=IDS)
def test_logits(model_type: str, name: str, changes: dict[str, Any]) -> None:
    model = make(model_type, **changes)
    checkpoint = checkpoint_of(model)
    graph = open_graph(checkpoint)
    ours = logits(checkpoint, graph, torch.from_numpy(TEXTS)).numpy()
    for text, found in zip(TEXTS, ours, strict=True):
        assert np.abs(found - transformers_logits(model, text.tolist())).max() < 1e-4


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_graph_names_all_it_uses(model_type: str) -> None:
    checkpoint = random_tensors(model_type)
    graph = open_graph(checkpoint)
    names = {name for block in graph.blocks for name in block.linears}
    assert names | {"model.embed_tokens", "lm_head"} == set(checkpoint.linears()) == set(graph.shapes)
    norms = {name for block in graph.blocks for name in block.norms}
    assert norms | {"model.norm.weight"} == set(checkpoint.arrays())
    assert all(len(block.linears) == 7 and len(block.inputs) == 4 for block in graph.blocks)
    for module, shape in graph.shapes.items():
        packed = checkpoint.linear(module)
        assert (packed.out_features, packed.in_features) == shape


def test_a_shape_that_the_config_does_not_say_is_refused_before_weights_are_read(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = random_tensors("qwen2")
    random.state["model.layers.2.mlp.up_proj.weight"] = np.ones((74, 40), np.float32)
    (tmp_path / "config.json").write_text(json.dumps(random.config))
    save_file(random.state, tmp_path / "model.safetensors")
    for source in (tmp_path, tiny_gguf):
        checkpoint = open_checkpoint(source)
        monkeypatch.setattr(type(checkpoint), "linear", None)
        if source == tiny_gguf:
            assert len(open_graph(checkpoint).blocks) == checkpoint.config["num_hidden_layers"]
            checkpoint.config = {**checkpoint.config, "intermediate_size": checkpoint.config["hidden_size"] + 32}
        with pytest.raises(InvalidModelFileError) as error:
            open_graph(checkpoint)
        assert "_proj.weight has the shape" in error.value.why
        checkpoint.close()


def test_a_bias_of_zeros_that_the_config_does_not_announce_is_left_out() -> None:
    checkpoint = random_tensors("llama")
    width = checkpoint.config["intermediate_size"]
    checkpoint.state["model.layers.0.mlp.up_proj.bias"] = np.zeros(width, np.float32)
    assert open_graph(checkpoint).blocks[0].linears[-2] == "model.layers.0.mlp.up_proj"


def test_inputs_are_shown_and_gradients_reach_everything() -> None:
    checkpoint = random_tensors("qwen2")
    graph = open_graph(checkpoint)
    block = graph.blocks[1]
    weights = load_block(checkpoint, block)
    x = torch.randn(2, 9, checkpoint.config["hidden_size"], generator=torch.Generator().manual_seed(0))
    kept = x.clone()
    seen: dict[tuple[str, ...], torch.Tensor] = {}
    run_block(block, weights, x, watch=lambda modules, inputs: seen.update({modules: inputs}))
    assert torch.equal(x, kept)
    assert tuple(seen) == block.inputs
    assert all(inputs.shape == (18, graph.shapes[modules[0]][1]) for modules, inputs in seen.items())

    double = _double(weights)
    leaves = [one for part in (double.linears, double.biases, double.norms) for one in part.values()]
    assert len(leaves) == 7 + 3 + 2
    for leaf in leaves:
        leaf.requires_grad_()
    run_block(block, double, x.double()).square().sum().backward()
    for leaf in leaves:  # against a finite difference along a random direction
        direction = torch.randn_like(leaf)
        step = 1e-5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                leaf += sign * step * direction
                ends.append(float(run_block(block, double, x.double()).square().sum()))
                leaf -= sign * step * direction
        assert leaf.grad is not None
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((leaf.grad * direction).sum()), rel=1e-3)


def _double(weights: BlockWeights) -> BlockWeights:
    parts = (weights.linears, weights.biases, weights.norms)
    return BlockWeights(*({name: one.double() for name, one in part.items()} for part in parts))


@pytest.mark.parametrize("width", [24, 513, 2100])
def test_a_hessian_is_the_mean_of_outer_products(width: int) -> None:
    x = torch.randn(70, width, generator=torch.Generator().manual_seed(width))
    total = HessianSum(width)
    for piece in x.split(32):
        total.add(piece)
    mean = total.mean()
    assert torch.equal(mean, mean.T)
    assert torch.allclose(mean, x.T @ x / 70, rtol=1e-4, atol=1e-5)
    assert total.tokens == 70
    assert not total.massive


def test_massive_tokens_weigh_as_much_as_all_others() -> None:
    x = torch.randn(400, 32, generator=torch.Generator().manual_seed(1))
    x[7] *= 100
    x[300] *= 50
    whole, pieces = HessianSum(32), HessianSum(32)
    whole.add(x)
    for piece in x.split(50):
        pieces.add(piece)
    assert whole.massive
    assert whole.ratio() > 50
    ordinary = torch.cat([x[:7], x[8:300], x[301:]])
    outer, energy = ordinary.T @ ordinary, ordinary.square().sum()
    massive = torch.stack([x[7], x[300]])
    expected = (outer + massive.T @ massive * (energy / massive.square().sum())) / 400
    assert torch.allclose(whole.mean(), expected, rtol=1e-3, atol=1e-3)
    assert torch.allclose(pieces.mean(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sizes", [[1], [700], [2048], [1999, 2049, 3]])
def test_how_tokens_are_divided_changes_no_bit(sizes: list[int]) -> None:
    x = torch.randn(4800, 48, generator=torch.Generator().manual_seed(2))
    x[::1024] *= 200
    x[5::777] *= 6  # long, not massive
    whole, pieces = HessianSum(48), HessianSum(48)
    whole.add(x)
    at = 0
    while at < len(x):
        for size in sizes:
            pieces.add(x[at : at + size])
            at += size
    assert pieces.tokens == 4800
    assert torch.equal(whole.mean(), pieces.mean())


def test_a_hessian_of_nothing_or_of_no_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        HessianSum(8).mean()
    broken = HessianSum(8)
    broken.add(torch.full((4, 8), torch.nan))
    with pytest.raises(ValueError, match="not finite"):
        broken.mean()
