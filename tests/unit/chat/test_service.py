"""Turns over a real store and a fake model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, NoModelError, NotFoundError
from backend.api.schemas import (
    Conversation,
    ConversationUpdate,
    Event,
    LoadModel,
    Message,
    NewConversation,
    Sampling,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
)
from backend.chat.service import Chat
from backend.chat.templates import ChatMessage
from backend.engine.worker import Engine
from backend.storage.store import Store
from tests.fakes.models import END, FakeModel, as_bytes, echo, fake_entry, loader_of, scripted


class Desk:
    """A store, an engine with one model, and everything that was published."""

    def __init__(self, path: Path, model: FakeModel) -> None:
        self.model = model
        self.store = Store.open(path)
        self.engine = Engine(loader_of(lambda: model))
        self.events: list[Event] = []
        self._heard = asyncio.Event()
        self.chat = Chat(self.store, self.engine, self._publish)

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self._heard.set()

    async def until(self, found: Callable[[Event], bool]) -> Event:
        """The first event that matches, waiting for it."""
        while True:
            for event in self.events:
                if found(event):
                    return event
            self._heard.clear()
            await self._heard.wait()

    async def ended(self, message_id: str) -> Message:
        event = await self.until(lambda e: isinstance(e, TurnEnded) and e.message.id == message_id)
        assert isinstance(event, TurnEnded)
        return event.message

    async def ask(self, conversation: Conversation, text: str, parent: str | None = None) -> Message:
        ticket = await self.chat.start_turn(conversation.id, StartTurn(text=text, parent_id=parent))
        return await self.ended(ticket.assistant.id)

    def deltas(self, message_id: str) -> str:
        text = ""
        for event in self.events:
            if isinstance(event, TurnDelta) and event.message_id == message_id:
                assert event.offset == len(text)
                text += event.text
        return text


def at_a_desk(path: Path, model: FakeModel, test: Callable[[Desk, Conversation], Awaitable[None]]) -> None:
    async def run() -> None:
        desk = Desk(path / "chats.db", model)
        await desk.engine.load(fake_entry(), LoadModel(), lambda _: True)
        conversation = desk.store.create_conversation(NewConversation())
        try:
            await asyncio.wait_for(test(desk, conversation), 30)
        finally:
            await desk.chat.close()
            await desk.engine.close()
            desk.store.close()

    asyncio.run(run())


def test_a_turn_is_stored_streamed_and_titled(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        answer = await desk.ask(conversation, "Good morning, world")
        assert answer.content == "Good morning, world"
        assert answer.status == "complete"
        assert desk.deltas(answer.id) == answer.content
        assert answer.stats is not None
        assert answer.stats.finish_reason == "stop"
        assert (answer.stats.sampling, answer.stats.threads) == (Sampling(), 1)
        detail = desk.store.detail(conversation.id)
        assert [(m.role, m.content) for m in detail.messages] == [
            ("user", "Good morning, world"),
            ("assistant", "Good morning, world"),
        ]
        assert detail.conversation.title == "Good morning, world"
        assert detail.conversation.head_id == answer.id
        assert isinstance(desk.events[0], TurnStarted)

    at_a_desk(tmp_path, echo(), test)


def test_what_is_heard_is_on_the_disk_already(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        def check(event: Event) -> None:
            if isinstance(event, TurnDelta):
                stored = desk.store.message(event.message_id).content
                assert stored.startswith(desk.deltas(event.message_id) + event.text)
            desk._publish(event)

        desk.chat._publish = check
        answer = await desk.ask(conversation, "persist me " * 10)
        assert answer.content == "persist me " * 10

    at_a_desk(tmp_path, echo(delay_s=0.001), test)


def test_the_second_turn_prefills_only_what_is_new(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        first = await desk.ask(conversation, "one " * 50)
        second = await desk.ask(conversation, "two", parent=first.id)
        assert first.stats is not None
        assert second.stats is not None
        assert second.stats.cached_tokens >= first.stats.prompt_tokens + first.stats.completion_tokens - 1
        assert second.content == "two"

    at_a_desk(tmp_path, echo(), test)


def test_regenerate_makes_a_sibling_and_editing_a_branch(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        first = await desk.ask(conversation, "a question")
        ticket = await desk.chat.start_turn(conversation.id, StartTurn(parent_id=first.parent_id))
        again = await desk.ended(ticket.assistant.id)
        assert ticket.user is None
        assert again.parent_id == first.parent_id
        assert again.id != first.id
        edited = await desk.ask(conversation, "another question", parent=None)
        roots = [m for m in desk.store.detail(conversation.id).messages if m.parent_id is None]
        assert [m.content for m in roots] == ["a question", "another question"]
        assert edited.content == "another question"

    at_a_desk(tmp_path, echo(), test)


def test_stop_keeps_what_was_written_and_continue_goes_on(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        text = "abcdefghij" * 30
        ticket = await desk.chat.start_turn(conversation.id, StartTurn(text="go"))
        await desk.until(lambda e: isinstance(e, TurnDelta))
        assert desk.chat.cancel(ticket.assistant.id)
        stopped = await desk.ended(ticket.assistant.id)
        assert stopped.status == "stopped"
        assert stopped.stats is not None
        assert stopped.stats.finish_reason == "cancelled"
        assert 0 < len(stopped.content) < len(text)
        assert text.startswith(stopped.content)
        desk.events.clear()
        again = await desk.chat.start_turn(conversation.id, StartTurn(continue_id=stopped.id))
        whole = await desk.ended(again.assistant.id)
        assert whole.id == stopped.id
        assert whole.content == text
        assert whole.status == "complete"
        assert not desk.chat.cancel(whole.id), "it has ended"

    at_a_desk(tmp_path, scripted("abcdefghij" * 30, delay_s=0.002), test)


def test_the_system_prompt_and_the_sampling_of_the_conversation_are_used(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        desk.store.update_conversation(
            conversation.id, ConversationUpdate(system_prompt="Be terse.", sampling=Sampling(max_tokens=3, seed=9))
        )
        answer = await desk.ask(conversation, "hello")
        assert answer.content == "hel"
        assert answer.stats is not None
        assert answer.stats.seed == 9
        assert b"<|im_start|>system\nBe terse.<|im_end|>" in as_bytes(desk.model.cache)

    at_a_desk(tmp_path, echo(), test)


def test_one_answer_at_a_time_in_a_conversation_and_two_conversations_queue(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        other = desk.store.create_conversation(NewConversation())
        first = await desk.chat.start_turn(conversation.id, StartTurn(text="first " * 20))
        with pytest.raises(ConflictError):
            await desk.chat.start_turn(conversation.id, StartTurn(text="again"))
        second = await desk.chat.start_turn(other.id, StartTurn(text="second"))
        await desk.until(lambda e: isinstance(e, TurnProgress) and e.message_id == second.assistant.id and not e.total)
        answers = await asyncio.gather(desk.ended(first.assistant.id), desk.ended(second.assistant.id))
        assert [a.content for a in answers] == ["first " * 20, "second"]

    at_a_desk(tmp_path, echo(delay_s=0.001), test)


def test_the_window_is_cut_and_the_answer_says_where(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        parent: str | None = None
        answers = []
        for i in range(5):
            answers.append(await desk.ask(conversation, f"{i}" * 60, parent=parent))
            parent = answers[-1].id
        last = answers[-1]
        assert last.content == "4" * 60
        assert last.stats is not None
        assert last.stats.cut is not None
        assert answers[0].id in last.stats.cut.dropped or answers[1].id in last.stats.cut.dropped
        assert last.stats.context_used <= last.stats.context_length

    at_a_desk(tmp_path, echo(n_ctx=800), test)


def test_an_answer_that_outgrows_the_window_goes_on_after_a_cut(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        desk.store.update_conversation(conversation.id, ConversationUpdate(context_policy="drop_oldest"))
        first = await desk.ask(conversation, "q" * 150)
        answer = await desk.ask(conversation, "r" * 20, parent=first.id)
        assert answer.content == "s" * 300
        assert answer.stats is not None
        assert answer.stats.cut is not None
        assert answer.stats.completion_tokens == 300

    at_a_desk(tmp_path, scripted("s" * 300, n_ctx=640), test)


def test_under_stop_a_full_window_ends_the_answer_and_says_so(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        desk.store.update_conversation(conversation.id, ConversationUpdate(context_policy="stop"))
        answer = await desk.ask(conversation, "q")
        assert answer.stats is not None
        assert answer.stats.finish_reason == "context_full"
        assert answer.status == "complete"
        assert answer.content
        longer = await desk.chat.start_turn(conversation.id, StartTurn(text="q", parent_id=answer.id))
        failed = await desk.ended(longer.assistant.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "context_length_exceeded"

    at_a_desk(tmp_path, scripted("t" * 3000, n_ctx=300), test)


def test_a_failure_in_the_engine_keeps_the_text_and_says_what_happened(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        answer = await desk.ask(conversation, "x")
        assert answer.status == "failed"
        assert answer.content == "abc"
        assert answer.error is not None
        assert "failed" in answer.error.what

    def next_token(tokens: Sequence[int]) -> int:
        said = as_bytes(tokens).rpartition(b"assistant\n")[2]
        if len(said) >= 3:
            raise RuntimeError("boom")
        return b"abc"[len(said)] if b"probe" not in as_bytes(tokens) else END

    at_a_desk(tmp_path, FakeModel(next_token), test)


def test_a_full_disk_ends_the_answer_with_a_sentence_and_nothing_shown_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        def full(*_: object, **__: object) -> None:
            raise DiskFullError("The disk is full.", remedy="Free some space.")

        ticket = await desk.chat.start_turn(conversation.id, StartTurn(text="u" * 200))
        await desk.until(lambda e: isinstance(e, TurnDelta))
        monkeypatch.setattr(desk.store, "append_text", full)
        monkeypatch.setattr(desk.store, "finish_message", full)
        failed = await desk.ended(ticket.assistant.id)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "disk_full"
        assert failed.content.startswith(desk.deltas(failed.id))
        await desk.engine.count_tokens("behind it in the queue")
        assert not desk.engine.busy

    at_a_desk(tmp_path, echo(delay_s=0.002), test)


def test_bad_requests_are_refused_before_anything_is_stored(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        start = desk.chat.start_turn
        with pytest.raises(NotFoundError):
            await start("f" * 32, StartTurn(text="x"))
        with pytest.raises(InvalidRequestError):
            await start(conversation.id, StartTurn(text="  \n "))
        with pytest.raises(InvalidRequestError):
            await start(conversation.id, StartTurn())
        with pytest.raises(InvalidRequestError):
            await start(conversation.id, StartTurn(text="x", response_format={"type": "yaml"}))
        assert desk.store.detail(conversation.id).messages == []
        await desk.engine.unload()
        with pytest.raises(NoModelError):
            await start(conversation.id, StartTurn(text="x"))
        assert desk.store.detail(conversation.id).messages == []

    at_a_desk(tmp_path, echo(), test)


def test_render_is_the_prompt_of_the_current_template(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        del conversation
        prompt = await desk.chat.render([ChatMessage("user", "hi")])
        assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        loaded = await desk.chat.adopt_model()
        assert "no chat template" in loaded.template_notice

    at_a_desk(tmp_path, echo(), test)
