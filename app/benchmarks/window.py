"""The real window, driven by lines on stdin: the other half of `nutshell bench app`.

It types into the composer and presses Stop as a person would, and reads the clock where text reaches the view. First
it prints the marks of a first answer by itself; then one JSON object per line asks for more.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backend.api.schemas import LoadedModel, Message, Sampling, TurnDelta

if TYPE_CHECKING:
    from app.desktop import Desktop

__all__ = ["main"]

FIRST_QUESTION = "Say hello."


@dataclass
class _Watch:
    """Moments of one answer, from `time.monotonic`."""

    sent: float = 0.0
    first: float = 0.0
    first_tokens: int = 0
    ended: float = 0.0
    message: Message | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class _Driver:
    def __init__(self, desktop: Desktop) -> None:
        self._desktop = desktop
        self._chat = desktop.window.chat
        self._watch = _Watch()
        self._ready = asyncio.Event()
        self._ready_at = 0.0
        desktop.link.model_changed.connect(self._model)
        desktop.link.attached.connect(lambda status: self._model(status.model))
        self._chat.text_arrived.connect(self._text)
        self._chat.message_finished.connect(self._finished)

    async def first_answer(self) -> dict[str, float]:
        await self._desktop.shown.wait()
        shown = time.monotonic()
        # Typed as soon as there is something to type into; the window keeps it until the model is there.
        self._send(FIRST_QUESTION)
        await self._ready.wait()
        await self._watch.begun.wait()
        await self._watch.over.wait()
        return {"window_s": shown, "ready_s": self._ready_at, "first_token_s": self._watch.first}

    async def obey(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["do"]:
            case "ask":
                return await self._ask(asked["text"], asked["seed"], asked["max_tokens"])
            case "stop":
                return await self._stop(asked["text"])
            case _:
                return {"window": os.getpid(), "engine": self._desktop.supervisor.pid}

    async def _ask(self, text: str, seed: int, max_tokens: int) -> dict[str, Any]:
        self._new_chat(Sampling(temperature=0.0, seed=seed, max_tokens=max_tokens))
        watch = self._send(text)
        await watch.over.wait()
        assert watch.message is not None
        assert watch.message.stats is not None
        tokens = watch.message.stats.completion_tokens
        return {
            "text": watch.message.content,
            "tokens": tokens,
            "ttft_s": watch.first - watch.sent,
            "tok_s": (tokens - watch.first_tokens) / (watch.ended - watch.first),
        }

    async def _stop(self, text: str) -> dict[str, Any]:
        self._new_chat(Sampling(temperature=1.0, seed=1, logit_bias={}))
        watch = self._send(f"{text} Write as much as you can.")
        await watch.begun.wait()
        pressed = time.monotonic()
        self._chat.stop()
        await watch.over.wait()
        assert watch.message is not None
        return {"stop_ms": (watch.ended - pressed) * 1000, "status": watch.message.status}

    def _new_chat(self, sampling: Sampling) -> None:
        self._chat.new_chat()
        self._chat.configure(sampling=sampling)

    def _send(self, text: str) -> _Watch:
        self._watch = watch = _Watch(sent=time.monotonic())
        self._chat.send(text)
        return watch

    def _model(self, model: LoadedModel | None) -> None:
        if model is not None and not self._ready.is_set():
            self._ready_at = time.monotonic()
            self._ready.set()

    def _text(self, delta: TurnDelta) -> None:
        if not self._watch.first:
            self._watch.first, self._watch.first_tokens = time.monotonic(), delta.tokens
            self._watch.begun.set()

    def _finished(self, message: Message) -> None:
        self._watch.ended = time.monotonic()
        self._watch.message = message
        self._watch.begun.set()
        self._watch.over.set()


async def _script(desktop: Desktop) -> None:
    driver = _Driver(desktop)
    _reply(await driver.first_answer())
    while line := await asyncio.to_thread(sys.stdin.readline):
        _reply(await driver.obey(json.loads(line)))


def _reply(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)


def main() -> int:
    """Runs the window until stdin ends."""
    from app.gui import run

    return run(_script)


if __name__ == "__main__":
    sys.exit(main())
