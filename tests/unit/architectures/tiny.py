"""Tiny random transformers models; skips where transformers is not installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.unit.architectures.checkpoints import SIZES, Tensors

torch = pytest.importorskip("torch", reason="torch is not installed: nothing to compare with")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: nothing to compare with")

CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}


def make(model_type: str, seed: int = 0, **changes: Any) -> Any:
    """A model with random weights, large enough that attention is not uniform; norms and biases differ."""
    config_class, model_class = CLASSES[model_type]
    config = config_class(**{**SIZES, **changes}, attn_implementation="eager")
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight") or "layernorm" in name:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
            elif name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


def checkpoint_of(model: Any) -> Tensors:
    """Its config as config.json has it, and its weights."""
    state = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight")
    return Tensors(model.config.to_dict(), state)


def transformers_logits(model: Any, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """(len(tokens), vocab) float32."""
    with torch.no_grad():
        out = model(torch.tensor([list(tokens)]), use_cache=False)
    return out.logits[0].float().numpy()
