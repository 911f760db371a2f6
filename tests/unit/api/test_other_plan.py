"""A loaded model is given another plan: the chat goes on, and reads its messages again once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from backend.api.client import Client
from backend.api.schemas import (
    ConversationUpdate,
    LoadedModel,
    LoadModel,
    Message,
    ModelEntry,
    NewConversation,
    Sampling,
    StartTurn,
    TurnEnded,
)
from backend.engine.loading import load_model
from backend.engine.model import Model
from tests.fakes.server import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, smollm2_pack: Path) -> Iterator[RunningServer]:
    size = smollm2_pack.stat().st_size
    entry = ModelEntry(id="a" * 16, name="Smol", path=str(smollm2_pack), source="file", bytes=size)

    def load(what: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> tuple[Model, LoadedModel]:
        return load_model(what, replace(options, n_threads=1), progress)

    folder = tmp_path_factory.mktemp("data")
    with running_server(folder, loader=load, entries=[entry], load=False) as running:
        yield running


@pytest.mark.parametrize(
    "changed",
    [{"kv": "q8"}, {"n_ctx": 700}, {"memory_budget": 100_000_000}, {"speculation": "custom", "draft_nodes": 3}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_chat_goes_on_under_another_plan(server: RunningServer, changed: dict[str, object]) -> None:
    plan = LoadModel(id="a" * 16, n_ctx=1024, kv="f16", speculation="off")

    async def test() -> None:
        async with Client(server.base_url, server.token) as client:
            conversation = await client.create_conversation(NewConversation())
            # an answer that fills the context would push out what the third turn is to find in the cache
            brief = ConversationUpdate(sampling=Sampling(seed=5, max_tokens=80))
            await client.update_conversation(conversation.id, brief)

            async def say(text: str, after: Message | None = None) -> Message:
                turn = StartTurn(text=text, parent_id=after.id if after is not None else None)
                events = [event async for event in client.chat_stream(conversation.id, turn)]
                assert isinstance(events[-1], TurnEnded)
                assert events[-1].message.stats is not None
                return events[-1].message

            async def load(request: LoadModel) -> None:
                await client.load_model(request)
                await asyncio.to_thread(server.do, server.services.loader.settled())

            await load(plan)
            first = await say("The capital of France is Paris. Say one word.")
            assert first.stats is not None
            await load(replace(plan, **changed))
            status = await client.status()
            assert status.model is not None
            told = status.model
            assert (told.kv, told.n_ctx, told.streamed_bytes > 0, told.speculation) == (
                changed.get("kv", "f16"),
                changed.get("n_ctx", 1024),
                "memory_budget" in changed,
                changed.get("speculation", "off"),
            )
            second = await say("Say another word.", first)
            third = await say("And one more.", second)
            assert second.stats is not None
            assert third.stats is not None
            assert second.stats.cached_tokens == 0
            assert second.stats.prompt_tokens > first.stats.prompt_tokens + first.stats.completion_tokens
            assert third.stats.cached_tokens >= second.stats.prompt_tokens
            messages = (await client.conversation(conversation.id)).messages
            assert [message.role for message in messages] == ["user", "assistant"] * 3

    asyncio.run(asyncio.wait_for(test(), 120))
