"""POST /v1/chat/completions."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import FieldError
from backend.api.routes.openai_logprobs import chat_logprobs
from backend.api.routes.openai_models import ready_model, wire_name
from backend.api.routes.openai_run import answer, finish_reason, sampling_of, usage_of
from backend.api.routes.openai_schemas import (
    Answer,
    ChatRequest,
    Choice,
    ChunkChoice,
    Delta,
    Reply,
    ReplyWithUsage,
    WireMessage,
)
from backend.api.schemas import Completion, Role, TurnStats
from backend.api.services import Services
from backend.chat.templates import ChatMessage
from backend.engine.grammar import from_response_format
from backend.engine.worker import TextChunk, TokenLogprob

__all__ = ["routes"]

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class ChatWriter:
    """A chat answer on the wire."""

    def __init__(self, model: str, *, logprobs: bool, usage: bool) -> None:
        self._model = model
        self._logprobs = logprobs
        self._usage = usage
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def opening(self) -> object:
        """The role, before the text."""
        return self._chunk([ChunkChoice(Delta(role="assistant", content=""))])

    def part(self, chunk: TextChunk) -> object:
        """A piece of text."""
        logprobs = chat_logprobs(chunk.logprobs) if self._logprobs else None
        return self._chunk([ChunkChoice(Delta(content=chunk.text), logprobs)])

    def closing(self, stats: TurnStats) -> Sequence[object]:
        """The reason, and the usage if it was asked for."""
        chunks: list[object] = [self._chunk([ChunkChoice(Delta(), finish_reason=finish_reason(stats))])]
        if self._usage:
            chunks.append(
                ReplyWithUsage(
                    id=self._id,
                    object="chat.completion.chunk",
                    created=self._created,
                    model=self._model,
                    choices=list[ChunkChoice](),
                    usage=usage_of(stats),
                )
            )
        return chunks

    def whole(self, text: str, logprobs: list[TokenLogprob], stats: TurnStats) -> object:
        """All of it."""
        choice = Choice(Answer(text), chat_logprobs(logprobs) if self._logprobs else None, finish_reason(stats))
        return ReplyWithUsage(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._model,
            choices=[choice],
            usage=usage_of(stats),
        )

    def _chunk(self, choices: list[ChunkChoice]) -> Reply:
        kind = "chat.completion.chunk"
        if self._usage:
            return ReplyWithUsage(
                id=self._id, object=kind, created=self._created, model=self._model, choices=choices, usage=None
            )
        return Reply(id=self._id, object=kind, created=self._created, model=self._model, choices=choices)


def chat_messages(messages: Sequence[WireMessage]) -> list[ChatMessage]:
    """The messages as text. Raises FieldError for what only larger models and other servers can do."""
    out = []
    for index, message in enumerate(messages):
        role = _ROLES.get(message.role)
        if role is None:
            raise FieldError(
                f"A message has the role '{message.role[:40]}'.",
                param=f"messages[{index}].role",
                why="Tools cannot be used here yet." if message.role in ("tool", "function") else "",
                remedy="Use system, user or assistant.",
            )
        out.append(ChatMessage(role, _text_of(message, index)))
    return out


def _text_of(message: WireMessage, index: int) -> str:
    content = message.content
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    for part in content:
        if part.type not in ("text", "input_text") or part.text is None:
            what = (
                "Images cannot be read."
                if "image" in part.type
                else f"Parts of type '{part.type[:40]}' cannot be read."
            )
            raise FieldError(
                what,
                param=f"messages[{index}].content",
                why="The models here read text only.",
                remedy="Send text parts only.",
            )
    return "".join(part.text or "" for part in content)


def routes(services: Services) -> list[Route]:
    """The chat route."""

    async def chat(request: Request) -> Response:
        asked = await body(request, ChatRequest)
        if asked.tools and asked.tool_choice != "none":
            raise FieldError(
                "Tools cannot be used here yet.",
                param="tools",
                why="The model's answer would be plain text.",
                remedy='Leave tools out, or send "tool_choice": "none".',
            )
        messages = chat_messages(asked.messages)
        grammar = await asyncio.to_thread(from_response_format, asked.response_format)
        loaded = await ready_model(services, asked.model)
        limit = asked.max_completion_tokens if asked.max_completion_tokens is not None else asked.max_tokens
        logprobs = bool(asked.logprobs)
        if asked.top_logprobs and not logprobs:
            raise FieldError("top_logprobs needs logprobs to be true.", param="top_logprobs")
        sampling = sampling_of(asked, loaded.sampling, max_tokens=limit)
        prompt = await services.chat.render(messages)
        completion = Completion(
            prompt=prompt,
            sampling=replace(sampling, stop=[*sampling.stop, *await services.chat.template_stop()]),
            grammar=grammar,
            logprobs=(asked.top_logprobs or 0) if logprobs else None,
        )
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        writer = ChatWriter(wire_name(loaded), logprobs=logprobs, usage=usage)
        return await answer(request, services, completion, writer, stream=bool(asked.stream))

    return [Route("/v1/chat/completions", chat, methods=["POST"])]
