"""The client's end of the event stream: HTTP read straight from an asyncio stream.

The window reads thirty events a second while an answer comes, on the thread that paints. Through httpx one event
costs it 0.4 ms of processor time, this way 0.2 ms, of which 0.1 ms is waking up at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import msgspec

from backend.api.errors import EngineUnavailableError, NutshellError
from backend.api.schemas import AnyEvent, ErrorInfo

__all__ = ["CONNECT_S", "READ_S", "open_events", "refusal", "unavailable"]

#: Loopback answers in well under a millisecond; a full backlog is the only thing that can take longer.
CONNECT_S = 3.0
#: A request may wait for the disk, or for a model's file header; none takes longer than this.
READ_S = 30.0

#: What a connection may fail with: refused, too slow, ended, or not HTTP as ours.
_BROKEN = (OSError, TimeoutError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError)

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


class _Failure(msgspec.Struct):
    error: ErrorInfo


def refusal(status: int, content: bytes) -> NutshellError:
    """The error that a response with a status from 400 on carries."""
    try:
        return msgspec.json.decode(content, type=_Failure).error.to_error()
    except msgspec.DecodeError:
        return NutshellError(
            "The engine gave an answer that Nutshell does not understand.",
            remedy="Restart Nutshell; if it happens again, look at the log.",
            details=f"HTTP {status}: {content[:500]!r}",
        )


def unavailable(error: Exception) -> EngineUnavailableError:
    """The error for an engine that cannot be reached."""
    return EngineUnavailableError(
        "The engine does not answer.",
        why="Its process has ended, or it is busy starting.",
        remedy="Wait a moment and try again.",
        details=f"{type(error).__name__}: {error}",
    )


@asynccontextmanager
async def open_events(base_url: str, token: str) -> AsyncGenerator[AsyncGenerator[AnyEvent, None], None]:
    """Subscribes; what happens after this is entered arrives. The generator ends when the engine ends the stream.

    Raises:
        EngineUnavailableError: nobody answers, or the connection broke.
        NutshellError: what the engine refused.
    """
    try:
        reader, writer = await _connect(base_url, token)
    except _BROKEN as error:
        raise unavailable(error) from error
    events = _events(reader)
    try:
        yield events
    finally:
        await events.aclose()
        writer.transport.abort()  # nothing of ours is on the way; the server sees the end at once


async def _connect(base_url: str, token: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(base_url)
    async with asyncio.timeout(CONNECT_S):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(
            f"GET /api/events HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode("latin-1")
        )
        async with asyncio.timeout(READ_S):
            status, headers = _head(await reader.readuntil(b"\r\n\r\n"))
            if status != 200:
                raise refusal(status, await reader.readexactly(int(headers.get("content-length", "0"))))
        if headers.get("transfer-encoding", "").lower() != "chunked":
            raise ValueError("the event stream does not come in chunks")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split(" ")[1]), headers


async def _events(reader: asyncio.StreamReader) -> AsyncGenerator[AnyEvent, None]:
    """The frames of our server are one `data:` line or one comment each."""
    rest = b""
    try:
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            chunk = await reader.readexactly(size + 2)
            *frames, rest = (rest + chunk[:-2]).split(b"\n\n")
            for frame in frames:
                if frame.startswith(b"data: ") and (event := _decoded(frame[6:])) is not None:
                    yield event
    except _BROKEN as error:
        raise unavailable(error) from error


def _decoded(frame: bytes) -> AnyEvent | None:
    try:
        return _decoder.decode(frame)
    except msgspec.ValidationError:
        return None  # an event of a newer engine
