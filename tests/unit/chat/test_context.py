"""What of a conversation is shown to the model. A message costs its length here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backend.api.errors import ContextOverflowError
from backend.api.schemas import ContextCut, ContextPolicy, Message
from backend.chat.context import answer_reserve, fit


def branch(*sizes: int) -> list[Message]:
    """Alternating user and assistant messages of these sizes, ids m0, m1, ..."""
    return [
        Message(
            id=f"m{i}", conversation_id="c", parent_id=None, role="assistant" if i % 2 else "user", content="x" * size
        )
        for i, size in enumerate(sizes)
    ]


async def measure(messages: Sequence[Message]) -> int:
    return sum(len(m.content) for m in messages)


def cut(
    messages: list[Message], room: int, policy: ContextPolicy, previous: ContextCut | None = None
) -> tuple[list[str], ContextCut | None]:
    kept, where = asyncio.run(fit(messages, policy=policy, room=room, measure=measure, previous=previous))
    return [m.id for m in kept], where


def test_what_fits_is_not_cut() -> None:
    assert cut(branch(10, 10, 10), 30, "drop_oldest") == (["m0", "m1", "m2"], None)


def test_stop_refuses_with_both_numbers() -> None:
    with pytest.raises(ContextOverflowError, match=r"31 tokens.*30 fit"):
        cut(branch(10, 11, 10), 30, "stop")


def test_drop_oldest_drops_whole_turns_down_to_70_percent() -> None:
    kept, where = cut(branch(10, 10, 10, 10, 10, 10, 10), 65, "drop_oldest")
    assert kept == ["m4", "m5", "m6"], "30 of 45 allowed after the cut; dropping one turn would leave 50"
    assert where == ContextCut(policy="drop_oldest", dropped=["m0", "m1", "m2", "m3"], first_kept="m4")


def test_drop_middle_keeps_the_first_turn() -> None:
    kept, where = cut(branch(10, 10, 10, 10, 10, 10, 10), 65, "drop_middle")
    assert kept == ["m0", "m1", "m6"]
    assert where is not None
    assert where.dropped == ["m2", "m3", "m4", "m5"]
    assert where.first_kept == "m6"


def test_drop_middle_gives_up_a_first_turn_that_fills_the_window() -> None:
    kept, where = cut(branch(60, 20, 10, 10, 10), 65, "drop_middle")
    assert kept == ["m4"]
    assert where is not None
    assert where.dropped == ["m0", "m1", "m2", "m3"]


def test_more_is_kept_when_70_percent_cannot_be_reached() -> None:
    kept, _ = cut(branch(30, 30, 60), 65, "drop_oldest")
    assert kept == ["m2"]


def test_the_last_user_message_is_never_dropped() -> None:
    with pytest.raises(ContextOverflowError, match=r"Your message is 80 tokens long; 65 fit"):
        cut(branch(10, 10, 80), 65, "drop_oldest")
    with pytest.raises(ContextOverflowError, match="Your message is 80"):
        cut(branch(80), 65, "drop_middle")


def test_the_cut_of_the_last_answer_serves_while_it_fits() -> None:
    messages = branch(10, 10, 10, 10, 10, 10, 10)
    _, first = cut(messages, 65, "drop_oldest")
    messages += branch(*[0] * 7, 10, 10)[7:]
    kept, again = cut(messages, 65, "drop_oldest", first)
    assert kept == ["m4", "m5", "m6", "m7", "m8"]
    assert again == first, "nothing moved, so the cached prefix still serves"


def test_another_policy_cuts_anew() -> None:
    messages = branch(10, 10, 10, 10, 10, 10, 10)
    _, first = cut(messages, 65, "drop_oldest")
    kept, _ = cut(messages, 65, "drop_middle", first)
    assert kept[0] == "m0"


def test_the_answer_keeps_a_quarter_free_or_what_it_may_need() -> None:
    assert answer_reserve(8192, None) == 2048
    assert answer_reserve(8192, 100) == 100
    assert answer_reserve(8192, 100_000) == 2048
