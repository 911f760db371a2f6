"""Each linear's own share in a model's errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from backend.quantize.graph import open_graph
from backend.quantize.slider.sensitivity import Variants
from backend.quantize.torch_blocks import embed, load_block, run_block, tail_hidden
from backend.quantize.tuning.distill import Heads
from kernels.reference import dequantize
from tests.unit.architectures.checkpoints import random_tensors


def test_variants_are_the_model_with_one_linear_replaced() -> None:
    checkpoint = random_tensors("qwen2", num_hidden_layers=2)
    graph = open_graph(checkpoint)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, checkpoint.config["vocab_size"], (2, 12)))
    start = embed(graph, checkpoint.linear("model.embed_tokens"), tokens)
    head = torch.from_numpy(dequantize(checkpoint.linear(graph.head)))
    heads = Heads(head, head)
    variants = Variants(start)
    noise = torch.Generator().manual_seed(0)
    replaced = {}
    for block in graph.blocks:
        weights = load_block(checkpoint, block)
        wrong = {m: w + 0.1 * torch.randn(w.shape, generator=noise) for m, w in weights.linears.items()}
        replaced |= wrong
        variants.advance(block, weights, wrong)
    found = variants.divergences(graph, heads)
    assert set(found) == {module for block in graph.blocks for module in block.linears}

    def states(module: str) -> torch.Tensor:
        x = start
        for block in graph.blocks:
            weights = load_block(checkpoint, block)
            if module in weights.linears:
                weights.linears[module] = replaced[module]
            x = run_block(block, weights, x)
        return tail_hidden(graph, x) @ head.T

    p = torch.log_softmax(states("none"), -1)
    for module, kl in found.items():
        q = torch.log_softmax(states(module), -1)
        assert kl == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3, abs=1e-6)
        assert kl > 0


def test_a_stop_leaves_everything_where_it_was() -> None:
    checkpoint = random_tensors("llama")
    graph = open_graph(checkpoint)
    asked: list[int] = []
    start = torch.randn(1, 6, checkpoint.config["hidden_size"], generator=torch.Generator().manual_seed(0))
    variants = Variants(start, stop=lambda: bool(asked.append(1)) or len(asked) > 3)
    weights = load_block(checkpoint, graph.blocks[0])
    with pytest.raises(InterruptedError):
        variants.advance(graph.blocks[0], weights, dict(weights.linears))
    assert variants.source is start
    assert not variants.states
