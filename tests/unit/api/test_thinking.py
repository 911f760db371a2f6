"""Where a thought ends and the answer begins, also while both are still arriving."""

from __future__ import annotations

from itertools import pairwise

import pytest

from backend.api.thinking import split_thought, without_thought


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("plain", None, "plain"),
        ("<think>\nhm\n</think>\n\nyes", "hm", "yes"),
        ("\n<think>hm</think>yes", "hm", "yes"),
        ("<thinking>hm</thinking>yes", "hm", "yes"),
        ("<think>\n\n</think>\n\nyes", "", "yes"),
        ("hm hm\n</think>\n\nyes", "hm hm", "yes"),
        ("Write `<think>` and `</think>` so.", None, "Write `<think>` and `</think>` so."),
        ("The tag <think> opens,\n</think>\ncloses", None, "The tag <think> opens,\n</think>\ncloses"),
        ("<think>a</think>b<think>c</think>d", "a", "b<think>c</think>d"),
        ("<think>never ended", "never ended", ""),
        ("", None, ""),
    ],
)
def test_parts(text: str, thought: str | None, answer: str) -> None:
    parts = split_thought(text)
    assert (parts.thought, parts.answer) == (thought, answer)


def test_no_piece_of_a_tag_is_ever_shown() -> None:
    whole = "<think>\nI wonder </thin air\n</think>\n\nIt is <b>so</b>."
    seen = [split_thought(whole[:n], streaming=True) for n in range(len(whole) + 1)]
    for n, parts in enumerate(seen):
        assert "<think" not in parts.answer + (parts.thought or ""), n
        assert "</think" not in parts.answer, n
        assert not parts.answer or "It is <b>so</b>.".startswith(parts.answer), n
    assert [p.closed for p in seen].count(True) > 10
    assert seen[-1].answer == "It is <b>so</b>."
    thoughts = [p.thought for p in seen if p.thought]
    assert all(b.rstrip().startswith(a.rstrip()) for a, b in pairwise(thoughts))


def test_what_is_sent_back_has_no_thought() -> None:
    assert without_thought("<think>a</think>b") == "b"
    assert without_thought("<think>a") == "<think>a"
    assert without_thought("b") == "b"
