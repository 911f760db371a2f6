from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from backend.api.events import EventHub
from backend.api.routes.native import event_frames
from backend.api.schemas import Notice
from backend.api.sse import EventStream, comment, data

DEADLINE_S = 5.0


class Wire:
    """The other side of an ASGI response."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.gone = asyncio.Event()
        self.got = asyncio.Event()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.got.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def test_frames() -> None:
    assert data(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert comment("a\nb") == b": a b\n\n"


def test_a_stream_that_ends_by_itself() -> None:
    async def main() -> None:
        closed: list[str] = []

        async def frames() -> AsyncGenerator[bytes, None]:
            yield b"one"
            yield b"two"

        async def on_close() -> None:
            closed.append("closed")

        wire = Wire()
        async with asyncio.timeout(DEADLINE_S):
            await EventStream(frames(), on_close=on_close)({"type": "http"}, wire.receive, wire.send)
        assert wire.body == b"onetwo"
        assert wire.sent[-1]["more_body"] is False
        headers = dict(wire.sent[0]["headers"])
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert b"content-length" not in headers
        assert closed == ["closed"]

    asyncio.run(main())


def test_when_the_client_goes_the_source_is_closed() -> None:
    async def main() -> None:
        ends: list[str] = []

        async def frames() -> AsyncGenerator[bytes, None]:
            try:
                yield b"one"
                await asyncio.Event().wait()
            finally:
                ends.append("source")

        async def on_close() -> None:
            ends.append("on_close")

        wire = Wire()
        stream = asyncio.create_task(
            EventStream(frames(), on_close=on_close)({"type": "http"}, wire.receive, wire.send)
        )
        async with asyncio.timeout(DEADLINE_S):
            await wire.got.wait()
            wire.gone.set()
            await stream
        assert ends == ["source", "on_close"]

    asyncio.run(main())


def test_a_source_that_breaks_is_not_hidden() -> None:
    async def main() -> None:
        async def frames() -> AsyncGenerator[bytes, None]:
            yield b"one"
            raise ZeroDivisionError

        wire = Wire()
        with pytest.raises(ZeroDivisionError):
            await EventStream(frames())({"type": "http"}, wire.receive, wire.send)

    asyncio.run(main())


def test_events_begin_with_a_comment_and_silence_is_filled() -> None:
    async def main() -> None:
        hub = EventHub()
        hub.bind()
        frames = event_frames(hub.subscribe(), keep_alive_s=0.01)
        async with asyncio.timeout(DEADLINE_S):
            assert await anext(frames) == b": nutshell events\n\n"
            assert await anext(frames) == b": keep-alive\n\n"
            hub.publish(Notice(level="info", text="a\nb"))
            hub.publish(Notice(level="info", text="c"))
            assert await anext(frames) == (
                b'data: {"type":"notice","level":"info","text":"a\\nb"}\n\n'
                b'data: {"type":"notice","level":"info","text":"c"}\n\n'
            )
            hub.close()
            with pytest.raises(StopAsyncIteration):
                await anext(frames)

    asyncio.run(main())
