"""The engine without its process, its server and its window, as a child process of `nutshell bench app`.

One JSON object per line on stdin (`text`, `max_tokens`, `seed`), one per line back. The decode speed is counted as the
window counts it: tokens after the first piece of text, over the time from that piece to the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from backend.api.schemas import Completion, LoadModel, Sampling
from backend.chat.templates import ChatMessage, TemplateSandbox, template_for
from backend.engine.loading import load_model
from backend.engine.worker import Engine, TextChunk
from backend.hub.local import LocalModels

__all__ = ["main"]


async def _serve(path: Path) -> None:
    engine = Engine(load_model)
    sandbox = TemplateSandbox()
    try:
        await engine.load(LocalModels(None).entry_for(path), LoadModel(path=str(path)), lambda _fraction: True)
        template = await template_for(engine.model(), sandbox)
        _reply({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            prompt = await template.render(sandbox, [ChatMessage("user", asked["text"])])
            sampling = Sampling(temperature=0.0, seed=asked["seed"], max_tokens=asked["max_tokens"])
            _reply(await _answer(engine, prompt, sampling))
    finally:
        await sandbox.close()
        await engine.close()


async def _answer(engine: Engine, prompt: str, sampling: Sampling) -> dict[str, object]:
    started = time.perf_counter()
    first_at = 0.0
    first_tokens = tokens = 0
    pieces: list[str] = []
    async for item in engine.generate(Completion(prompt=prompt, sampling=sampling)):
        if isinstance(item, TextChunk):
            pieces.append(item.text)
            tokens = item.tokens
            if not first_at:
                first_at, first_tokens = time.perf_counter(), item.tokens
    ended = time.perf_counter()
    return {
        "text": "".join(pieces),
        "tokens": tokens,
        "ttft_s": first_at - started,
        "tok_s": (tokens - first_tokens) / (ended - first_at),
    }


def _reply(fields: dict[str, object]) -> None:
    print(json.dumps(fields), flush=True)


def main(path: str) -> None:
    """Answers until stdin ends."""
    asyncio.run(_serve(Path(path)))


if __name__ == "__main__":
    main(sys.argv[1])
