"""A GGUF header's settings as the keys of a Hugging Face config.json."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import damaged
from backend.formats.gguf_header import GGUFArray, GGUFHeader

__all__ = ["MODEL_TYPES", "hf_config", "llama3_scaling"]

#: general.architecture -> (model_type, class); a GGUF of Mistral says "llama"
MODEL_TYPES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}


class _Settings:
    """Typed look-ups below the architecture's prefix."""

    def __init__(self, header: GGUFHeader) -> None:
        self.header = header

    def find(self, key: str) -> Any:
        value = self.header.metadata.get(f"{self.header.architecture}.{key}")
        if isinstance(value, tuple):  # one value per layer: only where all are the same is it a setting of the model
            if len(set(value)) != 1:
                raise UnsupportedModelError(
                    "This kind of model is not known to the engine.",
                    why="Its layers differ from one another in their settings.",
                    remedy="Choose another model, or another build of this one.",
                    details=f"{key} = {value!r}"[:200],
                )
            return value[0]
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self.find(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise damaged(
                "One of its settings makes no sense.", f"{key} must be {low} to {high}, it is {value!r}"[:200]
            )
        return value

    def number(self, key: str, default: float | None, high: float = 1e12) -> float:
        value = self.find(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
            raise damaged("One of its settings makes no sense.", f"{key} is {value!r}"[:200])
        return shortest(value)


def shortest(value: float) -> float:
    """The shortest decimal that is the same float32: 9.999999747378752e-06 was written as 1e-05."""
    return float(str(np.float32(value))) if float(np.float32(value)) == value else float(value)


def hf_config(
    header: GGUFHeader, names: frozenset[str], n_vocab: int, rope_factors: npt.NDArray[np.float32] | None
) -> dict[str, Any]:
    """The config.json that the model had, as far as its header tells.

    Args:
        header: checked by `read_header`.
        names: the Hugging Face names of its tensors.
        n_vocab: rows of the embedding.
        rope_factors: the tensor rope_freqs.weight (divisors of the frequencies), or None.

    Raises:
        UnsupportedModelError: an architecture or a setting that our engine does not have.
        InvalidModelFileError: settings missing or impossible.
    """
    if header.architecture not in MODEL_TYPES:
        raise UnsupportedModelError(
            "This kind of model is not known to the engine.",
            why=f"Its architecture is called {header.text('general.architecture')[:40] or '(nothing)'}; known here are "
            f"{', '.join(MODEL_TYPES)}.",
            remedy="Choose another model.",
        )
    settings = _Settings(header)
    if settings.integer("expert_count", 0, 1 << 16, 0):
        raise UnsupportedModelError(
            "This kind of model is not known to the engine.",
            why="It is a mixture of experts.",
            remedy="Choose another model.",
        )
    hidden = settings.integer("embedding_length", 1, 1 << 20)
    heads = settings.integer("attention.head_count", 1, 1 << 12)
    head_dim = settings.integer("attention.key_length", 2, 1 << 12, max(2, hidden // heads))
    rotated = settings.integer("rope.dimension_count", 2, 1 << 12, head_dim)
    model_type, cls = MODEL_TYPES[header.architecture]
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [cls],
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": settings.integer("feed_forward_length", 1, 1 << 24),
        "num_hidden_layers": settings.integer("block_count", 1, 1 << 12),
        "num_attention_heads": heads,
        "num_key_value_heads": settings.integer("attention.head_count_kv", 1, 1 << 12, heads),
        "head_dim": head_dim,
        "max_position_embeddings": settings.integer("context_length", 1, 1 << 31),
        "rms_norm_eps": settings.number("attention.layer_norm_rms_epsilon", None, 1.0),
        "rope_theta": settings.number("rope.freq_base", 10000.0),
        "rope_scaling": _scaling(settings, rope_factors, head_dim),
        "vocab_size": n_vocab,
        "tie_word_embeddings": "lm_head.weight" not in names,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in names,
        "mlp_bias": "model.layers.0.mlp.gate_proj.bias" in names,
    }
    if rotated != head_dim:
        config["partial_rotary_factor"] = rotated / head_dim
    window = settings.integer("attention.sliding_window", 0, 1 << 31, 0)
    if window:
        config["sliding_window"] = window
        config["use_sliding_window"] = True
    for ours, theirs in (("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")):
        value = header.metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < n_vocab:
            config[ours] = value
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, GGUFArray) and tokens.count > n_vocab:
        raise damaged("It has more tokens than rows for them.", f"{tokens.count} tokens, {n_vocab} rows")
    return config


def _scaling(settings: _Settings, factors: npt.NDArray[np.float32] | None, head_dim: int) -> dict[str, Any] | None:
    kind = settings.find("rope.scaling.type")
    if kind in (None, "none"):
        linear = settings.number("rope.scale_linear", 1.0)  # the key's name in files of 2023
        if factors is None:
            return None if linear == 1.0 else {"rope_type": "linear", "factor": linear}
        return llama3_scaling(factors, settings.number("rope.freq_base", 10000.0), head_dim)
    if kind not in ("linear", "yarn"):
        raise UnsupportedModelError(
            "This kind of model is not known to the engine.",
            why=f"It stretches its context in a way called {str(kind)[:40]!r}.",
            remedy="Choose another build of this model.",
        )
    found: dict[str, Any] = {"rope_type": kind, "factor": settings.number("rope.scaling.factor", None)}
    if kind == "yarn":
        original = settings.integer("rope.scaling.original_context_length", 1, 1 << 31, 0)
        if original:
            found["original_max_position_embeddings"] = original
        for ours, theirs in (
            ("attention_factor", "attn_factor"),
            ("beta_fast", "yarn_beta_fast"),
            ("beta_slow", "yarn_beta_slow"),
        ):
            if settings.find(f"rope.scaling.{theirs}") is not None:
                found[ours] = settings.number(f"rope.scaling.{theirs}", None)
    return found


def llama3_scaling(factors: npt.NDArray[np.float32], theta: float, head_dim: int) -> dict[str, Any]:
    """The settings behind Llama 3's rope_freqs.weight, which holds only their result.

    All of Llama 3.1, 3.2 and 3.3 have factors 1 and 4 for low and high frequencies and 8192 positions; other contexts
    are tried too. What they do not explain comes as "longrope" with the factors themselves.

    Args:
        factors: (head_dim / 2,), divisors of the frequencies.
        theta: base of the frequencies.
        head_dim: all of it is rotated.

    Raises:
        InvalidModelFileError: not as many as frequencies, or impossible ones.
    """
    if factors.shape != (head_dim // 2,) or not bool((factors > 0.1).all()) or not bool((factors < 1e6).all()):
        raise damaged("Its factors for long contexts make no sense.", f"rope_freqs.weight {factors.shape}")
    factor = shortest(float(factors.max()))
    wavelength = 2 * math.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    for original in (8192, 4096, 16384, 32768, 131072):
        smooth = np.clip((original / wavelength - 1.0) / 3.0, 0, 1)
        expected = 1 / ((1 - smooth) / factor + smooth)
        if np.allclose(expected, factors, rtol=1e-4):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": original,
            }
    numbers = [float(value) for value in factors]
    return {"rope_type": "longrope", "long_factor": numbers, "short_factor": numbers, "attention_factor": 1.0}
