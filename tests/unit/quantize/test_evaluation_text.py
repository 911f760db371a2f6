from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import InvalidRequestError
from backend.quantize.evaluation_text import EvaluationText, cut, read_text, tokenizer_of


class Letters:
    """A token for each byte, and token 256 at the beginning if `start`."""

    def __init__(self, start: bool = False) -> None:
        self.start = [256] * start

    def encode(self, text: str, *, special: bool) -> list[int]:
        return [*self.start, *text.encode()]

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""

    def is_end(self, token: int) -> bool:
        return False


TEXT = EvaluationText("letters", "".join(chr(97 + i % 26) for i in range(1000)))


@pytest.mark.parametrize("start", [False, True])
def test_contexts_are_spread_evenly(start: bool) -> None:
    found = cut(TEXT, Letters(start), tokens=350, length=100, unscored=25)
    assert found.tokens.shape == (3, 100)
    assert found.scored == 74
    assert found.bytes == 3 * 74  # one byte for each
    if start:
        assert (found.tokens[:, 0] == 256).all()
    body = found.tokens[:, int(start) :]
    first = [TEXT.content.encode().find(bytes(row.tolist())[:26]) for row in body]
    assert first[0] == 0
    assert bytes(body[-1].tolist()) == TEXT.content.encode()[-len(body[-1]) :]
    assert (np.diff(body, axis=1) % 26 == 1).all()  # each is one piece of the text


def test_contexts_do_not_overlap() -> None:
    text = EvaluationText("numbers", "".join(chr(i) for i in range(100)))
    found = cut(text, Letters(), tokens=10_000, length=9, unscored=0)
    seen = found.tokens.reshape(-1).tolist()
    assert len(seen) == len(set(seen)) == 99


def test_at_least_one_context() -> None:
    assert cut(TEXT, Letters(), tokens=1, length=1000, unscored=0).tokens.shape == (1, 1000)


def test_too_short() -> None:
    with pytest.raises(InvalidRequestError, match=r"too short.*1,000 tokens.*1,001"):
        cut(TEXT, Letters(), tokens=5000, length=1001, unscored=0)


@pytest.mark.parametrize("unscored", [-1, 99, 200])
def test_something_is_scored(unscored: int) -> None:
    with pytest.raises(ValueError, match="unscored"):
        cut(TEXT, Letters(), tokens=5000, length=100, unscored=unscored)


def test_digests_tell_contexts_apart() -> None:
    one = cut(TEXT, Letters(), tokens=300, length=100, unscored=25)
    others = [
        cut(TEXT, Letters(), tokens=300, length=100, unscored=24),
        cut(TEXT, Letters(), tokens=200, length=100, unscored=25),
        cut(EvaluationText("letters", TEXT.content[1:]), Letters(), tokens=300, length=100, unscored=25),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_files(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_bytes("Grüße\n".encode())
    assert read_text(tmp_path / "good.txt") == EvaluationText("good.txt", "Grüße\n")
    (tmp_path / "bad.bin").write_bytes(b"ab\0c")
    with pytest.raises(InvalidRequestError, match="not text"):
        read_text(tmp_path / "bad.bin")
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            read_text(path)


def test_the_tokenizer_of_a_model(tiny_gguf: Path, tiny_pack: Path) -> None:
    texts = [tokenizer_of(path).encode("the storm", special=False) for path in (tiny_gguf, tiny_pack)]
    assert texts[0] == texts[1] != []
