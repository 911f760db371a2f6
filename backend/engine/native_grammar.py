"""Grammars for the native engine: llama.cpp's own sampler over a vocabulary without a model.

llama.cpp follows a grammar token by token and needs only the bytes of each token and which tokens end a text. Both are
written into a GGUF file without weights, spelled as a byte-level vocabulary whatever the model's own spelling is, and
loaded as "vocabulary only". The file is gone afterwards. 49,000 tokens take 60 ms and 14 MB, once for each model that
is asked for a format; an own matcher in Python would take that for every few tokens.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from backend.api.errors import GrammarError
from backend.engine.llama_cpp import LlamaCppGrammar
from backend.engine.llama_library import library, log_tail
from backend.engine.tokenizing.spelling import to_letters

__all__ = ["GrammarVocabulary"]

_STRING, _UINT32, _INT32, _ARRAY = 8, 4, 5, 9
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
#: control tokens of these names end a text for llama.cpp; no known model has more than six
_END_NAMES = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<EOT>",
)


class _Vocabulary(Protocol):
    """What is needed of a tokenizer."""

    @property
    def ends(self) -> frozenset[int]: ...
    def piece(self, token: int) -> bytes: ...


class GrammarVocabulary:
    """A vocabulary that grammars can be followed over.

    Args:
        tokenizer: gives pieces and ends.
        n_vocab: rows of logits; tokens beyond the tokenizer's stand for no text and are never allowed.

    Raises:
        GrammarError: llama.cpp does not take it.
    """

    def __init__(self, tokenizer: _Vocabulary, n_vocab: int) -> None:
        self._lib = lib = library()
        pieces = [tokenizer.piece(token) for token in range(n_vocab)]
        raw = _vocabulary_file(pieces, sorted(end for end in tokenizer.ends if end < n_vocab))
        log_tail.clear()
        with tempfile.TemporaryDirectory(prefix="nutshell-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "vocabulary.gguf"
            path.write_bytes(raw)
            parameters = lib.llama_model_default_params()
            parameters.vocab_only = True
            parameters.use_mmap = False  # Windows does not delete a file that is mapped
            self._model: Any = lib.llama_model_load_from_file(str(path).encode(), parameters)
        if not self._model:
            raise GrammarError(
                "This model cannot follow a required format.",
                why="Its vocabulary cannot be given to the part that follows grammars.",
                remedy="Ask without a format, or use another model.",
                details=log_tail.errors(),
            )

    def grammar(self, gbnf: str) -> LlamaCppGrammar:
        """See `Model.grammar`."""
        return LlamaCppGrammar(self._lib.llama_model_get_vocab(self._model), gbnf)

    def close(self) -> None:
        """Frees it; its grammars must be closed before."""
        if self._model:
            self._lib.llama_model_free(self._model)
            self._model = None


def _vocabulary_file(pieces: list[bytes], ends: list[int]) -> bytes:
    """A GGUF file without tensors.

    Tokens without text are marked as unused, which no grammar allows; so is the second of two tokens with the same
    text, for a vocabulary has every text once.
    """
    named = dict(zip(ends, _END_NAMES, strict=False))
    seen = {name.encode() for name in _END_NAMES}
    names, kinds = [], []
    for token, piece in enumerate(pieces):
        usable = bool(piece) and piece not in seen and token not in named
        seen.add(piece)
        names.append(to_letters(piece) if usable else named.get(token, f"<unused {token}>"))
        kinds.append(_NORMAL if usable else _CONTROL if token in named else _UNUSED)
    entries = [
        _text("general.architecture", "llama"),
        _text("tokenizer.ggml.model", "gpt2"),
        _text("tokenizer.ggml.pre", "gpt-2"),
        _texts("tokenizer.ggml.tokens", names),
        _key("tokenizer.ggml.token_type", _ARRAY) + struct.pack(f"<IQ{len(kinds)}i", _INT32, len(kinds), *kinds),
        _texts("tokenizer.ggml.merges", ["a b"]),
        *(
            _key(f"tokenizer.ggml.{name}_token_id", _UINT32) + struct.pack("<I", end)
            for name in ("bos", "eos")
            for end in ends[:1]
        ),
    ]
    return struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)) + b"".join(entries)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _key(name: str, kind: int) -> bytes:
    return _string(name) + struct.pack("<I", kind)


def _text(name: str, value: str) -> bytes:
    return _key(name, _STRING) + _string(value)


def _texts(name: str, values: Iterable[str]) -> bytes:
    items = [_string(value) for value in values]
    return _key(name, _ARRAY) + struct.pack("<IQ", _STRING, len(items)) + b"".join(items)
