"""Products and attention with factors of bfloat16: what tuning computes with, beside float32."""

from __future__ import annotations

import pytest
import torch

from backend.quantize import torch_blocks
from backend.quantize.graph import open_graph
from backend.quantize.products import linear
from backend.quantize.torch_blocks import BlockWeights, load_block, run_block
from kernels.program import Attention, Value
from tests.unit.architectures.checkpoints import random_tensors


def dice(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def apart(found: torch.Tensor | None, expected: torch.Tensor | None) -> float:
    """Relative, by norms."""
    assert found is not None
    assert expected is not None
    return float((found.detach().float() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize("biased", [False, True])
def test_a_linear_whose_weight_is_bfloat16(biased: bool) -> None:
    exact = [dice(2, 5, 96).requires_grad_(), dice(40, 96, seed=1).requires_grad_()]
    bias = dice(40, seed=2).requires_grad_() if biased else None
    halves = [exact[0].detach().clone().requires_grad_(), exact[1].detach().bfloat16().requires_grad_()]
    factor = dice(2, 5, 40, seed=3)
    results = [linear(x, weight, bias) for x, weight in (exact, halves)]
    for result in results:
        (result * factor).sum().backward()
    assert results[1].dtype == torch.float32
    assert 0 < apart(results[1], results[0]) < 0.01
    for found, expected in zip(halves, exact, strict=True):
        assert apart(found.grad, expected.grad) < 0.01


@pytest.mark.parametrize(("heads", "shared"), [(2, 1), (1, 3)])
@pytest.mark.parametrize("window", [0, 7, 300])
@pytest.mark.parametrize("tokens", [1, 256, 530])
def test_attention_of_factors_in_bfloat16(heads: int, shared: int, window: int, tokens: int) -> None:
    q, k, v = (dice(2, tokens, 16 * count, seed=count) for count in (heads * shared, heads, heads))
    step = Attention(
        0, *(Value(i, x.shape[-1]) for i, x in enumerate((q, k, v))), 16, 0.25, Value(3, q.shape[-1]), window
    )
    factor = dice(2, tokens, 16 * heads * shared, seed=9)
    results, grads = [], []
    for function in (torch_blocks._attention, torch_blocks._half_attention):
        values = {i: one.clone().requires_grad_() for i, one in enumerate((q, k, v))}
        results.append(function(values, step))
        (results[-1] * factor).sum().backward()
        grads.append([values[i].grad for i in range(3)])
    assert results[1].dtype == torch.float32
    assert apart(results[1], results[0]) < 0.01
    if tokens > 1:  # of one token nothing depends on queries and keys
        for found, expected in zip(grads[1], grads[0], strict=True):
            assert apart(found, expected) < 0.02


def test_a_block_whose_weights_are_bfloat16() -> None:
    checkpoint = random_tensors("qwen2")
    block = open_graph(checkpoint).blocks[0]
    weights = load_block(checkpoint, block)
    x = dice(2, 300, checkpoint.config["hidden_size"])
    halves = BlockWeights({m: one.bfloat16() for m, one in weights.linears.items()}, weights.biases, weights.norms)
    exact = run_block(block, weights, x)
    found = run_block(block, halves, x)
    assert found.dtype == torch.float32
    assert 0 < apart(found - x, exact - x) < 0.02
