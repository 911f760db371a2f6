"""A checkpoint in memory, and random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidModelFileError
from kernels.packed import PackedLinear
from kernels.packing import dense

Floats = npt.NDArray[np.float32]

#: odd sizes: grouped heads, widths that no lane divides
SIZES: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 40,
    "intermediate_size": 75,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}


class Tensors:
    """A config, and tensors by Hugging Face's names."""

    def __init__(self, config: Mapping[str, Any], state: Mapping[str, Floats]) -> None:
        self.config = dict(config)
        self.state = dict(state)

    def has(self, name: str) -> bool:
        return name in self.state or name + ".weight" in self.state

    def linears(self) -> Sequence[str]:
        return [name.removesuffix(".weight") for name, value in self.state.items() if value.ndim == 2]

    def arrays(self) -> Sequence[str]:
        return [name for name, value in self.state.items() if value.ndim == 1 and not name.endswith(".bias")]

    def array(self, name: str) -> Floats:
        return self.state[name]

    def linear(self, module: str) -> PackedLinear:
        if module + ".weight" not in self.state:
            raise InvalidModelFileError(f"no {module}")
        return pack_f32(self.state[module + ".weight"], self.state.get(module + ".bias"))


def pack_f32(weight: Floats, bias: Floats | None = None) -> PackedLinear:
    return dense.pack(weight, "f32", bias=bias)


def random_tensors(model_type: str, *, seed: int = 0, **changes: Any) -> Tensors:
    """A checkpoint of any architecture with random weights, sizes as SIZES says."""
    config = {"model_type": model_type, **SIZES, **changes}
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    size = config.setdefault("head_dim", hidden // heads)
    q_width, kv_width = heads * size, config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        for part, out, width in (
            ("self_attn.q_proj", q_width, hidden),
            ("self_attn.k_proj", kv_width, hidden),
            ("self_attn.v_proj", kv_width, hidden),
            ("self_attn.o_proj", hidden, q_width),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ):
            shapes[f"{name}.{part}.weight"] = (out, width)
            if model_type == "qwen2" and part[10:] in ("q_proj", "k_proj", "v_proj"):
                shapes[f"{name}.{part}.bias"] = (out,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{name}.{norm}.weight"] = (hidden,)
        if model_type == "qwen3":
            shapes[f"{name}.self_attn.q_norm.weight"] = shapes[f"{name}.self_attn.k_norm.weight"] = (size,)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (config["vocab_size"], hidden)}
    dice = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        numbers = dice.standard_normal(shape) * 0.2 if len(shape) == 2 else dice.random(shape) + 0.5
        state[name] = numbers.astype(np.float32)
    return Tensors(config, state)
