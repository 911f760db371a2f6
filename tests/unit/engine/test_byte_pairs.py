"""Our joining of byte pairs against the `tokenizers` library, which reads the same tokenizer.json as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine.tokenizing import HfTokenizer
from backend.engine.tokenizing.byte_pairs import split_file
from backend.engine.tokenizing.spelling import byte_letters

pytest.importorskip("kernels.cpu", reason="the native kernels are not built")
tokenizers = pytest.importorskip("tokenizers")

LETTERS = byte_letters()
#: "abc" is made in two ways, so that which pair is joined first is seen; "cab" is a token that no merge makes
MERGES = ["a b", "b c", "ab c", "a bc", "abc abc", "Ġ a", "Ġa b", "c a", "b b", "bb bb", "Ã ©", "Ġ Ġ"]
WORDS = [merge.replace(" ", "") for merge in MERGES]
VOCAB = {text: number for number, text in enumerate(dict.fromkeys([*LETTERS, *WORDS, "cabbage"]))}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def special(content: str, number: int, **more: Any) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": True, **more}


def file(*, added: list[dict[str, Any]] | None = None, **model: Any) -> bytes:
    """A tokenizer.json."""
    plain = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special("<end>", len(VOCAB))] if added is None else added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": model.pop("pre_tokenizer", BYTE_LEVEL),
        "post_processor": None,
        "decoder": BYTE_LEVEL,
        "model": {**plain, "vocab": VOCAB, "merges": MERGES, **model},
    }
    return json.dumps(value).encode()


def same(raw: bytes, text: str) -> None:
    whole = tokenizers.Tokenizer.from_str(raw.decode())
    ours = HfTokenizer({"tokenizer.json": raw}, {})
    assert ours.n_vocab == whole.get_vocab_size(with_added_tokens=True)
    for control in (True, False):
        whole.encode_special_tokens = not control
        assert ours.encode(text, special=control) == whole.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("whole_words", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
@given(parts=st.lists(st.sampled_from([*"abc é\n日", "abc", "cabbage", "<end>", "e\u0301"]), max_size=40))
@settings(max_examples=60, deadline=None)
def test_words_are_joined_as_the_library_joins_them(whole_words: bool, pairs: bool, parts: list[str]) -> None:
    merges = [merge.split(" ") for merge in MERGES] if pairs else MERGES
    raw = file(ignore_merges=whole_words, merges=merges)
    assert split_file(raw) is not None
    same(raw, "".join(parts))


@given(merges=st.lists(st.tuples(*[st.sampled_from([*"abcd", "ab", "bc", "cd", "abc", "bcd"])] * 2), max_size=12))
@settings(max_examples=80, deadline=None)
def test_any_merges_are_followed_as_the_library_follows_them(merges: list[tuple[str, str]]) -> None:
    words = [*LETTERS, "ab", "bc", "cd", "abc", "bcd", *(left + right for left, right in merges)]
    vocab = {text: number for number, text in enumerate(dict.fromkeys(words))}
    raw = file(vocab=vocab, merges=merges, added=[])
    assert split_file(raw) is not None
    same(raw, "abcdabcd abccd bbcdab dcba aabbccdd " * 2)


def test_a_long_word_is_joined() -> None:
    same(file(pre_tokenizer={**BYTE_LEVEL, "use_regex": False}), "abcab" * 20_000)


def test_every_token_is_found_by_its_number_and_by_its_text() -> None:
    ours = HfTokenizer({"tokenizer.json": file()}, {})
    for text, number in {**VOCAB, "<end>": len(VOCAB)}.items():
        assert (ours.text_of(number), ours.id_of(text)) == (text, number)
    assert ours.text_of(len(VOCAB) + 1) == ours.text_of(-1) == ""
    assert ours.id_of("cabb") is ours.id_of("") is None
    assert ours.is_special(len(VOCAB))
    assert ours.piece(len(VOCAB)) == b""
    assert ours.piece(VOCAB["Ġab"]) == b" ab"


@pytest.mark.parametrize(
    "raw",
    [
        file(added=[special("<end>", len(VOCAB) + 3)]),  # the library gives it another number
        file(added=[special("cabbage", 5)]),
        file(added=[special("<a>", len(VOCAB)), special("<a>", len(VOCAB) + 1)]),
        file(byte_fallback=True),
        file(end_of_word_suffix="</w>"),
        file(pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}),
        file(vocab={**VOCAB, "far": 1 << 30}),
        file(vocab={text: number for text, number in VOCAB.items() if text != "!"}, added=[]),
    ],
)
def test_what_is_unusual_is_left_to_the_library(raw: bytes) -> None:
    assert split_file(raw) is None
    same(raw, "a cabbage! <end>")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        file()[:-9],
        file(merges=["a b c"]),
        file(merges=["a zebra"]),
        file(merges=[["a"]]),
        file(merges=3),
        file(vocab=[]),
        file(vocab={}, added=[]),
        file(vocab={**VOCAB, "x y": -1}),
        file(vocab={**VOCAB, "x y": 3}),
        file(vocab={**VOCAB, "x y": 1.5}),
        file(type="Unigram"),
        b'{"model":' + b"[" * 100_000,
    ],
)
def test_what_is_damaged_is_left_to_the_library(raw: bytes) -> None:
    assert split_file(raw) is None
