"""What every architecture here reads from a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.architectures.config import ConfigReader, damaged
from backend.architectures.rope import RopeFrequencies, read_rope

#: far above every known model (1024 and 126): lists are made of as many entries before any tensor is looked at
_MOST_HEAD = 1 << 14
_MOST_LAYERS = 1 << 14


@dataclass(frozen=True)
class CommonArgs:
    """Sizes and constants of a decoder. Widths are numbers per token."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    n_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    rms_norm_eps: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    rope: RopeFrequencies

    @property
    def q_width(self) -> int:
        """Numbers of all query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Numbers of all key heads, and of all value heads."""
        return self.kv_heads * self.head_dim


def read_common(
    reader: ConfigReader,
    *,
    max_position_embeddings: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
) -> dict[str, Any]:
    """The fields of CommonArgs. The sizes must be there; the rest has defaults.

    Args:
        reader: the config.
        max_position_embeddings: default.
        kv_heads: default where the key is missing (null, or no default: as many as heads).
        head_dim: the same (null, or no default: hidden_size / heads).

    Raises:
        InvalidModelFileError: a size that is missing, makes no sense, or does not fit another.
        UnsupportedModelError: a setting that is not known, by its name.
    """
    hidden_size, heads = reader.integer("hidden_size"), reader.integer("num_attention_heads")
    if not reader.has("num_key_value_heads") and kv_heads is not None:
        groups = kv_heads
    else:
        groups = reader.optional_integer("num_key_value_heads") or heads
    if heads % groups:
        raise damaged(f"Its setting num_key_value_heads is {groups}, which does not divide {heads} heads.")
    if not reader.has("head_dim") and head_dim is not None:
        size = head_dim
    else:
        given = reader.optional_integer("head_dim", most=_MOST_HEAD)
        if given is None and hidden_size % heads:
            raise damaged(f"Its setting hidden_size is {hidden_size}, which {heads} heads cannot share.")
        size = given or hidden_size // heads
        if size > _MOST_HEAD:
            raise damaged(f"Its setting num_attention_heads is {heads}, and then a head has {size} numbers.")
    context = reader.integer("max_position_embeddings", max_position_embeddings)
    reader.one_of("hidden_act", "silu", ("silu", "swish"))
    return {
        "model_type": reader.value("model_type"),
        "vocab_size": reader.integer("vocab_size"),
        "hidden_size": hidden_size,
        "intermediate_size": reader.integer("intermediate_size"),
        "n_layers": reader.integer("num_hidden_layers", most=_MOST_LAYERS),
        "heads": heads,
        "kv_heads": groups,
        "head_dim": size,
        "rms_norm_eps": reader.number("rms_norm_eps", 1e-6),
        "max_position_embeddings": context,
        "tie_word_embeddings": reader.flag("tie_word_embeddings"),
        "rope": read_rope(reader, size, context),
    }


def read_windows(reader: ConfigReader, n_layers: int) -> tuple[int, ...]:
    """The sliding window of each layer in positions (0: none), by the rules of Qwen.

    `use_sliding_window` switches it; then layers from `max_window_layers` on have it, or those that `layer_types` says.

    Raises:
        InvalidModelFileError: a value that makes no sense.
        UnsupportedModelError: a type of layer that is not known.
    """
    used = reader.flag("use_sliding_window")
    window = reader.optional_integer("sliding_window") if reader.has("sliding_window") else 4096
    first = reader.integer("max_window_layers", 28, least=0)
    types = reader.value("layer_types")
    if types is None:
        return tuple(window if used and window and layer >= first else 0 for layer in range(n_layers))
    if not isinstance(types, list) or len(types) != n_layers:
        raise reader.bad("layer_types", types)
    windows = []
    for layer in range(n_layers):
        kind = ConfigReader({"layer_types": types[layer]}).one_of(
            "layer_types", "full_attention", ("full_attention", "sliding_attention")
        )
        if kind == "sliding_attention" and not (used and window):
            raise damaged("Its setting layer_types names sliding_attention, but there is no sliding_window.")
        windows.append(window if window and kind == "sliding_attention" else 0)
    return tuple(windows)
