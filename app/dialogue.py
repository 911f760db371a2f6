"""A conversation of the terminal: stored with those of the window, or in passing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.session import Session
from backend.api.errors import EngineUnavailableError
from backend.api.schemas import ErrorInfo, NewConversation, Sampling, StartTurn, TurnStats

__all__ = ["Answer", "Dialogue", "open_dialogue"]

Show = Callable[[str], None]

#: What a request to the OpenAI route carries of the sampling; null is "the model's own".
_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "max_tokens",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what it cost."""

    text: str
    stats: TurnStats


class Dialogue(Protocol):
    """A conversation that remembers what was said."""

    async def say(self, text: str, sampling: Sampling | None, show: Show) -> Answer:
        """The answer to `text`; `show` gets it piece by piece. Raises NutshellError."""
        ...

    def move_to(self, session: Session) -> None:
        """Goes on with another engine process."""
        ...


async def open_dialogue(session: Session, *, system: str, save: bool) -> Dialogue:
    """A new conversation; with `save` False nothing of it is written to disk."""
    if not save:
        return _Passing(session, system)
    conversation = await session.client.create_conversation(NewConversation(system_prompt=system))
    return _Stored(session, conversation.id)


class _Stored:
    def __init__(self, session: Session, conversation_id: str) -> None:
        self._session = session
        self._id = conversation_id

    async def say(self, text: str, sampling: Sampling | None, show: Show) -> Answer:
        # The head and not our own last message: it is right also after an answer that was stopped or lost.
        head = (await self._session.client.conversation(self._id)).conversation.head_id
        turn = StartTurn(parent_id=head, text=text, sampling=sampling)
        message = await self._session.turn(self._id, turn, show)
        return Answer(message.content, message.stats or TurnStats())

    def move_to(self, session: Session) -> None:
        self._session = session


class _Passing:
    """Lives in this process only: each turn sends the whole conversation over the route that stores nothing."""

    def __init__(self, session: Session, system: str) -> None:
        self._session = session
        self._messages = [{"role": "system", "content": system}] if system else []

    async def say(self, text: str, sampling: Sampling | None, show: Show) -> Answer:
        self._messages.append({"role": "user", "content": text})
        pieces: list[str] = []
        try:

            def keep(piece: str) -> None:
                pieces.append(piece)
                show(piece)

            stats = await self._stream(sampling, keep)
        finally:
            # Also what was stopped was said: the next turn must follow on something.
            self._messages.append({"role": "assistant", "content": "".join(pieces)})
        return Answer("".join(pieces), stats)

    def move_to(self, session: Session) -> None:
        self._session = session

    async def _stream(self, sampling: Sampling | None, on_text: Callable[[str], object]) -> TurnStats:
        import httpx

        handshake = await self._session.supervisor.ready()
        body: dict[str, Any] = {
            "messages": self._messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: getattr(sampling, name) for name in _FIELDS if sampling is not None},
        }
        clock = _Clock(sampling)
        headers = {"Authorization": f"Bearer {handshake.token}"}
        try:
            async with (
                httpx.AsyncClient(base_url=handshake.base_url, headers=headers, timeout=None, trust_env=False) as http,
                http.stream("POST", "/v1/chat/completions", json=body) as response,
            ):
                if response.status_code != 200:
                    raise _error(json.loads(await response.aread()))
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        clock.take(json.loads(line[6:]), on_text)
        except httpx.HTTPError as error:
            raise EngineUnavailableError("The engine stopped while answering.", details=repr(error)) from error
        return clock.stats()


class _Clock:
    """Measures a stream from outside: its chunks carry text, the last one the number of tokens."""

    def __init__(self, sampling: Sampling | None) -> None:
        self._start = time.perf_counter()
        self._first = self._last = 0.0
        self._usage: dict[str, Any] = {}
        self._reason: Any = "stop"
        self._seed = (sampling.seed if sampling is not None else None) or 0

    def take(self, chunk: dict[str, Any], on_text: Callable[[str], object]) -> None:
        if "error" in chunk:
            raise _error(chunk)
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices", ()):
            self._reason = choice.get("finish_reason") or self._reason
            if text := choice.get("delta", {}).get("content"):
                self._last = time.perf_counter()
                self._first = self._first or self._last
                on_text(text)

    def stats(self) -> TurnStats:
        now = time.perf_counter()
        tokens = int(self._usage.get("completion_tokens", 0))
        guesses = self._usage.get("completion_tokens_details") or {}
        decode_s = now - self._first if self._first else 0.0
        return TurnStats(
            prompt_tokens=int(self._usage.get("prompt_tokens", 0)),
            completion_tokens=tokens,
            ttft_s=self._first - self._start if self._first else 0.0,
            tok_s=(tokens - 1) / decode_s if tokens > 1 and decode_s > 0 else 0.0,
            total_s=now - self._start,
            passes=int(guesses.get("passes", 0)),
            drafted=int(guesses.get("accepted_prediction_tokens", 0))
            + int(guesses.get("rejected_prediction_tokens", 0)),
            accepted=int(guesses.get("accepted_prediction_tokens", 0)),
            speedup=float(guesses.get("speedup", 1.0)),
            seed=self._seed,
            finish_reason=self._reason if self._reason in {"stop", "length"} else "stop",
        )


def _error(body: dict[str, Any]) -> Exception:
    told = body.get("error") or {}
    what = str(told.get("message", "The engine refused the request."))
    return ErrorInfo(code=str(told.get("code") or "internal_error"), what=what).to_error()
