"""Whether a sound GGUF file holds a model that can chat here: what it is, and whether its numbers agree.

Most of these are assertions of llama.cpp that would end the engine's process; each is named where it is checked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_architectures import HYBRID, check_architecture
from backend.formats.gguf_cursor import damaged
from backend.formats.gguf_header import GGUFHeader
from backend.formats.gguf_tables import (
    CHAT_ARCHITECTURES,
    NOT_FOR_CHAT,
    RECURRENT,
    ROPE_SCALING,
    SAME_HEAD_SIZES,
    TENSOR_TYPES,
    WHOLE_HEAD_ROTATED,
)
from backend.formats.gguf_vocabulary import check_vocabulary

__all__ = ["NotForChatError", "check_chat_model"]

_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
_MAX_EXPERTS = 1024  # LLAMA_MAX_EXPERTS
#: Less holds no chat template, let alone a question; the smallest published models have 256.
_MIN_CONTEXT = 64
_MAX_CONTEXT = 1 << 27  # the longest known is 10 million
_MAX_WIDTH = 1 << 20


class NotForChatError(UnsupportedModelError):
    """A sound file that is not a chat model: an adapter, a companion, a vocabulary, an embedding model ..."""


def check_chat_model(header: GGUFHeader) -> None:
    """Checks kind, architecture, settings, weights' types and vocabulary; the header's buffer must still be there.

    Raises:
        InvalidModelFileError: the settings contradict each other.
        UnsupportedModelError: sound, but not a chat model, or one that the engine does not know.
    """
    _check_kind(header)
    _check_settings(header)
    if header.architecture not in RECURRENT:
        _check_heads(header)
    _check_experts(header)
    check_architecture(header)
    _check_types(header)
    check_vocabulary(header)


def _other(why: str, remedy: str = "Choose a chat model: its name often ends in -Instruct.") -> NotForChatError:
    return NotForChatError("This file does not hold a chat model.", why=why, remedy=remedy)


def _check_kind(header: GGUFHeader) -> None:
    kind = header.text("general.type")
    architecture = header.architecture
    if kind == "adapter" or "adapter.type" in header.metadata:
        raise _other(
            "It is an adapter (LoRA), a small change that is applied to another model.",
            "Open the model that it was made for.",
        )
    if kind == "mmproj" or architecture == "clip" or "clip.has_vision_encoder" in header.metadata:
        raise _other(
            "It is the companion file (mmproj) that lets another model see or hear.",
            "Open the model that it came with.",
        )
    if kind == "imatrix" or architecture == "imatrix":
        raise _other("It holds measurements that are used to make models smaller.")
    if not architecture:
        if header.tensors or not header.metadata:
            raise damaged("It does not say what kind of model it holds.")
        raise _other("It holds settings, and no model.")
    if not header.tensors:
        raise _other("It holds a vocabulary and settings, but no weights.")
    if kind not in ("", "model"):
        raise _other(f"It says that it holds another kind of thing: {kind[:40]}.")
    if architecture in NOT_FOR_CHAT:
        raise _other(NOT_FOR_CHAT[architecture])
    if architecture not in CHAT_ARCHITECTURES:
        raise UnsupportedModelError(
            "This kind of model is not known to the engine.",
            why=f"Its architecture is called {header.text('general.architecture')[:40]}.",
            remedy="Look for a newer version of Nutshell, or choose another model.",
        )


def _number(header: GGUFHeader, key: str, low: int, high: int, default: int | None = None) -> int:
    """An integer setting of the architecture in [low, high]."""
    value = header.metadata.get(f"{header.architecture}.{key}", default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        said = "it is missing" if value is None else f"it is {value!r}"[:60]
        raise damaged("One of its settings makes no sense.", f"{key} must be {low} to {high}, {said}")
    return value


def _per_layer(header: GGUFHeader, key: str, high: int, default: Sequence[int] | None = None) -> Sequence[int]:
    """A setting that is one number for all layers, or a list with one for each."""
    value = header.metadata.get(f"{header.architecture}.{key}")
    layers = header.layers
    if value is None and default is not None:
        return default
    values = value if isinstance(value, tuple) else (value,) * layers
    if len(values) != layers:
        raise damaged("One of its settings makes no sense.", f"{key} has {len(values)} values for {layers} layers")
    numbers = [n for n in values if isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= high]
    if len(numbers) != layers:
        raise damaged("One of its settings makes no sense.", f"{key} is {value!r}"[:200])
    return numbers


def _check_settings(header: GGUFHeader) -> None:
    _number(header, "context_length", _MIN_CONTEXT, _MAX_CONTEXT)
    _number(header, "embedding_length", 1, _MAX_WIDTH)
    layers = _number(header, "block_count", 1, _MAX_LAYERS)  # GGML_ASSERT in load_hparams
    _number(header, "nextn_predict_layers", 0, layers - 1, 0)
    _per_layer(header, "feed_forward_length", 1 << 24, default=())
    prefix = header.architecture + "."
    for key, value in header.metadata.items():
        if not key.startswith(prefix):
            continue
        if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
            raise damaged("One of its settings makes no sense.", f"{key} = {value}")
        # RMS and layer norm assert eps >= 0, and a NaN fails every comparison
        if isinstance(value, float) and (not math.isfinite(value) or (key.endswith("epsilon") and not 0 <= value < 1)):
            raise damaged("One of its settings makes no sense.", f"{key} = {value}")
    scaling = header.metadata.get(prefix + "rope.scaling.type", "linear")
    if scaling not in ROPE_SCALING:  # GGML_ASSERT in load_hparams
        raise UnsupportedModelError(
            "This model needs something that the engine does not know.",
            why="It stretches its context in a way that has no known name.",
            remedy="Look for a newer version of Nutshell, or choose another model.",
            details=f"rope.scaling.type = {scaling!r}"[:200],
        )


def _check_heads(header: GGUFHeader) -> None:
    """Attention heads; a graph with other numbers ends in GGML_ASSERT(ggml_can_mul_mat) or a division by zero."""
    width, layers, architecture = header.integer("embedding_length"), header.layers, header.architecture
    heads = _per_layer(header, "attention.head_count", 1 << 16)
    groups = _per_layer(header, "attention.head_count_kv", 1 << 16, default=heads)
    single = not isinstance(header.metadata[f"{architecture}.attention.head_count"], tuple)
    if (single and heads[0] == 0) or (architecture not in HYBRID and 0 in (*heads, *groups)):
        raise damaged("One of its settings makes no sense.", "attention.head_count or head_count_kv is 0")
    for layer in range(layers):
        if groups[layer] and heads[layer] % groups[layer]:
            raise damaged(
                "Its attention heads do not divide evenly.", f"layer {layer}: {heads[layer]} by {groups[layer]}"
            )
    plain = width // heads[0] if heads[0] else 1
    key = _number(header, "attention.key_length", 1, _MAX_WIDTH, plain)
    value = _number(header, "attention.value_length", 1, _MAX_WIDTH, plain)
    rotated = _number(header, "rope.dimension_count", 0, _MAX_WIDTH, key)
    explicit = f"{architecture}.attention.key_length" in header.metadata
    if single and not explicit and width % heads[0]:
        raise damaged("Its attention heads do not divide evenly.", f"width {width} by {heads[0]} heads")
    if architecture in SAME_HEAD_SIZES and key != value:
        raise damaged("Its attention heads have two sizes.", f"key_length {key}, value_length {value}")
    if architecture in WHOLE_HEAD_ROTATED and rotated != key:
        raise damaged("Its attention heads have two sizes.", f"key_length {key}, rope.dimension_count {rotated}")
    if rotated % 2 or (heads[0] and rotated > key):  # GGML_ASSERT in ggml_rope
        raise damaged("Its attention heads have two sizes.", f"key_length {key}, rope.dimension_count {rotated}")


def _check_experts(header: GGUFHeader) -> None:
    """Mixtures of experts: the assertions of load_hparams."""
    experts = _number(header, "expert_count", 0, 1 << 31, 0)
    if experts > _MAX_EXPERTS:
        raise damaged("One of its settings makes no sense.", f"expert_count = {experts}")
    if header.architecture in ("hunyuan_vl", "hunyuan-dense") and experts <= 1:
        return
    used = max(_per_layer(header, "expert_used_count", _MAX_EXPERTS, default=(0,)))
    groups = _number(header, "expert_group_count", 0, _MAX_EXPERTS, 0)
    in_use = _number(header, "expert_group_used_count", 0, _MAX_EXPERTS, 0)
    good = used == 0 and groups == 0
    if experts:
        good = 0 < used <= experts and groups < experts
        if groups > 1:
            good = good and experts % groups == 0 and 0 < in_use < groups
    if not good:
        raise damaged(
            "Its numbers of experts contradict each other.",
            f"{experts} experts, {used} used, {groups} groups, {in_use} used",
        )


def _check_types(header: GGUFHeader) -> None:
    """Types that the engine's kernels end the process over (GGML_ABORT in binary_op, null kernels in mul_mat)."""
    for tensor in header.tensors:
        layout = TENSOR_TYPES[tensor.type]
        if not layout.weight and not (layout.name == "I32" and "tid2eid" in tensor.name):  # DeepSeek 4 stores a table
            raise damaged("A tensor (a block of weights) has a type that weights cannot have.", repr(tensor))
        flat = len(tensor.shape) == 1 or tensor.elements == tensor.shape[0]
        if (flat or "norm" in tensor.name or tensor.name.endswith(".bias")) and tensor.type != 0:
            raise damaged("A tensor (a block of weights) has a type that the engine cannot add.", repr(tensor))
