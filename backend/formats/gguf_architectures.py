"""What single architectures demand of their settings; the engine divides by these numbers or asserts them."""

from __future__ import annotations

from backend.formats.gguf_cursor import damaged
from backend.formats.gguf_header import GGUFHeader
from backend.formats.gguf_tables import names

__all__ = ["HYBRID", "check_architecture"]

#: architectures whose lists of heads may have zeros, for layers without attention
HYBRID = names(
    """
    bailingmoe3 deci deepseek4 falcon-h1 glm5-next granitehybrid jamba kimi-k3 kimi-linear lfm2 lfm2moe minimax-01
    nemotron_h nemotron_h_moe plamo2 qwen35 qwen35moe qwen3next qwen4exp
    """
)
#: of these, those that tell their two kinds of layers apart by that zero, and must have both
_BOTH_KINDS = names("granitehybrid jamba lfm2 lfm2moe nemotron_h nemotron_h_moe plamo2")
#: mixtures of experts by definition: n_ff / n_expert_used, or an assertion that there are experts
_MIXTURES = names(
    """
    arctic bailingmoe bailingmoe2 dbrx glm4moe grovemoe hunyuan-moe lfm2moe mellum olmoe phimoe qwen2moe qwen35moe
    qwen3moe qwen3next qwen3vlmoe qwen4exp smallthinker
    """
)
_STATE_SPACES = frozenset({"mamba2", "falcon-h1", "granitehybrid", "nemotron_h", "nemotron_h_moe"})
_IMAGE_ROTATION = frozenset({"paddleocr", "qwen2vl", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen4exp"})
#: architecture -> settings that must not be 0 where they are given
_NOT_ZERO = {
    "ernie4_5-moe": ("interleave_moe_layer_step",),
    "grovemoe": ("experts_per_group",),
    "lfm2": ("shortconv.l_cache",),
    "lfm2moe": ("shortconv.l_cache",),
    "jamba": ("ssm.inner_size", "ssm.time_step_rank"),
    "mamba": ("ssm.inner_size", "ssm.time_step_rank"),
    "minimax-m3": ("attention.indexer.block_size",),
    "plamo2": ("ssm.inner_size", "ssm.time_step_rank"),
}


def check_architecture(header: GGUFHeader) -> None:
    """Checks the settings that only some architectures have.

    Raises:
        InvalidModelFileError: one is missing or impossible.
    """
    name = header.architecture
    if name in _MIXTURES:
        _require(header, "expert_count", header.integer(f"{name}.expert_count") > 0)
    for key in _NOT_ZERO.get(name, ()):
        _require(header, key, header.metadata.get(f"{name}.{key}", 1) != 0)
    if name in _BOTH_KINDS:
        heads = header.metadata.get(f"{name}.attention.head_count_kv")
        _require(header, "attention.head_count_kv", isinstance(heads, tuple) and 0 in heads and any(heads))
    width = header.integer("embedding_length")
    if "rwkv" in name:
        size = header.integer(f"{name}.wkv.head_size")
        _require(header, "wkv.head_size", 0 < size <= width and width % size == 0)
        shifts = header.metadata.get(f"{name}.token_shift_count", 2)
        _require(header, "token_shift_count", shifts in (1, 2) if "qwen2" in name or "arwkv" in name else shifts == 2)
    inner = header.integer(f"{name}.ssm.inner_size")
    if name in _STATE_SPACES:
        ranks, groups = header.integer(f"{name}.ssm.time_step_rank"), header.integer(f"{name}.ssm.group_count")
        good = inner > 0 and ranks > 0 and groups > 0 and inner % ranks == 0 and inner % groups == 0
        _require(header, "ssm.time_step_rank", good)
    if name in ("jamba", "granitehybrid"):
        _require(header, "ssm.inner_size", inner == 2 * width)
    if name in _IMAGE_ROTATION:
        value = header.metadata.get(f"{name}.rope.dimension_sections")
        sections = value[:3] if isinstance(value, tuple) else ()
        _require(header, "rope.dimension_sections", any(isinstance(n, int) and n > 0 for n in sections))


def _require(header: GGUFHeader, key: str, good: bool) -> None:
    if not good:
        value = header.metadata.get(f"{header.architecture}.{key}")
        raise damaged("One of its settings makes no sense.", f"{key} is {value!r}"[:200])
