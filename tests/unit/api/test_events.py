from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import msgspec

from backend.api.events import EventHub, Subscription
from backend.api.schemas import (
    AnyEvent,
    Conversation,
    ConversationChanged,
    Job,
    JobChanged,
    JobState,
    Message,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
)

DEADLINE_S = 10.0


def run(test: Callable[[EventHub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = EventHub()
        hub.bind()
        async with asyncio.timeout(DEADLINE_S):
            await test(hub)

    asyncio.run(main())


def decoded(batch: list[bytes] | None) -> list[AnyEvent]:
    assert batch is not None
    return [msgspec.json.decode(item, type=AnyEvent) for item in batch]


def delta(offset: int, text: str, message: str = "m", tokens: int = 0) -> TurnDelta:
    return TurnDelta(conversation_id="c", message_id=message, offset=offset, text=text, tokens=tokens, tok_s=9.5)


def progress(done: int, message: str = "m") -> TurnProgress:
    return TurnProgress(conversation_id="c", message_id=message, done=done, total=9)


def message(content: str = "", id: str = "m") -> Message:  # noqa: A002
    return Message(id=id, conversation_id="c", parent_id=None, role="assistant", content=content)


def ended(content: str) -> TurnEnded:
    return TurnEnded(conversation_id="c", message=message(content))


def job(state: JobState, done: float = 0) -> JobChanged:
    return JobChanged(job=Job(id="j", kind="k", title="t", state=state, done=done))


def test_a_reader_that_keeps_up_gets_every_event_as_it_was() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        for index, text in enumerate("abc"):
            hub.publish(delta(index, text))
            (event,) = decoded(await reader.batch())
            assert isinstance(event, TurnDelta)
            assert (event.offset, event.text) == (index, text)

    run(test)


def test_the_text_of_a_message_grows_in_the_queue_of_a_slow_reader() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        text = ""
        for index in range(5000):
            piece = f"{index} "
            hub.publish(progress(index))
            hub.publish(delta(len(text), piece, tokens=index))
            hub.publish(delta(index, "x", message="other"))
            text += piece
        hub.publish(ended(text))
        events = decoded(await reader.batch())
        assert [type(event) for event in events] == [TurnProgress, TurnDelta, TurnDelta, TurnEnded]
        first = events[1]
        assert isinstance(first, TurnDelta)
        assert (first.offset, first.text, first.tokens, first.tok_s) == (0, text, 4999, 9.5)
        assert isinstance(events[0], TurnProgress)
        assert events[0].done == 4999
        assert isinstance(events[2], TurnDelta)
        assert events[2].text == "x" * 5000

    run(test)


def test_nothing_is_merged_across_the_end_of_a_turn() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        hub.publish(delta(0, "one"))
        hub.publish(ended("one"))
        hub.publish(TurnStarted(conversation_id="c", user=None, assistant=message("one")))
        hub.publish(delta(3, " two"))
        hub.publish(delta(7, " three"))
        kinds = [type(event) for event in decoded(await reader.batch())]
        assert kinds == [TurnDelta, TurnEnded, TurnStarted, TurnDelta]

    run(test)


def test_a_gap_in_the_text_is_not_papered_over() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        hub.publish(delta(0, "one"))
        hub.publish(delta(10, "two"))
        hub.publish(delta(13, "three"))
        events = decoded(await reader.batch())
        assert [(event.offset, event.text) for event in events if isinstance(event, TurnDelta)] == [
            (0, "one"),
            (10, "twothree"),
        ]

    run(test)


def test_of_a_jobs_movement_the_newest_stays_and_of_its_states_all() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        hub.publish(job("started"))
        for done in range(100):
            hub.publish(job("progress", done))
        hub.publish(job("finished", 100))
        events = decoded(await reader.batch())
        assert [(e.job.state, e.job.done) for e in events if isinstance(e, JobChanged)] == [
            ("started", 0),
            ("progress", 99),
            ("finished", 100),
        ]

    run(test)


def test_an_event_says_what_was_true_when_it_was_published() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        conversation = Conversation(id="c", title="before")
        hub.publish(ConversationChanged(conversation=conversation))
        conversation.title = "after"
        (event,) = decoded(await reader.batch())
        assert isinstance(event, ConversationChanged)
        assert event.conversation.title == "before"

    run(test)


def test_from_many_threads_nothing_is_lost_and_each_threads_order_holds() -> None:
    async def test(hub: EventHub) -> None:
        reader = hub.subscribe()
        threads, count = 4, 500

        def publish(name: str) -> None:
            for index in range(count):
                hub.publish(ConversationChanged(conversation=Conversation(id=name, title=str(index))))

        workers = [threading.Thread(target=publish, args=(str(n),)) for n in range(threads)]
        for worker in workers:
            worker.start()
        seen: dict[str, list[int]] = {}
        while sum(map(len, seen.values())) < threads * count:
            for event in decoded(await reader.batch()):
                assert isinstance(event, ConversationChanged)
                seen.setdefault(event.conversation.id, []).append(int(event.conversation.title))
        for worker in workers:
            worker.join()
        assert all(numbers == list(range(count)) for numbers in seen.values())

    run(test)


def test_a_reader_that_stands_still_is_cut_off_and_the_others_are_not() -> None:
    async def test(hub: EventHub) -> None:
        slow, other = hub.subscribe(slots=10), hub.subscribe()
        for index in range(11):
            hub.publish(ConversationChanged(conversation=Conversation(id=str(index))))
        assert slow.lagging
        assert await slow.batch() is None, "it is told by the end of its stream, not by a hole in it"
        assert len(decoded(await other.batch())) == 11
        assert hub.subscribers == 1
        hub.publish(delta(0, "more"))
        assert await slow.batch() is None

    run(test)


def test_bytes_that_wait_are_bounded_too() -> None:
    async def test(hub: EventHub) -> None:
        slow = hub.subscribe(size=1000)
        for index in range(6):
            hub.publish(delta(index * 200, "x" * 200))
        assert slow.lagging

    run(test)


def test_silence_gives_an_empty_batch_and_an_event_wakes() -> None:
    async def test(hub: EventHub) -> None:
        reader: Subscription = hub.subscribe()
        assert await reader.batch(0.01) == []
        waiting = asyncio.ensure_future(reader.batch(DEADLINE_S))
        await asyncio.sleep(0)
        hub.publish(progress(1))
        assert len(decoded(await waiting)) == 1

    run(test)


def test_closing_the_hub_ends_streams_after_what_is_queued() -> None:
    async def test(hub: EventHub) -> None:
        reader, idle = hub.subscribe(), hub.subscribe()
        waiting = asyncio.ensure_future(idle.batch())
        await asyncio.sleep(0)
        hub.publish(ended("all"))
        hub.close()
        hub.publish(ended("too late"))
        assert len(decoded(await waiting)) == 1
        assert len(decoded(await reader.batch())) == 1
        assert await reader.batch() is None
        assert await hub.subscribe().batch() is None

    run(test)


def test_without_readers_and_after_the_loop_publishing_is_harmless() -> None:
    hub = EventHub()
    hub.publish(progress(1))

    async def main() -> None:
        hub.bind()
        hub.publish(progress(2))
        hub.subscribe()

    asyncio.run(main())
    thread = threading.Thread(target=hub.publish, args=(progress(3),))
    thread.start()
    thread.join()
