"""Reads a model's config: every key is understood, known to be harmless, or refused by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backend.api.errors import InvalidModelFileError, UnsupportedModelError

#: keys that do not change what a forward pass computes; pretraining_tp cuts the same sums into slices
_WORDS = """
    architectures attention_dropout bad_words_ids begin_suppress_tokens chunk_size_feed_forward
    classifier_dropout decoder_start_token_id diversity_penalty do_sample dtype early_stopping embd_pdrop
    encoder_no_repeat_ngram_size exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id hidden_dropout id2label initializer_range is_llama_config label2id length_penalty
    max_length min_length model_max_length model_name name name_or_path no_repeat_ngram_size num_beam_groups
    num_beams num_return_sequences output_attentions output_hidden_states output_scores prefix pretraining_tp
    problem_type quantization_config remove_invalid_values repetition_penalty resid_pdrop return_dict
    return_dict_in_generate suppress_tokens task_specific_params temperature tf_legacy_loss tie_encoder_decoder
    tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config transformers_version typical_p
    use_bfloat16 use_cache
"""
_HARMLESS = frozenset(_WORDS.split())
_HARMLESS_PATTERNS = re.compile(r"_.*|.*_token_id|unsloth_.*|nutshell.*|eos_token|bos_token|pad_token")

_WHAT = "Nutshell's own engine cannot run this model."
_ELSEWHERE = "Choose another model, or a GGUF file of this one."
_MOST = (1 << 31) - 1


def unsupported(why: str) -> UnsupportedModelError:
    """The error for a good model that needs something else. `why` is one sentence that names the key."""
    return UnsupportedModelError(_WHAT, why=why, remedy=_ELSEWHERE)


def damaged(why: str, details: str = "") -> InvalidModelFileError:
    """The error for a model whose parts contradict each other. `why` is one sentence."""
    remedy = "Download it again, or choose another."
    return InvalidModelFileError("This model is damaged.", why=why, remedy=remedy, details=details)


class ConfigReader:
    """Takes keys out of a config.json one by one; `finish` refuses what nobody took.

    Args:
        config: Hugging Face names to values.
        section: what to put before a key in a sentence, e.g. "rope_scaling.".
    """

    def __init__(self, config: Mapping[str, Any], section: str = "") -> None:
        self._config = config
        self._section = section
        self._taken: set[str] = set()

    def value(self, key: str) -> Any:
        """The value, or None where it is missing or null."""
        self._taken.add(key)
        return self._config.get(key)

    def has(self, key: str) -> bool:
        """Whether the key is there, be it null."""
        return key in self._config

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = _MOST) -> int:
        """A whole number, `least` to `most`; without a default it must be there.

        Raises:
            InvalidModelFileError: it is missing, or no such number.
        """
        value = self.value(key)
        if value is None and default is not None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.bad(key, value)
        return value

    def optional_integer(self, key: str, *, most: int = _MOST) -> int | None:
        """The same, None where it is missing or null."""
        return None if self.value(key) is None else self.integer(key, most=most)

    def number(self, key: str, default: float | None = None, *, above: float = 1e-30) -> float:
        """A number above `above` (and below 1e30: products and quotients of a few stay finite).

        Raises:
            InvalidModelFileError: it is missing, or no such number.
        """
        value = self.value(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < 1e30:
            raise self.bad(key, value)
        return float(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false.

        Raises:
            InvalidModelFileError: it is something else.
        """
        value = self.value(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.bad(key, value)
        return value

    def one_of(self, key: str, default: str, known: Iterable[str]) -> str:
        """A word that this engine knows.

        Raises:
            UnsupportedModelError: another word.
        """
        value = self.value(key)
        known = tuple(known)
        if value is None:
            value = default
        if value not in known:
            raise unsupported(
                f"Its setting {self._section}{key} is {short(value)}, and only {_listed(known)} is known."
            )
        return str(value)

    def refuse_unless(self, key: str, *harmless: object) -> None:
        """Takes a key of which only these values (and null) change nothing.

        Raises:
            UnsupportedModelError: it has another value.
        """
        value = self.value(key)
        if value is not None and not any(type(value) is type(good) and value == good for good in harmless):
            raise unsupported(f"Its setting {self._section}{key} is {short(value)}, which is not supported.")

    def finish(self) -> None:
        """Refuses keys that were not taken, unless they say nothing or are known not to matter.

        Raises:
            UnsupportedModelError: such a key; one that we do not know may change the result without a sign.
        """
        for key, value in self._config.items():
            if key in self._taken or key in _HARMLESS or _HARMLESS_PATTERNS.fullmatch(key):
                continue
            if value is None or value is False or value in ([], {}, ""):
                continue
            raise unsupported(f"It has a setting {self._section}{key}, which is not known here: {short(value)}.")

    def bad(self, key: str, value: object) -> InvalidModelFileError:
        """The error for a value that makes no sense."""
        if value is None:
            return damaged(f"Its setting {self._section}{key} is missing.")
        return damaged(f"Its setting {self._section}{key} makes no sense: {short(value)}.")


def short(value: object) -> str:
    """A value for a sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])}, or {words[-1]}"
