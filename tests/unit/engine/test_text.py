"""What may be shown of a stream of token bytes."""

from __future__ import annotations

import pytest

from backend.engine.text import TextStream


def shown(pieces: list[bytes], stop: list[str]) -> tuple[list[str], TextStream]:
    stream = TextStream(stop)
    return [*(stream.push(piece) for piece in pieces), stream.finish()], stream


def test_a_split_character_waits_for_its_last_byte() -> None:
    parts, _ = shown([b"caf", b"\xc3", b"\xa9 \xf0\x9f", b"\x98\x80"], [])
    assert parts == ["caf", "", "é ", "😀", ""]


def test_an_unfinished_character_becomes_a_replacement() -> None:
    parts, _ = shown([b"a\xe2\x82"], [])
    assert parts == ["a", "�"]


def test_a_stop_string_over_several_tokens_is_never_shown() -> None:
    parts, stream = shown([b"one ", b"E", b"N", b"D two"], ["END"])
    assert "".join(parts) == "one "
    assert stream.stopped


def test_text_that_only_looked_like_a_stop_string_comes_out() -> None:
    parts, stream = shown([b"E", b"N", b"X"], ["END"])
    assert parts == ["", "", "ENX", ""]
    assert not stream.stopped


def test_held_text_comes_out_at_the_end() -> None:
    parts, _ = shown([b"go EN"], ["END"])
    assert "".join(parts) == "go EN"


def test_the_earliest_of_several_stop_strings_wins() -> None:
    parts, _ = shown([b"a ### b END"], ["END", "###"])
    assert "".join(parts) == "a "


@pytest.mark.parametrize("cut", range(1, 12))
def test_any_cut_of_the_bytes_gives_the_same_text(cut: int) -> None:
    raw = "naïve — END of 日本".encode()
    pieces = [raw[i : i + cut] for i in range(0, len(raw), cut)]
    assert "".join(shown(pieces, ["XYZ"])[0]) == raw.decode()
    assert "".join(shown(pieces, ["END"])[0]) == "naïve — "
