"""The kinds of pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`, as regular expressions.

A byte-level BPE first cuts text into words; how, is part of the model. GGUF has only a name for it. The expressions are
those of the models' own tokenizer.json files; a test holds every kind against llama.cpp on the same vocabulary.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["KINDS", "Kind"]


class Kind(NamedTuple):
    """How one kind cuts.

    Attributes:
        cuts: expressions applied one after the other, each to what the one before left; every match is a word, and so
            is what lies between two.
        whole_words: a word that is a token is taken as it is, without merging.
        adds_bos: whether a text begins with the BOS token where the file does not say.
    """

    cuts: tuple[str, ...]
    whole_words: bool = False
    adds_bos: bool = False


_ENGLISH_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def _modern(digits: str) -> str:
    return rf"{_ENGLISH_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"


_GPT2_CUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN_CUT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
)

_GPT2 = Kind((_GPT2_CUT,))
_SINGLE_DIGITS = Kind((r"\p{N}", _GPT2_CUT))
_LLAMA3 = Kind((_modern(r"\p{N}{1,3}"),), whole_words=True, adds_bos=True)
_QWEN2 = Kind((_modern(r"\p{N}"),))
_TEKKEN = Kind((_TEKKEN_CUT,), whole_words=True, adds_bos=True)
_DEFAULT = Kind((r"[\p{P}\$\+<=>\^~\|]+", _GPT2_CUT, r"\p{N}+", r"[0-9][0-9][0-9]"))

#: value of `tokenizer.ggml.pre` -> how it cuts
KINDS: Final[dict[str, Kind]] = {
    "default": _DEFAULT,
    **dict.fromkeys(("gpt-2", "phi-2", "roberta-bpe", "mpt", "olmo"), _GPT2),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _SINGLE_DIGITS
    ),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "chatglm-bpe"), _LLAMA3._replace(whole_words=False, adds_bos=False)),
    **dict.fromkeys(("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"), _QWEN2),
    "tekken": _TEKKEN,
}
