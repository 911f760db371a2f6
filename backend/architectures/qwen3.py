"""Qwen 3 (dense): Llama with norms on the heads of q and k, and heads whose size is a setting of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.architectures.args import CommonArgs, read_common, read_windows
from backend.architectures.common import gated_mlp, stacked
from backend.architectures.config import ConfigReader
from backend.architectures.weights import Tensors, Weights, find_weights
from kernels.program import Program, Value


@dataclass(frozen=True)
class Args(CommonArgs):
    """attention_bias: q, k, v and o have biases.

    windows: for each layer, the positions that a token sees, itself among them; 0: all.
    """

    attention_bias: bool = False
    windows: tuple[int, ...] = ()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Args:
        """Reads config.json.

        Raises:
            UnsupportedModelError: a setting that is not known, by its name.
            InvalidModelFileError: one that is missing or makes no sense.
        """
        reader = ConfigReader(config)
        common = read_common(reader, max_position_embeddings=32768, kv_heads=32, head_dim=128)
        windows = read_windows(reader, common["n_layers"])
        args = cls(**common, attention_bias=reader.flag("attention_bias"), windows=windows)
        reader.finish()
        return args


def block(program: Program, args: Args, weights: Weights, layer: int, hidden: Value) -> None:
    """Attention and MLP of one layer, added to `hidden`."""
    name, width, bias = f"layers.{layer}", args.hidden_size, args.attention_bias
    x = program.rms_norm(hidden, weights.norm(f"{name}.input_layernorm.weight", width), args.rms_norm_eps)
    q, k, v = program.linears(
        x,
        weights.linear(f"{name}.self_attn.q_proj", args.q_width, width, bias=bias),
        weights.linear(f"{name}.self_attn.k_proj", args.kv_width, width, bias=bias),
        weights.linear(f"{name}.self_attn.v_proj", args.kv_width, width, bias=bias),
    )
    q = program.rms_norm(q, weights.norm(f"{name}.self_attn.q_norm.weight", args.head_dim), args.rms_norm_eps)
    k = program.rms_norm(k, weights.norm(f"{name}.self_attn.k_norm.weight", args.head_dim), args.rms_norm_eps)
    for heads in (q, k):
        program.rope(heads, args.head_dim, args.rope.inverse, args.rope.attention_factor)
    seen = program.attention(layer, q, k, v, args.head_dim, args.head_dim**-0.5, args.windows[layer])
    program.linear_add(seen, weights.linear(f"{name}.self_attn.o_proj", width, args.q_width, bias=bias), hidden)
    gated_mlp(program, args, weights, layer, hidden)


def model(args: Args, weights: Weights) -> Program:
    """The whole forward pass."""
    return stacked(block, args, weights)


def sanitize(tensors: Tensors) -> Weights:
    """The weights under one set of names."""
    return find_weights(tensors)
