"""What a config may say, and what is refused by the name of its key."""

from __future__ import annotations

from typing import Any

import pytest

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.architectures import ARCHITECTURES, build, read_args
from backend.architectures.llama import Args as LlamaArgs
from backend.architectures.mistral import Args as MistralArgs
from backend.architectures.qwen2 import Args as Qwen2Args
from backend.architectures.qwen3 import Args as Qwen3Args
from tests.unit.architectures.checkpoints import SIZES, random_tensors

CONFIG: dict[str, Any] = {"model_type": "llama", **SIZES}

SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 576,
    "initializer_range": 0.041666666666666664,
    "intermediate_size": 1536,
    "is_llama_config": True,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "pad_token_id": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_interleaved": False,
    "rope_scaling": None,
    "rope_theta": 100000,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 49152,
}
LLAMA31 = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3",
    "use_cache": True,
    "vocab_size": 128256,
}
QWEN25 = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "model_type": "qwen2",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


@pytest.mark.parametrize("config", [SMOLLM2, LLAMA31, QWEN25])
def test_published_configs_are_read(config: dict[str, Any]) -> None:
    args = read_args(config)
    assert args.n_layers == config["num_hidden_layers"]
    assert args.kv_heads == config["num_key_value_heads"]
    assert args.head_dim == config["hidden_size"] // config["num_attention_heads"]
    assert args.max_position_embeddings == config["max_position_embeddings"]
    assert args.tie_word_embeddings == config["tie_word_embeddings"]
    assert args.rope.inverse[0] == 1
    if config is LLAMA31:  # the slowest frequency is divided by 8
        assert args.rope.inverse[-1] == pytest.approx(500000 ** -(126 / 128) / 8, rel=1e-6)
    if isinstance(args, Qwen2Args):
        assert args.windows == (0,) * 28


def test_defaults_are_those_of_the_architecture() -> None:
    least = {
        "vocab_size": 10,
        "hidden_size": 64,
        "intermediate_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 32,
    }
    llama = LlamaArgs.from_config(least)
    assert (llama.kv_heads, llama.head_dim, llama.max_position_embeddings) == (32, 2, 2048)
    assert (llama.rms_norm_eps, llama.tie_word_embeddings, llama.attention_bias, llama.mlp_bias) == (1e-6, *[False] * 3)
    assert llama.rope.inverse.tolist() == [1]
    mistral = MistralArgs.from_config(least)
    assert (mistral.kv_heads, mistral.max_position_embeddings, mistral.sliding_window) == (8, 131072, 4096)
    assert MistralArgs.from_config(least | {"sliding_window": None}).sliding_window == 0
    qwen2 = Qwen2Args.from_config(least)
    assert (qwen2.kv_heads, qwen2.max_position_embeddings, qwen2.windows) == (32, 32768, (0, 0))
    assert Qwen2Args.from_config(least | {"use_sliding_window": True}).windows == (0, 0)  # from layer 28 on
    qwen3 = Qwen3Args.from_config(least)
    assert (qwen3.head_dim, qwen3.q_width, qwen3.kv_width) == (128, 4096, 4096)
    windows = {"use_sliding_window": True, "max_window_layers": 1}
    assert Qwen3Args.from_config(least | windows).windows == (0, 4096)


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu', and only silu or swish is known"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ("llama", {"rope_interleaved": True}, "rope_interleaved is True"),
    ("llama", {"head_dim": 5}, "head_dim is 5"),
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling.type is 'dynamic'"),
    ("llama", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "rope_scaling.rope_type is 'longrope'"),
    ("llama", {"rope_parameters": {"rope_type": "dynamic"}}, "rope_parameters.rope_type is 'dynamic'"),
    ("llama", {"rope_parameters": {"rope_type": "default", "mrope_section": [1]}}, "rope_parameters.mrope_section"),
    ("llama", {"rope_parameters": {"partial_rotary_factor": 0.25}}, "rope_parameters.partial_rotary_factor is 0.25"),
    ("llama", {"rope_scaling": {"type": ["linear"]}}, "rope_scaling.type is ['linear']"),
    ("llama", {"sliding_window": 128}, "sliding_window, which is not known here: 128"),
    ("llama", {"num_local_experts": 8}, "num_local_experts"),
    ("llama", {"logit_scale": 0.1}, "logit_scale"),
    ("llama", {"auto_map": {"AutoModel": "modeling.Model"}}, "auto_map"),
    ("mistral", {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, "layer_types"),
    ("mistral", {"attention_bias": True}, "attention_bias"),
    ("qwen2", {"attention_bias": False}, "attention_bias is False"),
    ("qwen2", {"mlp_bias": True}, "mlp_bias"),
    ("qwen2", {"layer_types": ["full_attention", "linear_attention", "full_attention"]}, "'linear_attention'"),
    ("qwen3", {"num_experts": 128}, "num_experts"),
]


@pytest.mark.parametrize(("model_type", "changes", "words"), UNSUPPORTED, ids=[words for _, _, words in UNSUPPORTED])
def test_what_is_not_known_is_refused_by_name(model_type: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        read_args(CONFIG | {"model_type": model_type} | changes)
    assert words in caught.value.why
    assert caught.value.why.endswith(".")
    assert caught.value.remedy


DAMAGED: list[tuple[str, object]] = [
    ("hidden_size", None),
    ("hidden_size", "40"),
    ("hidden_size", -40),
    ("hidden_size", True),
    ("hidden_size", 2**40),
    ("hidden_size", 41),
    ("num_attention_heads", 0),
    ("num_attention_heads", 2.5),
    ("num_key_value_heads", 3),
    ("num_hidden_layers", 10**9),
    ("head_dim", 10**9),
    ("vocab_size", []),
    ("rms_norm_eps", 0),
    ("rms_norm_eps", float("nan")),
    ("rms_norm_eps", float("inf")),
    ("tie_word_embeddings", "yes"),
    ("attention_bias", 1),
    ("rope_theta", 1),
    ("rope_theta", "10000"),
    ("rope_scaling", "linear"),
    ("rope_scaling", {"type": "linear"}),
    ("rope_scaling", {"type": "linear", "factor": 0}),
    ("rope_scaling", {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}),
    ("rope_scaling", {"rope_type": "yarn", "factor": 1e300}),
]


@pytest.mark.parametrize(("key", "value"), DAMAGED, ids=[f"{key}={value}"[:50] for key, value in DAMAGED])
def test_what_makes_no_sense_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(InvalidModelFileError) as caught:
        read_args(CONFIG | {key: value})
    assert f"Its setting {key}" in caught.value.why


@pytest.mark.parametrize("types", ["full_attention", ["full_attention"], ["sliding_attention"] * 3])
def test_types_of_layers_fit_the_rest(types: object) -> None:
    with pytest.raises(InvalidModelFileError, match="damaged") as caught:
        read_args(CONFIG | {"model_type": "qwen2", "layer_types": types})
    assert "layer_types" in caught.value.why


@pytest.mark.parametrize("key", ["vocab_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"])
def test_a_missing_size_is_named(key: str) -> None:
    with pytest.raises(InvalidModelFileError) as caught:
        read_args({name: value for name, value in CONFIG.items() if name != key})
    assert caught.value.why == f"Its setting {key} is missing."


def test_keys_that_say_nothing_are_no_obstacle() -> None:
    read_args(CONFIG | {"new_thing": None, "another": False, "_private": 3, "unsloth_fixed": True, "pretraining_tp": 8})


def test_an_unknown_architecture_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        read_args({"model_type": "gemma3"})
    assert caught.value.why == "Its architecture is 'gemma3', and only llama, mistral, qwen2, and qwen3 are known."
    for missing in ({}, {"model_type": None}, {"model_type": 3}):
        with pytest.raises(InvalidModelFileError):
            read_args(missing)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_sizes_of_what_was_built(model_type: str) -> None:
    built = build(random_tensors(model_type))
    args = built.args
    assert (args.model_type, args.n_layers, args.kv_heads, args.head_dim) == (model_type, 3, 2, 10)
    assert (args.hidden_size, args.vocab_size, args.max_position_embeddings) == (40, 101, 64)
