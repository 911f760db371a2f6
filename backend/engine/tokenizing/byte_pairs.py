"""A byte-level `tokenizer.json`, its vocabulary and merges held by our own code: 7 MB where the library takes 47.

The library keeps what is intricate: special tokens, normalisation, the expressions that cut words. It is given a
vocabulary of the 256 letters and the special tokens, so that it gives back the letters of every word. Here they are
joined.
"""

from __future__ import annotations

from operator import add
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from backend.engine.tokenizing.spelling import byte_letters

__all__ = ["BytePairVocabulary", "split_file"]

#: of a model part that the joining below follows; each must be absent or have this value
_PLAIN: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0.0),
    "unk_token": (None, ""),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "fuse_unk": (False, True),
    "byte_fallback": (False,),
}
#: numbers up to so many times the entries: a vocabulary may have holes, but not be one
_SPREAD = 2


class _Added(msgspec.Struct):
    id: int
    content: str


class _Model(msgspec.Struct, gc=False):
    type: str
    vocab: dict[str, int]
    merges: list[tuple[str, str] | str]
    ignore_merges: bool = False


class BytePairVocabulary:
    """All tokens of a byte-level BPE.

    Args:
        vocab: tokens as letters, and their numbers.
        merges: pairs of tokens, the first joined first.
        whole_words: a word that is a token is taken as it is.
        extra: special tokens that are not in `vocab`; they have the numbers behind it.

    Attributes:
        size: tokens, the special ones included.

    Raises:
        KeyError, ValueError, ImportError: the library must read it, or refuse it.
    """

    def __init__(
        self, vocab: dict[str, int], merges: list[tuple[str, str] | str], *, whole_words: bool, extra: int
    ) -> None:
        from kernels.cpu import _native

        count = 1 + max(vocab.values())
        if min(vocab.values()) < 0 or count > _SPREAD * len(vocab) or len(set(vocab.values())) != len(vocab):
            raise ValueError("numbers of its own")
        count += extra
        texts = [b""] * count
        for text, number in vocab.items():
            texts[number] = text.encode()
        self.size = len(vocab) + extra
        self._letters = b"".join(texts)
        self._offsets = np.zeros(count + 1, np.uint32)
        np.cumsum(np.fromiter(map(len, texts), np.uint32, count), out=self._offsets[1:])
        del texts
        left, right = list(zip(*map(_pair, merges), strict=True)) or ((), ())
        joins = np.empty((len(merges), 3), np.int32)
        for column, parts in enumerate((left, right, map(add, left, right))):
            joins[:, column] = np.fromiter(map(vocab.__getitem__, parts), np.int32, len(merges))
        self._native = _native.BytePairs(
            np.frombuffer(self._letters, np.uint8), self._offsets, joins, whole_words
        )  # it looks into the two arrays, and copies the third

    def join(self, letters: npt.NDArray[np.int32], words: npt.NDArray[np.int32]) -> list[int]:
        """The tokens of letters (n,), given as tokens; those with the same number in `words` (n,) are one word."""
        return self._native.encode(letters, words)

    def text_of(self, token: int) -> str:
        """A token as letters; "" where there is none."""
        if not 0 <= token < len(self._offsets) - 1:
            return ""
        return self._letters[self._offsets[token] : self._offsets[token + 1]].decode()

    def id_of(self, text: str) -> int | None:
        """The token with these letters. It searches all of them: half a millisecond."""
        raw = text.encode("utf-8", "replace")
        at = self._letters.find(raw) if raw else -1
        while at >= 0:
            token = int(np.searchsorted(self._offsets, at, "right")) - 1
            if self._offsets[token] == at and self._offsets[token + 1] == at + len(raw):
                return token
            at = self._letters.find(raw, at + 1)
        return None


def split_file(raw: bytes) -> tuple[bytes, BytePairVocabulary] | None:
    """A tokenizer.json without its vocabulary and merges, for the library; and these.

    None: it is not of this kind, or something about it is unusual, or it is damaged: the library must read the whole.
    """
    try:
        parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        plain = msgspec.json.decode(parts["model"], type=dict[str, msgspec.Raw])
        for name, usual in _PLAIN.items():
            if name in plain and msgspec.json.decode(plain[name]) not in usual:
                return None
        model = msgspec.json.decode(parts["model"], type=_Model)
        added = msgspec.json.decode(parts.get("added_tokens", msgspec.Raw(b"[]")), type=list[_Added])
        vocab = model.vocab
        if model.type != "BPE" or not _is_byte_level(parts):
            return None
        letters = {letter: vocab[letter] for letter in byte_letters()}
        if len({token.content for token in added}) < len(added) or not _numbered(added, vocab):
            return None
        extra = sum(token.content not in vocab for token in added)
        held = BytePairVocabulary(vocab, model.merges, whole_words=model.ignore_merges, extra=extra)
    except (ImportError, KeyError, ValueError, TypeError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    small = {"type": "BPE", "vocab": {**letters, **{token.content: token.id for token in added}}, "merges": []}
    parts["model"] = msgspec.Raw(msgspec.json.encode(small))
    return msgspec.json.encode(parts), held


def _pair(merge: tuple[str, str] | str) -> tuple[str, ...]:
    return tuple(merge.split(" ")) if isinstance(merge, str) else merge


def _is_byte_level(parts: dict[str, msgspec.Raw]) -> bool:
    """Whether words are cut by what leaves nothing but letters, and letters are what is decoded."""
    cutting = _types(msgspec.json.decode(parts.get("pre_tokenizer", msgspec.Raw(b"null"))))
    decoder = _types(msgspec.json.decode(parts.get("decoder", msgspec.Raw(b"null"))))
    known = {"Sequence", "Split", "Digits", "Punctuation", "ByteLevel"}
    return "ByteLevel" in cutting and cutting <= known and decoder <= {"ByteLevel", "Sequence"}


def _types(part: Any) -> set[str]:
    """The types of a part and of those that it is made of."""
    found: set[str] = set()
    pending = [part]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("type"), str):
                found.add(item["type"])
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    return found


def _numbered(added: list[_Added], vocab: dict[str, int]) -> bool:
    """Whether the library gives the special tokens the numbers that stand in the file.

    It takes those of the vocabulary, and counts on from the vocabulary's size for the others.
    """
    behind = len(vocab) if len(vocab) == 1 + max(vocab.values()) else -1
    for token in added:
        if not token.content:
            return False
        if token.content in vocab:
            if vocab[token.content] != token.id:
                return False
        elif token.id == behind:
            behind += 1
        else:
            return False
    return True
