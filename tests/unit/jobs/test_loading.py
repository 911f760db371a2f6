from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backend.api.errors import ConflictError, InvalidRequestError, ModelLoadError, NotFoundError, UnsupportedModelError
from backend.api.schemas import ErrorInfo, Event, LoadedModel, LoadModel, ModelChanged, ModelEntry
from backend.api.speculation_schemas import Speculate
from backend.engine.model import Model
from backend.engine.worker import Engine
from backend.jobs.jobs import Jobs
from backend.jobs.loading import ModelLoader
from tests.fakes.models import echo, loader_of
from tests.fakes.server import FakeLocalModels

DEADLINE_S = 10.0


def entry(name: str) -> ModelEntry:
    return ModelEntry(id=name.ljust(16, "0"), name=name, path=f"/models/{name}.gguf", source="file", bytes=100)


A, B = entry("a"), entry("b")
BROKEN = ModelEntry(
    id="broken",
    name="broken",
    path="/models/broken.gguf",
    source="file",
    bytes=1,
    error=ErrorInfo(code="unsupported_model", what="Cannot run."),
)


class Gate:
    """A loader that can be held, counts its loads, and fails for the names in `bad`."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.bad: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def __call__(
        self, what: ModelEntry, options: LoadModel, progress: Callable[[float], bool]
    ) -> tuple[Model, LoadedModel]:
        self.loads.append(what.name)
        self.options = options
        self.entered.set()
        while not self.open.wait(0.005):
            if not progress(0.5):
                raise ConflictError("Loading was cancelled.")
        if what.name in self.bad:
            raise ModelLoadError("No.")
        return loader_of(echo)(what, options, progress)


class Setup:
    def __init__(self, defaults: LoadModel | None = None) -> None:
        self.events: list[Event] = []
        self.gate = Gate()
        self.engine = Engine(self.gate)
        self.jobs = Jobs(self.events.append)
        self.loader = ModelLoader(
            self.engine, FakeLocalModels(A, B, BROKEN), self.jobs, self.events.append, defaults=defaults
        )

    @property
    def changes(self) -> list[str | None]:
        return [
            event.model.entry.name if event.model else None for event in self.events if isinstance(event, ModelChanged)
        ]

    async def entered(self) -> None:
        assert await asyncio.to_thread(self.gate.entered.wait, DEADLINE_S)
        self.gate.entered.clear()


def run(test: Callable[[Setup], Awaitable[None]], defaults: LoadModel | None = None) -> None:
    async def main() -> None:
        setup = Setup(defaults)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(setup)
        finally:
            setup.gate.open.set()
            await setup.jobs.close()
            await setup.engine.close()

    asyncio.run(main())


def test_loading_is_a_job_and_is_announced() -> None:
    async def test(s: Setup) -> None:
        job = await s.loader.start(LoadModel(id=A.id))
        assert s.loader.loading == job.id
        ended = await s.jobs.wait(job.id)
        assert (ended.state, ended.result) == ("finished", {"model_id": A.id})
        assert (ended.done, ended.total, ended.unit) == (100, 100, "bytes")
        assert s.loader.loading is None
        assert s.changes == ["a"]

    run(test)


def test_by_path() -> None:
    async def test(s: Setup) -> None:
        await s.jobs.wait((await s.loader.start(LoadModel(path=str(Path(B.path))))).id)
        assert s.changes == ["b"]

    run(test)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (LoadModel(), InvalidRequestError),
        (LoadModel(id="nope"), NotFoundError),
        (LoadModel(id="broken"), UnsupportedModelError),
    ],
)
def test_refused_at_once(request_: LoadModel, error: type[Exception]) -> None:
    async def test(s: Setup) -> None:
        with pytest.raises(error):
            await s.loader.start(request_)
        assert s.gate.loads == []

    run(test)


def test_the_same_request_while_loading_is_the_same_job() -> None:
    async def test(s: Setup) -> None:
        s.gate.open.clear()
        first = await s.loader.start(LoadModel(id=A.id))
        await s.entered()
        assert (await s.loader.start(LoadModel(path=A.path))).id == first.id
        s.gate.open.set()
        await s.jobs.wait(first.id)
        assert s.gate.loads == ["a"]

    run(test)


def test_loading_again_with_the_same_options_does_nothing_and_with_others_loads() -> None:
    async def test(s: Setup) -> None:
        await s.jobs.wait((await s.loader.start(LoadModel(id=A.id))).id)
        await s.jobs.wait((await s.loader.start(LoadModel(id=A.id))).id)
        assert s.gate.loads == ["a"]
        await s.jobs.wait((await s.loader.start(LoadModel(id=A.id, n_ctx=512))).id)
        assert s.gate.loads == ["a", "a"]

    run(test)


def test_another_model_gives_up_the_load_that_is_under_way() -> None:
    async def test(s: Setup) -> None:
        s.gate.open.clear()
        first = await s.loader.start(LoadModel(id=A.id))
        await s.entered()
        second = await s.loader.start(LoadModel(id=B.id))
        assert s.loader.loading == second.id
        assert (await s.jobs.wait(first.id)).state == "cancelled"
        s.gate.open.set()
        assert (await s.jobs.wait(second.id)).state == "finished"
        assert s.engine.loaded is not None
        assert s.engine.loaded.entry.name == "b"
        assert s.changes == ["b"]

    run(test)


def test_a_failed_load_says_why_and_the_state_is_told_truly() -> None:
    async def test(s: Setup) -> None:
        await s.loader.ensure(A)
        s.gate.bad.add("b")
        with pytest.raises(ModelLoadError):
            await s.loader.ensure(B)
        told = s.changes[-1]
        now = s.engine.loaded.entry.name if s.engine.loaded else None
        assert told == now
        assert s.loader.loading is None

    run(test)


def test_unload_also_while_loading() -> None:
    async def test(s: Setup) -> None:
        await s.loader.ensure(A)
        s.gate.open.clear()
        s.gate.entered.clear()
        job = await s.loader.start(LoadModel(id=B.id))
        await s.entered()
        await s.loader.unload()
        assert s.jobs.get(job.id).state == "cancelled"
        assert s.engine.loaded is None
        assert s.changes[-1] is None

    run(test)


def test_ensure_loads_once_for_many_who_ask() -> None:
    async def test(s: Setup) -> None:
        models: list[Any] = await asyncio.gather(*(s.loader.ensure(A) for _ in range(5)))
        assert {model.entry.name for model in models} == {"a"}
        assert s.gate.loads == ["a"]

    run(test)


def test_ensure_that_is_overtaken_says_so() -> None:
    async def test(s: Setup) -> None:
        s.gate.open.clear()
        asked = asyncio.ensure_future(s.loader.ensure(A))
        await s.entered()
        second = await s.loader.start(LoadModel(id=B.id))
        with pytest.raises(ConflictError, match="was not loaded"):
            await asked
        s.gate.open.set()
        await s.jobs.wait(second.id)

    run(test)


def test_settled_waits_for_the_load_and_not_longer() -> None:
    async def test(s: Setup) -> None:
        await s.loader.settled()
        s.gate.open.clear()
        await s.loader.start(LoadModel(id=A.id))
        waiting = asyncio.ensure_future(s.loader.settled())
        await s.entered()
        assert not waiting.done()
        s.gate.open.set()
        await waiting
        assert s.engine.loaded is not None

    run(test)


@pytest.mark.parametrize(
    ("default", "asked", "used"), [("", "", "f16"), ("q8", "", "q8"), ("q8", "f16", "f16"), ("", "q8", "q8")]
)
def test_the_conversation_memory_is_what_was_asked_for_or_chosen_for_all_models(
    default: Any, asked: Any, used: str
) -> None:
    async def test(s: Setup) -> None:
        await s.jobs.wait((await s.loader.start(LoadModel(id=A.id, kv=asked))).id)
        assert s.gate.options.kv == used
        await s.jobs.wait((await s.loader.start(LoadModel(id=A.id, kv=used))).id)  # type: ignore[arg-type]
        assert s.gate.loads == ["a"]  # the same model in the same way: it is there

    run(test, LoadModel(kv=default))


def test_letting_go_of_the_draft_is_no_choice_for_later_loads() -> None:
    async def test(setup: Setup) -> None:
        await setup.loader.drop_draft()  # nothing is loaded
        await setup.loader.ensure(A)
        loaded = setup.engine.loaded
        assert loaded is not None
        loaded.draft_model = "small.gguf"
        setup.events.clear()
        await setup.loader.drop_draft()
        assert setup.engine.loaded is not None
        assert setup.engine.loaded.draft_model == ""
        assert setup.changes == ["a"]
        await setup.loader.drop_draft()
        assert setup.changes == ["a"]
        await setup.loader.ensure(B)
        assert setup.gate.options.draft_model == "small.gguf"

    run(test, LoadModel(draft_model="small.gguf"))


def test_a_draft_that_came_with_a_build_is_no_choice_for_later_loads() -> None:
    async def test(setup: Setup) -> None:
        def plain() -> LoadModel:
            return setup.loader.filled(A, LoadModel(id=A.id))

        job = await setup.loader.start(LoadModel(id=A.id, draft_model="small.gguf"))
        await setup.jobs.wait(job.id)
        assert setup.gate.options.draft_model == "small.gguf"
        loaded = setup.engine.loaded
        assert loaded is not None
        loaded.draft_model = "small.gguf"  # as with a model that can guess
        await setup.loader.speculate(Speculate(speculation="off", draft_model="small.gguf"))
        assert (plain().speculation, plain().draft_model) == ("off", "")
        loaded.draft_model = "small.gguf"
        await setup.loader.speculate(Speculate(speculation="custom", draft_model="small.gguf"))
        assert plain().draft_model == "small.gguf", "by hand it is a choice"
        assert setup.loader.filled(A, LoadModel(id=A.id, draft_model="none")).draft_model == ""

    run(test)
