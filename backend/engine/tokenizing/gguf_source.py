"""The vocabulary of a GGUF file, written as the files that Hugging Face's tokenizers have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from backend.api.errors import InvalidModelFileError, UnsupportedModelError
from backend.engine.tokenizing.presplit import KINDS, Kind
from backend.engine.tokenizing.spelling import SPACE
from backend.formats.gguf import GGUFHeader, read_header, read_strings
from backend.formats.gguf_tables import SCALAR_FORMATS

__all__ = ["gguf_tokenizer_files"]

_PREFIX = "tokenizer.ggml."
#: tokenizer.ggml.token_type
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_SAMPLING = {"temp": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}


def gguf_tokenizer_files(path: Path) -> dict[str, bytes]:
    """`tokenizer.json`, `tokenizer_config.json` and `generation_config.json` for a model that is a GGUF file.

    Text becomes the same tokens as under llama.cpp: no Unicode normalisation, and spaces as the file asks.

    Raises:
        InvalidModelFileError: damaged, or no GGUF file.
        UnsupportedModelError: a vocabulary or pre-tokenizer of a kind that is not known here; its name is said.
    """
    header = read_header(path, chat=False)
    kind = header.metadata.get(_PREFIX + "model")
    tokens = _unique(_strings(header, "tokens"))
    types = _numbers(header, "token_type", [_NORMAL] * len(tokens))
    if kind == "gpt2":
        pre = str(header.metadata.get(_PREFIX + "pre", "default"))
        if pre not in KINDS:
            raise _unknown(f"It cuts text into words in a way called {pre[:40]!r}.")
        start = KINDS[pre].adds_bos
        rules = _byte_level(header, _vocabulary(tokens, types), KINDS[pre])
    elif kind == "llama":
        start = True
        rules = _sentence_piece(header, tokens, types)
    else:
        raise _unknown(f"It is of the kind called {str(kind)[:40]!r}.")
    return {
        "tokenizer.json": _json(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": _added(tokens, types),
                "post_processor": None,
                **rules,
            }
        ),
        "tokenizer_config.json": _json(_options(header, tokens, start)),
        "generation_config.json": _json(_generation(header)),
    }


def _vocabulary(tokens: list[str], types: list[int]) -> dict[str, int]:
    """Tokens and their numbers; not those that only fill the table up."""
    return {token: number for number, token in enumerate(tokens) if types[number] != _UNUSED}


def _byte_level(header: GGUFHeader, vocabulary: dict[str, int], kind: Kind) -> dict[str, Any]:
    merges = []
    for line in _strings(header, "merges"):
        left, _, right = line.partition(" ")
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            merges.append((left, right))
    splits = [
        {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": False} for cut in kind.cuts
    ]
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, letters]},
        "decoder": letters,
        "model": _model(vocabulary, merges, ignore_merges=kind.whole_words),
    }


def _sentence_piece(header: GGUFHeader, tokens: list[str], types: list[int]) -> dict[str, Any]:
    """A SentencePiece BPE: of all neighbours that make a token, the two that make the one with the best score join."""
    scores = _numbers(header, "scores", [0.0] * len(tokens))
    joinable = {token for token, kind in zip(tokens, types, strict=True) if kind in (_NORMAL, _USER_DEFINED)}
    merges = []
    for number, token in enumerate(tokens):
        if token in joinable:
            for at in range(1, len(token)):
                left, right = token[:at], token[at:]
                if left in joinable and right in joinable:
                    merges.append((-scores[number], number, at, left, right))
    merges.sort()
    start = [{"type": "Prepend", "prepend": SPACE}] if header.metadata.get(_PREFIX + "add_space_prefix", True) else []
    unknown = header.metadata.get(_PREFIX + "unknown_token_id", 0)
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*start, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}],
        },
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if start else []),
            ],
        },
        "model": _model(
            _vocabulary(tokens, types),
            [(left, right) for *_, left, right in merges],
            byte_fallback=True,
            fuse_unk=True,
            unk_token=tokens[unknown] if isinstance(unknown, int) and 0 <= unknown < len(tokens) else None,
        ),
    }


def _model(vocabulary: dict[str, int], merges: list[tuple[str, str]], **more: object) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **more,
        "vocab": vocabulary,
        "merges": merges,
    }


def _added(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    """Tokens that are found in the text before it is cut: control tokens, and those that somebody defined."""
    return [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != _USER_DEFINED,
        }
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if token and kind in (_CONTROL, _UNKNOWN, _USER_DEFINED)
    ]


def _options(header: GGUFHeader, tokens: list[str], start: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        number = header.metadata.get(f"{_PREFIX}{key}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            options[name] = tokens[number]
    adds = header.metadata.get(_PREFIX + "add_bos_token", start)
    options["add_bos_token"] = bool(adds) and "bos_token" in options
    template = header.metadata.get("tokenizer.chat_template")
    if isinstance(template, str):
        options["chat_template"] = template
    return options


def _generation(header: GGUFHeader) -> dict[str, Any]:
    """How an answer ends, and the sampling that the file recommends."""
    ends = [header.metadata.get(f"{_PREFIX}{name}_token_id") for name in ("eos", "eot", "eom")]
    found: dict[str, Any] = {"eos_token_id": sorted({end for end in ends if isinstance(end, int)})}
    bos = header.metadata.get(_PREFIX + "bos_token_id")
    if isinstance(bos, int):
        found["bos_token_id"] = bos
    for name, known in _SAMPLING.items():
        value = header.metadata.get(f"general.sampling.{name}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found[known] = value
    return found


def _strings(header: GGUFHeader, name: str) -> list[str]:
    try:
        return read_strings(header, _PREFIX + name)
    except KeyError:
        raise InvalidModelFileError("This model file is damaged.", why=f"It has no list of {name}.") from None


def _numbers(header: GGUFHeader, name: str, default: list[Any]) -> list[Any]:
    """A list of numbers of the tokenizer, one for each token."""
    array = header.arrays.get(_PREFIX + name)
    if array is None:
        return default
    if array.element_type not in SCALAR_FORMATS:
        raise InvalidModelFileError("This model file is damaged.", why=f"Its list of {name} does not hold numbers.")
    letter, size = SCALAR_FORMATS[array.element_type]
    with header.path.open("rb") as file:
        file.seek(array.offset)
        raw = file.read(array.count * size)
    if len(raw) != array.count * size or array.count != len(default):
        raise InvalidModelFileError("This model file is damaged.", why=f"Its list of {name} is not complete.")
    return list(np.frombuffer(raw, np.dtype(letter).newbyteorder("<")).tolist())


def _unique(tokens: list[str]) -> list[str]:
    """Tokens whose bytes are not UTF-8 may look alike once read; nobody can type the later ones."""
    seen: set[str] = set()
    for number, token in enumerate(tokens):
        if token in seen:
            tokens[number] = f"\ue000{number}"  # a letter for private use
        seen.add(tokens[number])
    return tokens


def _unknown(why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        "This model has a vocabulary that the native engine does not know.",
        why=why,
        remedy="Look for a newer version of Nutshell, or choose another model.",
    )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
