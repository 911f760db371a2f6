"""Logits of our programs against transformers, in float32, for every architecture and setting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.architectures import build
from backend.quantize.measure import logits_of, mean_kl
from kernels.reference.executor import ReferenceExecutor
from tests.unit.architectures.tiny import checkpoint_of, make, transformers_logits

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 500.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 300.0}
LAYERS = ["full_attention", "sliding_attention", "full_attention"]

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("llama", "plain", {}),
    ("llama", "tied", {"tie_word_embeddings": True}),
    ("llama", "one group", {"num_key_value_heads": 4}),
    ("llama", "one key head", {"num_key_value_heads": 1}),
    ("llama", "wide heads", {"head_dim": 18}),
    ("llama", "biases", {"attention_bias": True, "mlp_bias": True}),
    ("llama", "theta", {"rope_theta": 500.0}),
    ("llama", "swish", {"hidden_act": "swish"}),
    ("llama", "linear", {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}}),
    ("llama", "llama3", {"rope_parameters": LLAMA3}),
    ("llama", "yarn", {"rope_parameters": YARN}),
    ("llama", "yarn, its own factor", {"rope_parameters": YARN | {"attention_factor": 1.7, "beta_fast": 8}}),
    ("llama", "yarn, mscale", {"rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False}}),
    ("llama", "older names", {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 50.0}),
    ("mistral", "window", {"sliding_window": 5}),
    ("mistral", "no window", {"sliding_window": None, "head_dim": 12}),
    ("qwen2", "plain", {}),
    ("qwen2", "tied, yarn", {"tie_word_embeddings": True, "rope_parameters": YARN}),
    ("qwen2", "upper window", {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("qwen2", "window unused", {"use_sliding_window": False, "sliding_window": 5, "max_window_layers": 0}),
    ("qwen2", "layer types", {"use_sliding_window": True, "sliding_window": 4, "layer_types": LAYERS}),
    ("qwen3", "plain", {"head_dim": 14}),
    ("qwen3", "default head", {}),
    ("qwen3", "biases, tied", {"head_dim": 10, "attention_bias": True, "tie_word_embeddings": True}),
    ("qwen3", "window", {"head_dim": 10, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2}),
]
IDS = [f"{model_type}: {name}" for model_type, name, _ in CASES]
TOKENS = np.random.default_rng(3).integers(0, 101, 40).tolist()


#: what a config says that neither stretches nor cuts off anything
PLAIN = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "sliding_window": None,
    "use_sliding_window": False,
    "layer_types": None,
}


@pytest.mark.parametrize(("model_type", "name", "changes"), CASES, ids=IDS)
def test_logits(model_type: str, name: str, changes: dict[str, Any]) -> None:
    model = make(model_type, **changes)
    expected = transformers_logits(model, TOKENS)
    assert np.abs(expected - expected[0]).max() > 1  # positions differ
    built = build(checkpoint_of(model))
    logits = logits_of(ReferenceExecutor(built.program, 64), TOKENS, rows=23)
    assert np.abs(logits - expected).max() < 1e-4
    assert mean_kl(expected, logits) < 1e-8


@pytest.mark.parametrize("case", [case for case in CASES if case[2].keys() & {"rope_scaling", *PLAIN}], ids=str)
def test_the_setting_counts(case: tuple[str, str, dict[str, Any]]) -> None:
    """Without it the logits are others: else the test above would say nothing about it."""
    model_type, name, changes = case
    tensors = checkpoint_of(make(model_type, **changes))
    with_it = logits_of(ReferenceExecutor(build(tensors).program, 64), TOKENS)
    tensors.config |= PLAIN
    without = logits_of(ReferenceExecutor(build(tensors).program, 64), TOKENS)
    same = name in ("no window", "window unused")
    assert bool(np.abs(with_it - without).max() < 1e-2) == same
