"""Questions after an answer: what is taken from a model's words, and that they never stand in anybody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from backend.api.schemas import Completion, Conversation, Sampling, StartTurn
from backend.chat.follow_ups import questions_in
from backend.engine.worker import GenerationDone
from tests.fakes.models import END, FakeModel, as_bytes, scripted
from tests.unit.chat.test_service import Desk, at_a_desk


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1. What is it?\n2. Who made it?\n3. When?\n4. Why?", ["What is it?", "Who made it?", "When?"]),
        ('- **How far is it?**\n* "How long?"\n\u2022 Q1: How?', ["How far is it?", "How long?", "How?"]),
        ("Here are three questions:\nWhat is it?\nWhat is it?", ["What is it?"]),
        ("I cannot do that.", []),
        ("?\nA?\n" + "w" * 200 + "?", []),
        ("\u4f55\u304c\u6b21\u3067\u3059\u304b\uff1f", ["\u4f55\u304c\u6b21\u3067\u3059\u304b\uff1f"]),
        ("", []),
    ],
)
def test_questions_are_found_among_the_words(text: str, found: list[str]) -> None:
    assert questions_in(text) == found


class Speaker:
    """Answers with one text, and with another where questions are wished for; `begun` is set by the latter's start.

    Slowly, because it is to be interrupted.
    """

    def __init__(self, answer: str, questions: str) -> None:
        self._texts = answer.encode(), questions.encode()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.begun = asyncio.Event()
        self.model = FakeModel(self._following, n_ctx=4096, delay_s=0.02)

    def listen(self) -> None:
        self._loop = asyncio.get_running_loop()

    def _following(self, tokens: Sequence[int]) -> int:
        before, _, said = as_bytes(tokens).rpartition(b"assistant\n")
        wished = b"three short questions" in before.rpartition(b"user\n")[2]
        if wished and self._loop is not None:
            self._loop.call_soon_threadsafe(self.begun.set)
        text = self._texts[wished]
        return text[len(said)] if len(said) < len(text) else END


def test_the_model_is_asked_behind_its_answer(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        answer = await desk.ask(conversation, "Tell me of the sea.")
        assert answer.content == "It is wide."
        assert await desk.chat.follow_ups(conversation.id) == ["How wide?", "How deep?"]
        # nothing of it is in the conversation
        assert [m.content for m in desk.store.branch(answer.id)] == ["Tell me of the sea.", "It is wide."]

    at_a_desk(tmp_path, Speaker("It is wide.", "1. How wide?\n2. How deep?").model, test)


def test_nothing_is_suggested_where_there_is_no_answer(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        assert await desk.chat.follow_ups(conversation.id) == []

    at_a_desk(tmp_path, scripted("x"), test)


def test_a_turn_does_not_wait_for_suggestions(tmp_path: Path) -> None:
    speaker = Speaker("It is wide.", "How?" * 100)

    async def test(desk: Desk, conversation: Conversation) -> None:
        speaker.listen()
        answer = await desk.ask(conversation, "Tell me of the sea.")
        wanted = asyncio.create_task(desk.chat.follow_ups(conversation.id))
        await speaker.begun.wait()
        ticket = await desk.chat.start_turn(conversation.id, StartTurn(text="And the land?", parent_id=answer.id))
        assert await wanted == []
        assert (await desk.ended(ticket.assistant.id)).status == "complete"

    at_a_desk(tmp_path, speaker.model, test)


def test_typing_ends_them(tmp_path: Path) -> None:
    speaker = Speaker("It is wide.", "How?\n" * 100)

    async def test(desk: Desk, conversation: Conversation) -> None:
        speaker.listen()
        await desk.ask(conversation, "Tell me of the sea.")
        wanted = asyncio.create_task(desk.chat.follow_ups(conversation.id))
        await speaker.begun.wait()
        desk.chat.end_follow_ups()
        assert await wanted == []
        assert not desk.engine.busy

    at_a_desk(tmp_path, speaker.model, test)


def test_any_other_answer_ends_what_yields(tmp_path: Path) -> None:
    async def test(desk: Desk, _conversation: Conversation) -> None:
        first = desk.engine.generate(Completion(prompt="a", sampling=Sampling(max_tokens=90)), yielding=True)
        second = desk.engine.generate(Completion(prompt="b", sampling=Sampling(max_tokens=3)))
        ends = []
        for generation in (first, second):
            items = [item async for item in generation]
            ends += [item.stats.finish_reason for item in items if isinstance(item, GenerationDone)]
        assert first.cancelled()
        assert not second.cancelled()
        assert ends == ["cancelled", "length"]

    at_a_desk(tmp_path, FakeModel(lambda tokens: 97, n_ctx=4096, delay_s=0.02), test)
