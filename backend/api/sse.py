"""Server-sent events: frames, and an ASGI response that stops its source when the reader goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ["KEEP_ALIVE_S", "EventStream", "comment", "data", "disconnected"]

#: Silence after which a comment is sent, so that proxies and clients with a read time-out know that we are there.
KEEP_ALIVE_S = 10.0


def data(payload: bytes) -> bytes:
    """One frame around a JSON object; JSON from msgspec has no line breaks, which is what makes one line enough."""
    return b"data: " + payload + b"\n\n"


def comment(text: str) -> bytes:
    """A frame that clients skip."""
    return b": " + text.replace("\n", " ").encode() + b"\n\n"


async def disconnected(receive: Receive) -> None:
    """Returns when the client has gone. The request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Streams `frames` as text/event-stream.

    Each item goes out as it comes, in one write. When the client goes away the generator is closed; when the
    generator ends, so does the response. `on_close` runs in every case, last.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        on_close: Callable[[], Awaitable[None]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.frames = frames
        self.on_close = on_close
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the stream until either side ends it."""
        writer = asyncio.create_task(self._write(send))
        gone = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({writer, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writer, gone):
                task.cancel()
            await asyncio.gather(writer, gone, return_exceptions=True)
            if self.on_close is not None:
                await self.on_close()
        if not writer.cancelled() and (failure := writer.exception()) is not None:
            raise failure

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self.frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
