"""Speculation of a loaded model: the user's choice, the kept curve, the draft model, and measuring in idle time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.api.errors import ModelLoadError
from backend.api.schemas import Completion, LoadedModel, LoadModel, ModelEntry, Sampling
from backend.api.speculation_schemas import Speculate
from backend.engine.model import Model
from backend.engine.worker import Engine, GenerationDone, TextChunk
from backend.speculative.setup import prepare
from tests.fakes.models import fake_entry, loader_of, scripted
from tests.unit.speculative.toys import ToyModel


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))


def no_draft(entry: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> tuple[Model, LoadedModel]:
    raise ModelLoadError("It is damaged.")


def test_the_choices() -> None:
    entry = fake_entry()
    assert prepare(ToyModel(), entry, LoadModel(speculation="off"), no_draft).speculation is None
    assert prepare(ToyModel(max_leaves=0), entry, LoadModel(), no_draft).speculation is None
    assert prepare(ToyModel(), entry, LoadModel(), no_draft).speculation is not None
    custom = prepare(ToyModel(), entry, LoadModel(speculation="custom", draft_nodes=5), no_draft).speculation
    assert custom is not None
    assert custom.controller._fixed == 5


def test_a_curve_is_measured_once_for_a_build_and_its_threads() -> None:
    model = ToyModel()
    first = prepare(model, fake_entry(), LoadModel(), no_draft)
    while first.measure():
        pass
    assert model.passes
    model.passes.clear()
    again = prepare(model, fake_entry(), LoadModel(), no_draft)
    assert not again.measure()
    assert again.speculation is not None
    assert again.speculation.costs.known
    object.__setattr__(model.info, "n_threads", 7)
    assert prepare(model, fake_entry(), LoadModel(), no_draft).measure(), "other threads, other times"
    assert model.passes


def test_a_draft_model_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    missing = prepare(ToyModel(), fake_entry(), LoadModel(draft_model=str(path)), no_draft)
    assert missing.notice.startswith("small.gguf cannot draft.")
    assert missing.speculation is not None
    assert missing.speculation.drafter is None
    path.write_bytes(b"x")
    assert "damaged" in prepare(ToyModel(), fake_entry(), LoadModel(draft_model=str(path)), no_draft).notice
    other = ToyModel()
    object.__setattr__(other.info, "n_vocab", 900)

    def opens(*_: object) -> tuple[Any, Any]:
        return other, None

    refused = prepare(ToyModel(), fake_entry(), LoadModel(draft_model=str(path)), opens)
    assert (
        refused.notice == "small.gguf cannot draft for this model. Its vocabulary has 900 tokens, and that of the "
        "model has 6."
    )
    fits = prepare(ToyModel(), fake_entry(), LoadModel(draft_model=str(path)), lambda *_: (ToyModel(), None))  # type: ignore[arg-type,return-value]
    assert fits.notice == ""
    assert fits.speculation is not None
    assert fits.speculation.drafter is not None


def test_an_engine_measures_when_it_is_idle_also_after_an_answer_was_stopped() -> None:
    asyncio.run(asyncio.wait_for(_stop_then_measure(), 30))


async def _stop_then_measure() -> None:
    model = scripted("word " * 60, delay_s=0.001)
    model.info = dataclasses.replace(model.info, max_leaves=8)
    engine = Engine(loader_of(lambda: model))
    try:
        loaded = await engine.load(fake_entry(), LoadModel(), lambda _: True)
        assert loaded.speculation == "auto"
        generation = engine.generate(Completion(prompt="p\0", sampling=Sampling(temperature=0)))
        async for item in generation:
            if isinstance(item, TextChunk):
                generation.cancel()
            if isinstance(item, GenerationDone):
                assert item.stats.finish_reason == "cancelled"
        assert engine._prepared is not None
        prepared = engine._prepared
        async with asyncio.timeout(20):
            while prepared._measuring is not None:
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        assert prepared.speculation is not None
        assert prepared.speculation.costs.known
        done = [i async for i in engine.generate(Completion(prompt="p\0", sampling=Sampling(temperature=0)))][-1]
        assert isinstance(done, GenerationDone)
        assert done.stats.completion_tokens == 300
        assert done.stats.passes + done.stats.accepted == 300, "the last pass is that of the end"
    finally:
        await engine.close()


def test_stopping_an_answer_stops_a_draft_model_that_reads_too(tmp_path: Path) -> None:
    entry = fake_entry()
    entry.path = str(tmp_path / "model")
    Path(entry.path).write_bytes(b"x")
    asyncio.run(asyncio.wait_for(_stop_a_reading_draft(entry), 10))


async def _stop_a_reading_draft(entry: ModelEntry) -> None:
    target, draft = scripted("word " * 10), scripted("word " * 10, delay_s=3600)
    target.info = dataclasses.replace(target.info, max_leaves=8)
    models = [target, draft]
    engine = Engine(loader_of(lambda: models.pop(0)))
    ask = Completion(prompt="something long\0", sampling=Sampling(temperature=0))
    try:
        wish = LoadModel(speculation="custom", draft_nodes=6, draft_model="self")
        loaded = await engine.load(entry, wish, lambda _: True)
        assert loaded.draft_notice == ""
        assert engine._prepared is not None
        assert engine._prepared.speculation is not None
        engine._prepared.speculation.costs.set(dict.fromkeys((1, 2, 4, 8), 0.001))
        generation = engine.generate(ask)
        async for item in generation:
            if isinstance(item, TextChunk):
                generation.cancel()  # behind the first token the draft reads the prompt, for an hour
        assert isinstance(item, GenerationDone)
        assert item.stats.finish_reason == "cancelled"
        assert draft.cache == []
        draft._delay_s = 0
        done = [i async for i in engine.generate(ask)][-1]
        assert isinstance(done, GenerationDone)
        assert (done.stats.completion_tokens, done.stats.finish_reason) == (50, "stop")
        assert draft.passes, "it drafts again"
        assert done.stats.accepted > 30
    finally:
        await engine.close()


def test_another_choice_keeps_the_model_and_what_it_has_read() -> None:
    asyncio.run(asyncio.wait_for(_choose_again(), 30))


async def _choose_again() -> None:
    model = scripted("word " * 10)
    model.info = dataclasses.replace(model.info, max_leaves=8)
    engine = Engine(loader_of(lambda: model))
    ask = Completion(prompt="p\0", sampling=Sampling(temperature=0))
    try:
        await engine.load(fake_entry(), LoadModel(), lambda _: True)
        [_ async for _ in engine.generate(ask)]
        loaded = await engine.speculate(Speculate(speculation="custom", draft_nodes=5))
        assert (loaded.speculation, loaded.draft_nodes) == ("custom", 5)
        assert engine.loaded is loaded
        assert engine.model() is model
        items = [i async for i in engine.generate(ask)]
        done = items[-1]
        assert isinstance(done, GenerationDone)
        assert done.stats.cached_tokens == done.stats.prompt_tokens - 1, "all of it but the last is still there"
        assert done.stats.accepted > 0
        own, guessed = done.stats.guessed[::2], done.stats.guessed[1::2]
        assert sum(own) + sum(guessed) == 50
        assert sum(guessed) == done.stats.accepted, "a letter is a token here"
        last = [item for item in items if isinstance(item, TextChunk)][-1]
        assert last.drafts.passes == done.stats.passes
        assert sum(tokens for _, tokens, _ in engine.passes().passes) == 50
        assert (await engine.speculate(Speculate(speculation="off"))).speculation == "off"
        plain = [i async for i in engine.generate(ask)][-1]
        assert isinstance(plain, GenerationDone)
        assert plain.stats.guessed == []
        assert engine.passes().passes == []
    finally:
        await engine.close()
