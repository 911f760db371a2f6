"""Mistral: Llama without biases, and with a sliding window in every layer (7B v0.1) or in none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.architectures.args import CommonArgs, read_common
from backend.architectures.common import gated_mlp, stacked
from backend.architectures.config import ConfigReader
from backend.architectures.weights import Tensors, Weights, find_weights
from kernels.program import Program, Value


@dataclass(frozen=True)
class Args(CommonArgs):
    """sliding_window: positions that a token sees, itself among them; 0: all."""

    sliding_window: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Args:
        """Reads config.json.

        Raises:
            UnsupportedModelError: a setting that is not known, by its name.
            InvalidModelFileError: one that is missing or makes no sense.
        """
        reader = ConfigReader(config)
        common = read_common(reader, max_position_embeddings=131072, kv_heads=8)
        # null says that there is none; a missing key, as in the first releases, that it is 4096
        window = reader.optional_integer("sliding_window") if reader.has("sliding_window") else 4096
        args = cls(**common, sliding_window=window or 0)
        kind = "sliding_attention" if window else "full_attention"
        reader.refuse_unless("layer_types", [kind] * args.n_layers)
        reader.finish()
        return args


def block(program: Program, args: Args, weights: Weights, layer: int, hidden: Value) -> None:
    """Attention and MLP of one layer, added to `hidden`."""
    name, width = f"layers.{layer}", args.hidden_size
    x = program.rms_norm(hidden, weights.norm(f"{name}.input_layernorm.weight", width), args.rms_norm_eps)
    q, k, v = program.linears(
        x,
        weights.linear(f"{name}.self_attn.q_proj", args.q_width, width),
        weights.linear(f"{name}.self_attn.k_proj", args.kv_width, width),
        weights.linear(f"{name}.self_attn.v_proj", args.kv_width, width),
    )
    for heads in (q, k):
        program.rope(heads, args.head_dim, args.rope.inverse, args.rope.attention_factor)
    seen = program.attention(layer, q, k, v, args.head_dim, args.head_dim**-0.5, args.sliding_window)
    program.linear_add(seen, weights.linear(f"{name}.self_attn.o_proj", width, args.q_width), hidden)
    gated_mlp(program, args, weights, layer, hidden)


def model(args: Args, weights: Weights) -> Program:
    """The whole forward pass."""
    return stacked(block, args, weights)


def sanitize(tensors: Tensors) -> Weights:
    """The weights under one set of names."""
    return find_weights(tensors)
