"""The fixed facts of GGUF and of the pinned llama.cpp: value types, tensor types, file types, architectures.

Taken from ggml.h, llama.h and llama-arch.cpp of llama-cpp-python 0.3.36; a test holds the names of the architectures
against the library that is installed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = [
    "CHAT_ARCHITECTURES",
    "CHAT_TOKENIZERS",
    "FILE_TYPES",
    "NOT_FOR_CHAT",
    "RECURRENT",
    "REMOVED_TENSOR_TYPES",
    "ROPE_SCALING",
    "SAME_HEAD_SIZES",
    "SCALAR_FORMATS",
    "TENSOR_TYPES",
    "WHOLE_HEAD_ROTATED",
    "TensorType",
    "ValueType",
    "names",
]


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


class ValueType:
    """Codes of the value types in metadata."""

    UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)


#: value type -> (struct letter, bytes); strings and arrays are not in it
SCALAR_FORMATS: Final = {
    ValueType.UINT8: ("B", 1),
    ValueType.INT8: ("b", 1),
    ValueType.UINT16: ("H", 2),
    ValueType.INT16: ("h", 2),
    ValueType.UINT32: ("I", 4),
    ValueType.INT32: ("i", 4),
    ValueType.FLOAT32: ("f", 4),
    ValueType.BOOL: ("B", 1),
    ValueType.UINT64: ("Q", 8),
    ValueType.INT64: ("q", 8),
    ValueType.FLOAT64: ("d", 8),
}


class TensorType(NamedTuple):
    """A storage type: `block` elements take `bytes` bytes. `weight`: the engine can multiply with it."""

    name: str
    block: int
    bytes: int
    weight: bool = True


TENSOR_TYPES: Final[dict[int, TensorType]] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 40, weight=False),  # only a form of activations inside the engine
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292, weight=False),  # likewise
    16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74),
    18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18),
    21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136),
    24: TensorType("I8", 1, 1, weight=False),
    25: TensorType("I16", 1, 2, weight=False),
    26: TensorType("I32", 1, 4, weight=False),
    27: TensorType("I64", 1, 8, weight=False),
    28: TensorType("F64", 1, 8, weight=False),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2),
    34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17),
    40: TensorType("NVFP4", 64, 36),
    41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}

#: codes of storage types that llama.cpp once had
REMOVED_TENSOR_TYPES: Final = frozenset({4, 5, 31, 32, 33, 36, 37, 38})

#: general.file_type -> the name that people know
FILE_TYPES: Final[dict[int, str]] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    4: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

#: architectures whose files hold a model that writes text one token after another
CHAT_ARCHITECTURES: Final = names(
    """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bitnet bloom chameleon chatglm
    codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr deepseek32 deepseek4
    dots1 dots3note ernie4_5 ernie4_5-moe exaone exaone-moe exaone4 falcon falcon-h1 gemma gemma2 gemma3 gemma3n
    gemma4 glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptj gptneox granite granite_swa granitehybrid granitemoe
    graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2
    jamba kimi-k3 kimi-linear laguna lfm2 lfm2moe llama llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm
    minicpm3 minimax-01 minimax-m2 minimax-m3 mistral3 mistral4 mpt muse-glimmer nanbeige nemotron nemotron_h
    nemotron_h_moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3
    plm qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3vl qwen3vlmoe qwen4exp refact
    rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm starcoder starcoder2 step35 talkie
    xverse
    """
)

_EMBEDDING = "It turns text into numbers for searching and comparing; it does not write answers."
_DIFFUSION = "It refines a whole text at once instead of writing it word by word, which this engine does not do."
_DRAFT = "It is a helper that guesses ahead for one particular larger model and cannot answer alone."
_AUDIO = "It makes or decodes sound, not text."

#: architectures that the engine library knows and that cannot hold a chat -> one sentence that says why
NOT_FOR_CHAT: Final[dict[str, str]] = {
    **dict.fromkeys(
        names(
            "bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding "
            "llama-embed"
        ),
        _EMBEDDING,
    ),
    **dict.fromkeys(("dream", "llada", "llada-moe", "rnd1"), _DIFFUSION),
    **dict.fromkeys(("eagle3", "dflash", "gemma4-assistant"), _DRAFT),
    **dict.fromkeys(("wavtokenizer-dec", "qwen3tts", "pockettts"), _AUDIO),
    "t5": "It rewrites one text into another in two stages, which this engine does not do.",
    "t5encoder": _EMBEDDING,
    "clip": "It is the part that lets another model see pictures.",
}

#: architectures that may have no attention heads at all
RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})

#: tokenizer.ggml.model values whose vocabularies a chat model has
CHAT_TOKENIZERS: Final = frozenset({"llama", "gpt2", "gemma4", "plamo2", "rwkv"})

ROPE_SCALING: Final = frozenset({"none", "linear", "yarn", "longrope"})

#: architectures for which the engine asserts, when it builds its first pass, that key length = value length
SAME_HEAD_SIZES: Final = names(
    """
    afmoe apertus arcee arctic baichuan bitnet bloom chameleon chatglm codeshell cogvlm command-r dbrx deci
    deepseek dots1 ernie4_5 ernie4_5-moe exaone falcon glm4 glm4moe gpt2 gptneox granite granitemoe grok grovemoe
    hunyuan-dense hunyuan-moe hunyuan_vl internlm2 jais jais2 llama llama4 maincoder minimax-m2 mistral3 mpt
    nemotron olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo qwen qwen2 qwen2moe
    qwen2vl qwen3 qwen3moe qwen3vl qwen3vlmoe refact seed_oss smallthinker smollm3 stablelm starcoder starcoder2
    xverse
    """
)

#: ... and that the whole head is rotated
WHOLE_HEAD_ROTATED: Final = names(
    """
    apertus arcee arctic baichuan chameleon codeshell cogvlm dbrx deci deepseek dots1 ernie4_5 ernie4_5-moe exaone
    falcon granite granitemoe grok grovemoe hunyuan-dense hunyuan-moe hunyuan_vl internlm2 llama llama4 maincoder
    mistral3 olmo olmo2 olmoe orion paddleocr pangu-embedded plamo qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl
    qwen3vlmoe seed_oss smallthinker smollm3 starcoder2 xverse
    """
)
