"""The engine thread seen from the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from backend.api.errors import ContextOverflowError, GrammarError, ModelLoadError, NoModelError
from backend.api.schemas import Completion, LoadModel, Sampling
from backend.engine.model import Model
from backend.engine.worker import Engine, Generation, GenerationDone, PrefillProgress, TextChunk
from tests.fakes.models import FakeModel, fake_entry, loader_of, scripted


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


async def loaded_engine(model: Model) -> Engine:
    engine = Engine(loader_of(lambda: model))
    await engine.load(fake_entry(), LoadModel(), lambda _: True)
    return engine


def ask(engine: Engine, prompt: str = "p\0", **sampling: Any) -> Generation:
    return engine.generate(Completion(prompt=prompt, sampling=Sampling(temperature=0, **sampling)), coalesce_s=0.01)


async def collect(generation: Generation) -> tuple[str, list[Any]]:
    items = [item async for item in generation]
    return "".join(i.text for i in items if isinstance(i, TextChunk)), items


def test_items_come_in_order_and_end_once() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("hello there"))
        text, items = await collect(ask(engine))
        assert text == "hello there"
        assert isinstance(items[0], PrefillProgress)
        assert [isinstance(i, GenerationDone) for i in items].count(True) == 1
        stats = items[-1].stats
        assert stats.completion_tokens == 11
        assert stats.prompt_tokens == 2
        assert 0 < stats.ttft_s <= stats.total_s
        assert stats.finish_reason == "stop"
        assert not engine.busy
        await engine.close()

    run(test())


def test_text_is_coalesced_but_the_first_token_goes_at_once() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("x" * 60, delay_s=0.002))
        _, items = await collect(
            engine.generate(Completion(prompt="p\0", sampling=Sampling(temperature=0)), coalesce_s=0.05)
        )
        chunks = [i for i in items if isinstance(i, TextChunk)]
        assert chunks[0].text == "x"
        assert 2 <= len(chunks) <= 10, "60 tokens in about 0.15 s, at 20 pieces a second"
        assert chunks[-1].tokens == 60
        await engine.close()

    run(test())


def test_cancel_ends_a_long_answer_within_200_ms() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("y" * 4000, delay_s=0.005))
        generation = ask(engine)
        async for item in generation:
            if isinstance(item, TextChunk):
                break
        asked = time.perf_counter()
        generation.cancel()
        _, items = await collect(generation)
        assert time.perf_counter() - asked < 0.2
        assert items[-1].stats.finish_reason == "cancelled"
        await engine.close()

    run(test())


def test_cancel_reaches_into_a_pass_of_a_long_prefill() -> None:
    async def test() -> None:
        model = scripted("y", delay_s=10.0)
        engine = await loaded_engine(model)
        generation = ask(engine)
        items = aiter(generation)
        assert isinstance(await anext(items), PrefillProgress)
        asked = time.perf_counter()
        generation.cancel()
        done = await anext(items)
        assert isinstance(done, GenerationDone)
        assert done.stats.finish_reason == "cancelled"
        assert time.perf_counter() - asked < 0.2
        assert model.cache == []
        await engine.close()

    run(test())


def test_a_waiting_generation_can_be_cancelled_and_the_running_one_goes_on() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("z" * 30, delay_s=0.005))
        first, second = ask(engine), ask(engine)
        assert engine.busy
        second.cancel()
        (text, _), (_, items) = await asyncio.gather(collect(first), collect(second))
        assert text == "z" * 30
        assert items[-1].stats.finish_reason == "cancelled"
        assert items[-1].stats.completion_tokens == 0
        await engine.close()

    run(test())


def test_two_generations_at_once_take_turns() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("same", delay_s=0.001))
        texts = await asyncio.gather(*(collect(ask(engine, f"prompt {i}\0")) for i in range(5)))
        assert [text for text, _ in texts] == ["same"] * 5
        await engine.close()

    run(test())


def test_errors_reach_the_one_who_asked_and_the_thread_lives_on() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("ok", n_ctx=30))
        with pytest.raises(ContextOverflowError):
            await collect(ask(engine, "x" * 50))
        with pytest.raises(GrammarError):
            await collect(engine.generate(Completion(prompt="p", sampling=Sampling(), grammar="root ::= x")))
        assert (await collect(ask(engine)))[0] == "ok"
        await engine.close()

    run(test())


def test_a_broken_model_is_a_sentence() -> None:
    async def test() -> None:
        def explode(_: object) -> int:
            raise RuntimeError("tensor on fire")

        engine = await loaded_engine(FakeModel(explode))
        with pytest.raises(Exception, match="failed while answering") as caught:
            await collect(ask(engine))
        assert "tensor on fire" in caught.value.details  # type: ignore[attr-defined]
        await engine.close()

    run(test())


def test_without_a_model_there_is_a_sentence() -> None:
    async def test() -> None:
        engine = Engine(loader_of(lambda: scripted("x")))
        with pytest.raises(NoModelError):
            await collect(ask(engine))
        with pytest.raises(NoModelError):
            await engine.count_tokens("x")
        await engine.close()

    run(test())


def test_a_failed_load_leaves_the_old_model() -> None:
    async def test() -> None:
        old = scripted("old")
        models: list[Model | None] = [old, None]

        def make() -> Model:
            model = models.pop(0)
            if model is None:
                raise ModelLoadError("broken")
            return model

        engine = Engine(loader_of(make))
        await engine.load(fake_entry("old"), LoadModel(), lambda _: True)
        with pytest.raises(ModelLoadError):
            await engine.load(fake_entry("new"), LoadModel(), lambda _: True)
        assert engine.loaded is not None
        assert engine.loaded.entry.name == "old"
        assert (await collect(ask(engine)))[0] == "old"
        await engine.close()
        assert old.closed

    run(test())


def test_a_new_model_takes_the_place_of_the_old() -> None:
    async def test() -> None:
        old, new = scripted("old"), scripted("new")
        models = [old, new]
        engine = Engine(loader_of(lambda: models.pop(0)))
        await engine.load(fake_entry(), LoadModel(), lambda _: True)
        await engine.load(fake_entry(), LoadModel(), lambda _: True)
        assert old.closed
        assert (await collect(ask(engine)))[0] == "new"
        await engine.unload()
        assert new.closed
        assert engine.loaded is None
        await engine.close()

    run(test())


def test_close_stops_what_runs() -> None:
    async def test() -> None:
        model = scripted("w" * 4000, delay_s=0.01)
        engine = await loaded_engine(model)
        generation = ask(engine)
        async for item in generation:
            if isinstance(item, TextChunk):
                break
        started = time.perf_counter()
        await engine.close()
        assert time.perf_counter() - started < 0.5
        assert model.closed

    run(test())


def test_embeddings_and_token_counts() -> None:
    async def test() -> None:
        engine = await loaded_engine(scripted("x"))
        vectors, tokens = await engine.embed(["abc", "de"])
        assert tokens == 5
        assert [v.shape for v in vectors] == [(8,), (8,)]
        assert await engine.count_tokens("hello") == 5
        await engine.close()

    run(test())
