"""The vocabulary in a GGUF header: whether the engine can load it and encode any text with it."""

from __future__ import annotations

from backend.api.errors import UnsupportedModelError
from backend.formats.gguf_cursor import damaged, split_strings
from backend.formats.gguf_header import GGUFHeader
from backend.formats.gguf_tables import CHAT_TOKENIZERS, ValueType

__all__ = ["check_vocabulary"]

_PREFIX = "tokenizer.ggml."
#: fewer tokens than this cannot hold the engine's default start and end tokens (number 11)
_FEWEST = 16


def check_vocabulary(header: GGUFHeader) -> None:
    """Checks tokens, their scores and types, special tokens, and the weights that have one row per token.

    Raises:
        InvalidModelFileError: these contradict each other.
        UnsupportedModelError: no vocabulary, or one of a kind that chat models do not have.
    """
    kind = header.metadata.get(_PREFIX + "model")
    if kind is None or kind in ("no_vocab", "none"):
        raise UnsupportedModelError(
            "This model has no vocabulary.",
            why="Without one, text cannot be turned into what the model reads.",
            remedy="Choose another file of this model.",
        )
    if kind not in CHAT_TOKENIZERS:
        raise UnsupportedModelError(
            "This model has a vocabulary that cannot be used for chat.",
            why=f"It is of the kind called {str(kind)[:40]!r}.",
            remedy="Look for a newer version of Nutshell, or choose another model.",
        )
    tokens = _tokens(header)
    count = len(tokens)
    if count < _FEWEST:
        raise damaged("Its vocabulary is almost empty.", f"{count} tokens")
    distinct = _check_distinct(tokens)
    if kind == "llama":
        _check_bytes(distinct)
    if kind in ("gpt2", "gemma4"):
        _list(header, "merges", (ValueType.STRING,), None, required=True)
    _list(header, "scores", (ValueType.FLOAT32, ValueType.INT32), count)
    _list(header, "token_type", (ValueType.INT32,), count)
    for name in ("bos", "eos", "eot", "eom"):
        value = header.metadata.get(f"{_PREFIX}{name}_token_id", 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
            raise damaged("One of its special tokens is not in its vocabulary.", f"{name} is {value!r} of {count}")
    for tensor in header.tensors:
        if tensor.name in ("token_embd.weight", "output.weight") and tensor.shape[1:2] != (count,):
            raise damaged("Its weights do not fit its vocabulary.", f"{tensor}, {count} tokens")


def _list(header: GGUFHeader, name: str, kinds: tuple[int, ...], count: int | None, *, required: bool = False) -> None:
    """Checks a list of the tokenizer: its element type, and that it has one element for each token."""
    if _PREFIX + name not in header.metadata and not required:
        return
    array = header.arrays.get(_PREFIX + name)
    if array is None:
        raise damaged("Its vocabulary is not complete.", f"{name} is not a list")
    if array.element_type not in kinds or (count is not None and array.count != count):
        raise damaged("Its vocabulary contradicts itself.", f"{name}: {array}, {count} tokens")


def _tokens(header: GGUFHeader) -> list[bytes]:
    _list(header, "tokens", (ValueType.STRING,), None, required=True)
    array = header.arrays[_PREFIX + "tokens"]
    return split_strings(header.buffer, array.offset, array.count)


def _check_distinct(tokens: list[bytes]) -> set[bytes]:
    """llama.cpp asserts that no two tokens have the same text.

    It cuts a token at a zero byte, and names an empty one by its number.
    """
    distinct = set(tokens)
    if b"" in distinct or b"\0" in b"".join(tokens):
        cut = (token.partition(b"\0")[0] for token in tokens)
        distinct = {token or b"[EMPTY_%d]" % number for number, token in enumerate(cut)}
    if len(distinct) != len(tokens):
        raise damaged("Its vocabulary has the same token twice.", f"{len(tokens) - len(distinct)} repeated")
    return distinct


def _check_bytes(tokens: set[bytes]) -> None:
    """A vocabulary of the Llama kind spells what it does not know in bytes; a missing one ends the engine's process."""
    missing = [byte for byte in range(256) if b"<0x%02X>" % byte not in tokens and bytes((byte,)) not in tokens]
    if missing:
        raise damaged("Its vocabulary cannot spell every text.", f"bytes without a token: {missing[:16]}")
