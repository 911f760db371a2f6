"""A loaded model whose slider moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import InvalidRequestError, MemoryShortageError, NoModelError
from backend.api.schemas import Completion, LoadModel, Sampling
from backend.engine.loading import load_model
from backend.engine.model import Model, TokenTree
from backend.engine.native import NativeModel
from backend.engine.slider import Speeds
from backend.engine.worker import Engine, GenerationDone, TextChunk
from backend.hub.local import LocalModels

pytestmark = pytest.mark.model


@pytest.fixture
def model(slider_pack: Path) -> Iterator[NativeModel]:
    found = NativeModel(slider_pack, n_ctx=64, n_threads=1, position=0.0)
    yield found
    found.close()


def logits(model: Model) -> np.ndarray:
    return np.array(model.forward(TokenTree.chain([1, 2, 3])))


def test_a_moved_model_is_the_one_that_was_loaded_there(model: NativeModel, slider_pack: Path) -> None:
    slider = model.slider
    assert slider is not None
    seen = []
    for steps in (0, 5, slider.last, 2):
        assert model.move(steps) == (steps != 0)
        fresh = NativeModel(slider_pack, n_ctx=64, n_threads=1, position=slider.place(steps))
        assert fresh.steps == model.steps == steps
        np.testing.assert_array_equal(logits(model), logits(fresh))
        seen.append(logits(model)[-1])
        assert model.info == fresh.info
        assert model.info.weight_bytes == slider.bytes[steps]
        fresh.close()
    assert len({row.tobytes() for row in seen}) == 4
    sizes = [slider.bytes[steps] for steps in (0, slider.last)]
    assert sizes[0] < sizes[1]


def test_a_move_forgets_the_conversation(model: NativeModel) -> None:
    model.forward(TokenTree.chain([1, 2]))
    model.commit([0, 1])
    assert not model.move(model.steps)
    assert model.length == 2
    assert model.move(3)
    assert model.length == 0
    with pytest.raises(RuntimeError, match="without a forward"):
        model.commit([0])


def test_a_move_that_finds_no_room_changes_nothing(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = logits(model)
    model.rewind(0)

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model, "_executors", full)
        with pytest.raises(MemoryShortageError):
            model.move(4)
    assert model.steps == 0
    np.testing.assert_array_equal(logits(model), before)


def test_what_has_no_slider_is_not_moved(tiny_pack: Path) -> None:
    plain = NativeModel(tiny_pack, n_ctx=64, n_threads=1)
    assert plain.slider is None
    with pytest.raises(InvalidRequestError, match="no slider"):
        plain.move(0)
    plain.close()


@pytest.mark.parametrize("file", ["tiny_pack", "tiny_gguf"])
def test_a_position_of_what_has_none_is_refused_when_it_is_loaded(file: str, request: pytest.FixtureRequest) -> None:
    entry = LocalModels(None).entry_for(request.getfixturevalue(file))
    with pytest.raises(InvalidRequestError, match="no slider"):
        load_model(entry, LoadModel(n_ctx=64, position=0.5), lambda _: True)


def test_what_is_told_of_a_slider(slider_pack: Path) -> None:
    entry = LocalModels(None).entry_for(slider_pack)
    model, loaded = load_model(entry, LoadModel(n_ctx=64, n_threads=1, position=0.25), lambda _: True)
    told = loaded.slider
    assert isinstance(model, NativeModel)
    assert model.slider is not None
    assert told is not None
    assert told.position == model.slider.place(model.slider.steps(0.25))
    assert told.default == model.slider.place(model.slider.default)
    places = [point.place for point in told.points]
    assert places == sorted(set(places))
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert told.position in places
    assert all(less.bytes < more.bytes for less, more in zip(told.points, told.points[1:], strict=False))
    assert all(less.tok_s >= more.tok_s > 0 for less, more in zip(told.points, told.points[1:], strict=False))
    assert [point.place for point in told.points if point.measured] == [0.0, 1.0]
    model.close()


def test_speeds_between_and_beyond_what_was_measured() -> None:
    speeds = Speeds()
    assert speeds.tok_s(100) == 0
    speeds._seconds = {100: 0.01}
    assert speeds.tok_s(200) == pytest.approx(50)
    deep = Speeds(100)
    deep._seconds = {100: 0.01}
    assert deep.tok_s(200) == pytest.approx(1 / 0.0155)
    speeds._seconds = {100: 0.01, 300: 0.02}
    assert speeds.tok_s(200) == pytest.approx(1 / 0.015)
    assert speeds.tok_s(400) == pytest.approx(1 / 0.025)
    assert speeds.tok_s(50) == pytest.approx(1 / 0.0075)
    speeds._seconds = {100: 0.01, 300: 0.02, 500: 0.05}
    assert speeds.tok_s(200) == pytest.approx(1 / 0.015)
    assert speeds.tok_s(400) == pytest.approx(1 / 0.035)
    assert speeds.tok_s(0) == 0


def test_the_next_answer_is_of_the_new_position(slider_pack: Path) -> None:
    entry = LocalModels(None).entry_for(slider_pack)
    completion = Completion(prompt="ab", sampling=Sampling(temperature=0, max_tokens=6))

    async def answer(engine: Engine) -> str:
        text = ""
        async for item in engine.generate(completion, coalesce_s=0):
            if isinstance(item, TextChunk):
                text += item.text
            elif isinstance(item, GenerationDone):
                assert item.stats.cached_tokens == 0
        return text

    async def work() -> None:
        engine = Engine(load_model)
        try:
            with pytest.raises(NoModelError):
                await engine.move(0.5)
            await engine.load(entry, LoadModel(n_ctx=64, n_threads=1, position=0.0), lambda _: True)
            first = engine.loaded
            running = asyncio.create_task(answer(engine))
            await asyncio.sleep(0)
            moved = await engine.move(1.0)  # waits for the answer
            assert running.done() or await running is not None
            assert first is not None
            assert first.slider is not None
            assert moved is engine.loaded
            assert moved.slider is not None
            assert moved.slider.position == 1.0
            assert moved.weight_bytes > first.weight_bytes
            assert await engine.move(1.0) is moved
            assert moved.speculation == first.speculation == "auto", "what was chosen stays"
            session = engine._session
            assert session is not None
            assert session.speculation is not None
            after = await answer(engine)
            with pytest.raises(InvalidRequestError, match="no position"):
                await engine.move(2.0)
            await engine.load(entry, LoadModel(n_ctx=64, n_threads=1, position=1.0), lambda _: True)
            assert await answer(engine) == after
        finally:
            await engine.close()

    asyncio.run(work())
