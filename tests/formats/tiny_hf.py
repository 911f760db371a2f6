"""Hugging Face folders of a few kilobytes with seeded random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 96,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


#: all linears of the blocks have one shape: the package `aqlm` compiles a kernel for each, in four seconds
SQUARE = {**CONFIG, "intermediate_size": 64, "num_key_value_heads": 4}


def shapes(config: dict[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    """Hugging Face names of a llama's weights -> shapes."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    narrow = config["num_key_value_heads"] * config["head_dim"]
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        found |= {
            block + "input_layernorm.weight": (width,),
            block + "self_attn.q_proj.weight": (width, width),
            block + "self_attn.k_proj.weight": (narrow, width),
            block + "self_attn.v_proj.weight": (narrow, width),
            block + "self_attn.o_proj.weight": (width, width),
            block + "post_attention_layernorm.weight": (width,),
            block + "mlp.gate_proj.weight": (inner, width),
            block + "mlp.up_proj.weight": (inner, width),
            block + "mlp.down_proj.weight": (width, inner),
        }
    return found | {"model.norm.weight": (width,), "lm_head.weight": (config["vocab_size"], width)}


def weights(seed: int = 0, dtype: type = np.float32, config: dict[str, Any] = CONFIG) -> dict[str, npt.NDArray[Any]]:
    """Random numbers for every weight; norms around 1."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) / 8 + (len(shape) == 1)).astype(dtype)
        for name, shape in shapes(config).items()
    }


def write_folder(
    folder: Path, tensors: dict[str, npt.NDArray[Any]], config: dict[str, Any] | None = None, shards: int = 1
) -> Path:
    """Writes config.json and the tensors by the `safetensors` package, in one file or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG if config is None else config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    names = sorted(tensors)
    where = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return folder
