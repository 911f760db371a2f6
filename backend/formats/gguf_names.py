"""Names of tensors in GGUF files and in Hugging Face checkpoints, for the architectures that our engine runs."""

from __future__ import annotations

import re

__all__ = ["to_hf"]

_TOP = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAME = re.compile(r"(?:blk\.(?P<layer>0|[1-9]\d{0,3})\.)?(?P<part>\w+)\.(?P<kind>weight|bias)", re.ASCII)


def to_hf(name: str) -> str | None:
    """For example "model.norm.weight" of "output_norm.weight"; None for what has no name there."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    layer, part, kind = match["layer"], match["part"], match["kind"]
    table = _TOP if layer is None else _BLOCK
    if part not in table:
        return None
    return f"{table[part]}.{kind}" if layer is None else f"model.layers.{layer}.{table[part]}.{kind}"
