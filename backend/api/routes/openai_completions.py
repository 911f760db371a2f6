"""POST /v1/completions: text to go on with, no chat template."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.api.body import body
from backend.api.failures import FieldError
from backend.api.routes.openai_logprobs import text_logprobs
from backend.api.routes.openai_models import ready_model, wire_name
from backend.api.routes.openai_run import answer, finish_reason, sampling_of, usage_of
from backend.api.routes.openai_schemas import CompletionRequest, Reply, ReplyWithUsage, TextChoice
from backend.api.schemas import Completion, TurnStats
from backend.api.services import Services
from backend.engine.grammar import from_response_format
from backend.engine.worker import TextChunk, TokenLogprob

__all__ = ["routes"]

#: What the protocol says for a request without max_tokens. A prompt without a template seldom ends by itself.
DEFAULT_MAX_TOKENS = 16


class TextWriter:
    """A plain completion on the wire."""

    def __init__(self, model: str, *, logprobs: bool, usage: bool, echo: str) -> None:
        self._model = model
        self._logprobs = logprobs
        self._usage = usage
        self._echo = echo
        self._offset = len(echo)
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def opening(self) -> object | None:
        """The prompt, if it is to be repeated."""
        return self._chunk([TextChoice(self._echo)]) if self._echo else None

    def part(self, chunk: TextChunk) -> object:
        """A piece of text."""
        logprobs = text_logprobs(chunk.logprobs, self._offset) if self._logprobs else None
        self._offset += len(chunk.text)
        return self._chunk([TextChoice(chunk.text, logprobs)])

    def closing(self, stats: TurnStats) -> Sequence[object]:
        """The reason, and the usage if it was asked for."""
        chunks: list[object] = [self._chunk([TextChoice("", finish_reason=finish_reason(stats))])]
        if self._usage:
            chunks.append(self._reply(list[TextChoice](), stats))
        return chunks

    def whole(self, text: str, logprobs: list[TokenLogprob], stats: TurnStats) -> object:
        """All of it."""
        listed = text_logprobs(logprobs, self._offset) if self._logprobs else None
        return self._reply([TextChoice(self._echo + text, listed, finish_reason(stats))], stats)

    def _reply(self, choices: list[TextChoice], stats: TurnStats) -> object:
        return ReplyWithUsage(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage_of(stats),
        )

    def _chunk(self, choices: list[TextChoice]) -> object:
        kind = "text_completion"
        if self._usage:
            return ReplyWithUsage(
                id=self._id, object=kind, created=self._created, model=self._model, choices=choices, usage=None
            )
        return Reply(id=self._id, object=kind, created=self._created, model=self._model, choices=choices)


def prompt_of(request: CompletionRequest) -> str:
    """The one prompt of a request. Raises FieldError for several, or for token ids."""
    prompt = request.prompt
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    many = isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(item, str) for item in prompt)
    raise FieldError(
        "Only one prompt per request can be used." if many else "The prompt must be text.",
        param="prompt",
        remedy="Send one request per prompt." if many else "Send a string instead of token ids.",
    )


def routes(services: Services) -> list[Route]:
    """The route of plain completions."""

    async def completions(request: Request) -> Response:
        asked = await body(request, CompletionRequest)
        prompt = prompt_of(asked)
        if asked.suffix:
            raise FieldError("Text cannot be filled in before a suffix here.", param="suffix", remedy="Leave it out.")
        if asked.best_of is not None and asked.best_of != 1:
            raise FieldError("Only one answer per request can be made.", param="best_of", remedy="Leave it out.")
        if asked.echo and asked.logprobs is not None:
            raise FieldError("logprobs of the prompt cannot be given.", param="echo", remedy="Leave echo out.")
        grammar = await asyncio.to_thread(from_response_format, asked.response_format)
        loaded = await ready_model(services, asked.model)
        limit = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        completion = Completion(
            prompt=prompt,
            sampling=sampling_of(asked, loaded.sampling, max_tokens=limit),
            grammar=grammar,
            logprobs=asked.logprobs,
        )
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        writer = TextWriter(
            wire_name(loaded), logprobs=asked.logprobs is not None, usage=usage, echo=prompt if asked.echo else ""
        )
        return await answer(request, services, completion, writer, stream=bool(asked.stream))

    return [Route("/v1/completions", completions, methods=["POST"])]
