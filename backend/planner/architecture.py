"""The sizes of a decoder, and from them every tensor that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

__all__ = ["Architecture", "Tensor", "from_config", "from_gguf"]

Kind = Literal["embedding", "head", "q", "k", "v", "o", "gate", "up", "down", "router", "plain"]


class Tensor(NamedTuple):
    """`copies` equal tensors of (rows, columns): outputs and inputs of a linear. A plain one is a norm or a bias.

    `layer` is -1 outside of layers. `copies` is the number of experts, or 1.
    """

    kind: Kind
    layer: int
    rows: int
    columns: int
    copies: int = 1

    @property
    def weights(self) -> int:
        """Numbers in all of them."""
        return self.rows * self.columns * self.copies


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Sizes as in a config.json; widths are numbers per token.

    Attributes:
        qk_norm: norms of queries and keys: none, over one head's numbers, or over all heads' ("width").
        norms: of the width of the model in each layer.
        sliding_window: positions that windowed layers look back; 0: no layer has a window.
        full_every: of so many layers the last one sees everything; 0: none does, where there is a window.
        expert_size: intermediate size of one expert; 0: as intermediate_size.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    qkv_bias: bool = False
    qk_norm: Literal["", "head", "width"] = ""
    norms: int = 2
    sliding_window: int = 0
    full_every: int = 0
    experts: int = 0
    experts_used: int = 0
    expert_size: int = 0

    @property
    def q_width(self) -> int:
        """Numbers of all query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim

    def windowed(self, layer: int) -> bool:
        """Whether this layer has the sliding window."""
        return bool(self.sliding_window) and not (self.full_every and (layer + 1) % self.full_every == 0)

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in the order of the layers. A tied head is not there twice."""
        return _tensors(self)

    def _each(self) -> Iterator[Tensor]:
        hidden = self.hidden_size
        yield Tensor("embedding", -1, self.vocab_size, hidden)
        for layer in range(self.layers):
            yield Tensor("q", layer, self.q_width, hidden)
            yield Tensor("k", layer, self.kv_width, hidden)
            yield Tensor("v", layer, self.kv_width, hidden)
            yield Tensor("o", layer, hidden, self.q_width)
            if self.qkv_bias:
                yield Tensor("plain", layer, 1, self.q_width + 2 * self.kv_width)
            if self.qk_norm == "head":
                yield Tensor("plain", layer, 2, self.head_dim)
            elif self.qk_norm == "width":
                yield Tensor("plain", layer, 1, self.q_width + self.kv_width)
            yield Tensor("plain", layer, self.norms, hidden)
            count, inner = max(self.experts, 1), self.expert_size or self.intermediate_size
            if self.experts:
                yield Tensor("router", layer, self.experts, hidden)
            yield Tensor("gate", layer, inner, hidden, count)
            yield Tensor("up", layer, inner, hidden, count)
            yield Tensor("down", layer, hidden, inner, count)
        yield Tensor("plain", -1, 1, hidden)
        if not self.tied:
            yield Tensor("head", -1, self.vocab_size, hidden)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.weights for tensor in self.tensors())

    @property
    def active(self) -> int:
        """Numbers that one token is multiplied with: of experts those in use, of the embedding only as a head."""
        return _active(self)


# A model is planned as several builds in several ways: the catalogue takes 4 ms with these two, and 120 without.
@lru_cache(maxsize=128)
def _tensors(of: Architecture) -> tuple[Tensor, ...]:
    return tuple(of._each())


@lru_cache(maxsize=128)
def _active(of: Architecture) -> int:
    total = 0
    for tensor in of.tensors():
        share = of.experts_used / tensor.copies if tensor.copies > 1 else 1.0
        total += 0 if tensor.kind == "embedding" and not of.tied else round(tensor.weights * share)
    return total


#: model_type -> what its files do not say in their settings: norms in a layer, and norms of queries and keys
_NORMS: dict[str, tuple[int, Literal["", "head", "width"]]] = {
    "qwen3": (2, "head"),
    "qwen3_moe": (2, "head"),
    "qwen3moe": (2, "head"),
    "gemma2": (4, ""),
    "gemma3": (4, "head"),
    "gemma3_text": (4, "head"),
    "olmo2": (2, "width"),
}
#: one full layer in so many, where the settings do not say
_FULL_EVERY = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6}
_TIED = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text"})


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Of a Hugging Face config.json.

    Raises:
        ValueError: a size is missing or no number.
    """
    model_type = str(config.get("model_type", ""))
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    window = 0
    if config.get("use_sliding_window", model_type in _FULL_EVERY or model_type == "mistral"):
        window = _optional(config, "sliding_window")
    norms, qk_norm = _NORMS.get(model_type, (2, ""))
    experts = _optional(config, "num_local_experts") or _optional(config, "num_experts")
    return Architecture(
        model_type=model_type,
        vocab_size=_size(config, "vocab_size"),
        hidden_size=hidden,
        intermediate_size=_size(config, "intermediate_size"),
        layers=_size(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_optional(config, "num_key_value_heads") or heads,
        head_dim=_optional(config, "head_dim") or hidden // heads,
        tied=bool(config.get("tie_word_embeddings", model_type in _TIED)),
        qkv_bias=model_type == "qwen2" or config.get("attention_bias") is True,
        qk_norm=qk_norm,
        norms=norms,
        sliding_window=window,
        full_every=(_optional(config, "sliding_window_pattern") or _FULL_EVERY.get(model_type, 0)) if window else 0,
        experts=experts,
        experts_used=_optional(config, "num_experts_per_tok") if experts else 0,
        expert_size=_optional(config, "moe_intermediate_size") if experts else 0,
    )


def from_gguf(architecture: str, setting: Mapping[str, Any], vocabulary: int, *, tied: bool) -> Architecture:
    """Of a GGUF header's settings.

    Args:
        architecture: general.architecture.
        setting: the other keys without the architecture in front of them.
        vocabulary: rows of the embedding.
        tied: there is no tensor output.weight.

    Raises:
        ValueError: a size is missing or no number (a model whose layers differ has lists in their place).
    """
    heads, hidden = _size(setting, "attention.head_count"), _size(setting, "embedding_length")
    window = _optional(setting, "attention.sliding_window") if architecture in _FULL_EVERY else 0
    norms, qk_norm = _NORMS.get(architecture, (2, ""))
    return Architecture(
        model_type=architecture,
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=_optional(setting, "feed_forward_length"),
        layers=_size(setting, "block_count"),
        heads=heads,
        kv_heads=_optional(setting, "attention.head_count_kv") or heads,
        head_dim=_optional(setting, "attention.key_length") or hidden // heads,
        tied=tied,
        qkv_bias=architecture == "qwen2",
        qk_norm=qk_norm,
        norms=norms,
        sliding_window=window,
        full_every=_FULL_EVERY.get(architecture, 0) if window else 0,
        experts=_optional(setting, "expert_count"),
        experts_used=_optional(setting, "expert_used_count"),
        expert_size=_optional(setting, "expert_feed_forward_length"),
    )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = _optional(config, key)
    if not value:
        raise ValueError(f"{key} is {config.get(key)!r}"[:200])
    return value


def _optional(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ValueError(f"{key} is {value!r}"[:200])
    return value
