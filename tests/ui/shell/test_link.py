from __future__ import annotations

import asyncio
import inspect

import pytest

from backend.api.client import Client
from backend.api.errors import DiskFullError, UnauthorizedError
from backend.api.schemas import ErrorInfo, TurnDelta
from tests.fakes.client import FakeClient, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.coalescer import DeltaCoalescer
from ui.bridge.engine_client import EngineClient
from ui.bridge.engine_link import EngineLink


def delta(offset: int, text: str, message: str = "m") -> TurnDelta:
    return TurnDelta(conversation_id="c", message_id=message, offset=offset, text=text, tokens=offset, tok_s=1.0)


def test_the_first_delta_goes_out_at_once_and_the_rest_once_a_frame(loop: Loop) -> None:
    coalescer = DeltaCoalescer(frame_ms=20)
    got: list[TurnDelta] = []
    coalescer.ready.connect(got.append)
    coalescer.add(delta(0, "a"))
    assert [one.text for one in got] == ["a"]
    for position in range(1, 50):
        coalescer.add(delta(position, "b"))
    coalescer.add(delta(0, "x", "other"))
    assert len(got) == 1
    loop.until(lambda: len(got) == 3)
    assert [(one.message_id, one.offset, one.text) for one in got[1:]] == [("m", 1, "b" * 49), ("other", 0, "x")]


def test_the_frame_timer_stops_when_nothing_comes(loop: Loop) -> None:
    coalescer = DeltaCoalescer(frame_ms=5)
    coalescer.add(delta(0, "a"))
    assert coalescer.active
    loop.until(lambda: not coalescer.active)


def test_a_gap_is_not_joined_over(loop: Loop) -> None:
    coalescer = DeltaCoalescer(frame_ms=5)
    got: list[TurnDelta] = []
    coalescer.ready.connect(got.append)
    coalescer.add(delta(0, "a"))
    coalescer.add(delta(1, "b"))
    coalescer.add(delta(7, "c"))
    coalescer.stop()
    assert [(one.offset, one.text) for one in got] == [(0, "a"), (1, "b"), (7, "c")]
    assert not coalescer.active


def test_attach_says_ready_and_passes_events_on_in_order(loop: Loop, link: EngineLink, fake: FakeClient) -> None:
    said: list[str] = []
    link.text_arrived.connect(lambda one: said.append(one.text))
    link.turn_ended.connect(lambda one: said.append(one.message.status))
    link.attach(fake)
    loop.until(fake.following.is_set)
    assert link.ready
    assert link.sentence == ""
    message = next(iter(fake.details.values())).messages[-1]
    message.content = ""
    fake.say(message.id, "one ")
    fake.say(message.id, "two ")
    fake.say(message.id, "three")
    fake.finish(message.id)
    loop.until(lambda: said[-1:] == ["complete"])
    assert "".join(said[:-1]) == "one two three"


def test_a_request_ends_in_success_or_in_words_never_in_an_exception(
    loop: Loop, link: EngineLink, fake: FakeClient
) -> None:
    link.attach(fake)
    loop.until(fake.following.is_set)
    got: list[object] = []
    shown: list[ErrorInfo] = []
    link.request_failed.connect(shown.append)
    loop.run(link.run(lambda engine: engine.hardware(), success=got.append).task)
    assert len(got) == 1
    fake.failures["hardware"] = DiskFullError("The disk is full.", remedy="Free some space.")
    loop.run(link.run(lambda engine: engine.hardware(), success=got.append).task)
    assert len(got) == 1
    assert shown == [ErrorInfo(code="disk_full", what="The disk is full.", remedy="Free some space.")]

    def broken(_report: object) -> None:
        raise RuntimeError("a fault in a widget")

    loop.run(link.run(lambda engine: engine.hardware(), success=broken).task)
    assert shown[-1].code == "internal_error"
    assert "a fault in a widget" in shown[-1].details


def test_a_request_without_an_engine_fails_with_a_sentence(loop: Loop, link: EngineLink) -> None:
    shown: list[ErrorInfo] = []
    link.request_failed.connect(shown.append)
    loop.run(link.run(lambda engine: engine.models()).task)
    assert shown[0].code == "engine_unavailable"
    assert shown[0].what
    assert shown[0].remedy


def test_a_lost_connection_is_taken_up_again(loop: Loop, link: EngineLink, fake: FakeClient) -> None:
    states: list[str] = []
    link.state_changed.connect(lambda state, _: states.append(state))
    link.attach(fake)
    loop.until(fake.following.is_set)
    fake.die()
    loop.until(lambda: link.state == "restarting")
    assert link.alive
    fake.alive = True
    loop.until(lambda: link.state == "ready")
    assert states == ["ready", "restarting", "ready"]


def test_detach_stops_following_and_says_so(loop: Loop, link: EngineLink, fake: FakeClient) -> None:
    link.attach(fake)
    loop.until(fake.following.is_set)
    link.detach("The engine stopped while answering. Your text is saved. It is starting again…")
    assert link.state == "restarting"
    assert not link.alive
    assert "Your text is saved" in link.sentence
    other = FakeClient(loaded=fake_loaded())
    link.attach(other)
    loop.until(other.following.is_set)
    assert link.ready


def test_a_refused_token_fails_with_the_reason(
    loop: Loop, link: EngineLink, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.failures["status"] = UnauthorizedError("The engine does not know this window.")
    link.attach(fake)
    loop.until(lambda: link.state == "failed")
    assert link.error is not None
    assert link.error.what == "The engine does not know this window."


def test_close_leaves_no_task(loop: Loop, fake: FakeClient) -> None:
    link = EngineLink()
    link.attach(fake)
    loop.until(fake.following.is_set)
    link.run(lambda engine: engine.hardware())
    loop.run(link.close())

    async def others() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    left = [task for task in loop.run(others()) if "wait_for" not in repr(task)]
    assert left == []


def test_the_real_client_has_what_the_window_asks_for() -> None:
    real = inspect.getmembers(Client, inspect.isfunction)
    signatures = {name: inspect.signature(method) for name, method in real}
    for name, method in inspect.getmembers(EngineClient, inspect.isfunction):
        if name.startswith("_"):
            continue
        wanted = list(inspect.signature(method).parameters)
        assert list(signatures[name].parameters)[: len(wanted)] == wanted, name
        assert hasattr(FakeClient, name), name
