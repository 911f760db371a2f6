"""What the architectures here share: the MLP of a layer, and the way through all layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from backend.architectures.args import CommonArgs
from backend.architectures.weights import Weights
from kernels.program import Program, Value

__all__ = ["gated_mlp", "stacked"]

A = TypeVar("A", bound=CommonArgs)


def gated_mlp(
    program: Program, args: CommonArgs, weights: Weights, layer: int, hidden: Value, *, bias: bool = False
) -> None:
    """Norm, silu(gate) * up, down, added to `hidden`. `bias`: gate, up and down have biases."""
    name, width, inner = f"layers.{layer}", args.hidden_size, args.intermediate_size
    x = program.rms_norm(hidden, weights.norm(f"{name}.post_attention_layernorm.weight", width), args.rms_norm_eps)
    gate, up = program.linears(
        x,
        weights.linear(f"{name}.mlp.gate_proj", inner, width, bias=bias),
        weights.linear(f"{name}.mlp.up_proj", inner, width, bias=bias),
    )
    down = weights.linear(f"{name}.mlp.down_proj", width, inner, bias=bias)
    program.linear_add(program.swiglu(gate, up), down, hidden)


def stacked(block: Callable[[Program, A, Weights, int, Value], None], args: A, weights: Weights) -> Program:
    """The whole forward pass: embedding, one block after another, the last norm, the head."""
    program = Program()
    embedding = weights.embedding(args)
    hidden = program.embed(embedding)
    for layer in range(args.n_layers):
        block(program, args, weights, layer, hidden)
    final = program.rms_norm(hidden, weights.norm("norm.weight", args.hidden_size), args.rms_norm_eps)
    program.output(final, weights.head(args, embedding))
    return program
