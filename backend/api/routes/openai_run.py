"""Running a generation for another program: parameters, keep-alives, errors on the way, the client going away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from backend.api.errors import BusyError, EngineUnavailableError, NutshellError
from backend.api.failures import FieldError, Json, openai_error, unexpected
from backend.api.routes.openai_schemas import Common, CompletionDetails, PromptDetails, Usage
from backend.api.schemas import Completion, Sampling, TurnStats
from backend.api.services import Services
from backend.api.sse import KEEP_ALIVE_S, EventStream, comment, data, disconnected
from backend.engine.worker import Generation, GenerationDone, PrefillProgress, TextChunk, TokenLogprob

__all__ = ["Writer", "answer", "finish_reason", "sampling_of", "usage_of"]

#: Generations that may run or wait for other programs. Each waits for its turn; more than this is a runaway client.
MOST_AT_ONCE = 64
#: Seconds that a stream waits for its first sign of life before it commits to status 200. What is wrong with a request
#: (a prompt that is too long, say) shows at once when its turn comes, and then has a status code of its own.
PATIENCE_S = 5.0

_encoder = msgspec.json.Encoder()
_DONE = b"data: [DONE]\n\n"
Item = PrefillProgress | TextChunk | GenerationDone


class Writer(Protocol):
    """One wire form of an answer."""

    def opening(self) -> object | None:
        """The chunk before the text, if the form has one."""
        ...

    def part(self, chunk: TextChunk) -> object:
        """A chunk with text."""
        ...

    def closing(self, stats: TurnStats) -> Sequence[object]:
        """The chunks after the text."""
        ...

    def whole(self, text: str, logprobs: list[TokenLogprob], stats: TurnStats) -> object:
        """The answer that is not streamed."""
        ...


def sampling_of(request: Common, defaults: Sampling, *, max_tokens: int | None) -> Sampling:
    """The model's own sampling with what the request says on top. Raises FieldError for what cannot be done."""
    if request.n is not None and request.n != 1:
        raise FieldError(
            "Only one answer per request can be made.", param="n", why=f"n is {request.n}.", remedy="Leave n out."
        )
    for token in request.logit_bias or {}:
        if not (token.isascii() and token.isdigit()):
            raise FieldError(
                "The keys of logit_bias must be token ids.", param="logit_bias", why=f"'{token[:40]}' is not a number."
            )
    given: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "min_p": request.min_p,
        # -1 is how other local servers write "off"; here that is 0.
        "top_k": None if request.top_k is None else max(0, request.top_k),
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "repetition_penalty": (
            request.repetition_penalty if request.repetition_penalty is not None else request.repeat_penalty
        ),
        "logit_bias": request.logit_bias,
        "seed": None if request.seed is None or request.seed < 0 else request.seed,
        "stop": [request.stop] if isinstance(request.stop, str) else request.stop,
    }
    if given["stop"] is not None:
        given["stop"] = [text for text in given["stop"] if text]
    changes = {name: value for name, value in given.items() if value is not None}
    if max_tokens == 0:
        raise FieldError("At least one token must be asked for.", param="max_tokens", why="max_tokens is 0.")
    changes["max_tokens"] = None if max_tokens is None or max_tokens < 0 else max_tokens
    return replace(defaults, **changes)


def finish_reason(stats: TurnStats) -> str:
    """OpenAI's word for why an answer ended. Raises EngineUnavailableError where it was broken off from our side."""
    match stats.finish_reason:
        case "stop":
            return "stop"
        case "length" | "context_full":
            return "length"
        case _:
            raise EngineUnavailableError("The answer was stopped before its end.", why="The engine is shutting down.")


def usage_of(stats: TurnStats) -> Usage:
    """The tokens of one answer."""
    return Usage(
        prompt_tokens=stats.prompt_tokens,
        completion_tokens=stats.completion_tokens,
        total_tokens=stats.prompt_tokens + stats.completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=stats.cached_tokens),
        completion_tokens_details=CompletionDetails(
            stats.accepted, stats.drafted - stats.accepted, stats.passes, round(stats.speedup, 3)
        ),
    )


class _Pump:
    """Reads a generation on a task of its own, so that waiting for an item can time out without losing it."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._items: asyncio.Queue[Item | Exception] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for item in self._generation:
                self._items.put_nowait(item)
        except NutshellError as error:
            self._items.put_nowait(error)

    async def get(self, timeout: float | None = None) -> Item | None:
        """The next item; None after `timeout` seconds of silence. Raises what the generation raises."""
        try:
            async with asyncio.timeout(timeout):
                item = await self._items.get()
        except TimeoutError:
            return None
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self) -> None:
        """Stops the generation, if it still runs, and forgets it."""
        if not self._task.done():
            self._generation.cancel()
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def _running(services: Services, completion: Completion) -> AsyncGenerator[_Pump, None]:
    if len(services.generations) >= MOST_AT_ONCE:
        raise BusyError(
            "Too many requests are waiting.", why=f"{MOST_AT_ONCE} wait already.", remedy="Try again in a while."
        )
    generation = services.engine.generate(completion)
    services.generations.add(generation)
    pump = _Pump(generation)
    try:
        yield pump
    finally:
        services.generations.discard(generation)
        await pump.close()


async def answer(
    request: Request, services: Services, completion: Completion, writer: Writer, *, stream: bool
) -> Response:
    """Runs `completion` and answers as `writer` says, streamed or whole. The client's leaving cancels it."""
    context = _running(services, completion)
    pump = await context.__aenter__()
    streaming = False
    try:
        if not stream:
            return await _whole(request, pump, writer)
        first = await _unless_gone(request, pump.get(PATIENCE_S))

        async def close() -> None:
            await context.__aexit__(None, None, None)

        streaming = True
        return EventStream(_frames(pump, first, writer), on_close=close)
    finally:
        if not streaming:
            await context.__aexit__(None, None, None)


class _GoneError(NutshellError):
    """The client has left; nobody reads this."""

    code = "client_gone"
    status = 499


async def _unless_gone(request: Request, work: Any) -> Any:
    """The result of `work`; raises _GoneError as soon as the client leaves."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _GoneError("The client has left.")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _whole(request: Request, pump: _Pump, writer: Writer) -> Response:
    async def collect() -> object:
        text: list[str] = []
        logprobs: list[TokenLogprob] = []
        while True:
            item = await pump.get()
            if isinstance(item, TextChunk):
                text.append(item.text)
                logprobs += item.logprobs
            elif isinstance(item, GenerationDone):
                return writer.whole("".join(text), logprobs, item.stats)

    return Json(await _unless_gone(request, collect()))


async def _frames(pump: _Pump, item: Item | None, writer: Writer) -> AsyncGenerator[bytes, None]:
    try:
        opening = writer.opening()
        if opening is not None:
            yield data(_encoder.encode(opening))
        while True:
            match item:
                case None:
                    yield comment("waiting")
                case PrefillProgress(done, total):
                    yield comment(f"reading {done} of {total}")
                case TextChunk():
                    yield data(_encoder.encode(writer.part(item)))
                case GenerationDone(stats):
                    yield b"".join(data(_encoder.encode(chunk)) for chunk in writer.closing(stats)) + _DONE
                    return
            item = await pump.get(KEEP_ALIVE_S)
    except NutshellError as error:
        # The status line is gone: the error travels as a chunk, which OpenAI's clients raise.
        yield data(_encoder.encode(openai_error(error))) + _DONE
    except Exception as error:
        yield data(_encoder.encode(openai_error(unexpected(error)))) + _DONE
        raise
