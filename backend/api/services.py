"""What the routes work with: the parts of the backend, put together once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backend.api.downloads import Offer, Purpose, Recommendations, SearchResult
from backend.api.errors import ConflictError, NutshellError
from backend.api.events import EventHub
from backend.api.hub_schemas import RepositoryFits
from backend.api.naming import find
from backend.api.plan_schemas import ModelLadder, ModelPlan, ModelTrial
from backend.api.schemas import HardwareReport, LoadedModel, LoadModel, ModelEntry
from backend.chat.service import Chat
from backend.hardware.memory import memory_report
from backend.jobs.compressing import Compressions
from backend.jobs.downloading import Downloads
from backend.jobs.jobs import JobHandle, Jobs
from backend.jobs.loading import ModelLoader
from backend.jobs.moving import ModelsFolder
from backend.jobs.pressure import MemoryWatch
from backend.planner.learned import Learned

if TYPE_CHECKING:
    from backend.engine.worker import Engine, Generation
    from backend.hub.local import LocalModels
    from backend.storage.store import Store

__all__ = ["Services"]

#: Seconds that one part may take to end. The process is given 1.5 s for all of them (see `process`).
STEP_S = 0.7

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Services:
    """The parts of one engine process.

    Attributes:
        data_dir: where the conversations are.
        hardware: probes the machine; slow (tens of milliseconds), called off the loop.
        own_folders: where the models lie that Nutshell may delete.
        notices: sentences that the user must be told once.
        generations: those that other programs asked for and that run now.
        compressions: makes models smaller.
        downloads: asks the hub, and brings models from it.
        folder: where models are kept, and moving them.
        request_stop: asks the process to end; set by whoever runs the server.
        learned: what loads took on this machine.
        opening: finds the model of the command line; what depends on knowing it waits for this.
    """

    store: Store
    engine: Engine
    models: LocalModels
    data_dir: Path
    hub: EventHub
    chat: Chat
    jobs: Jobs
    loader: ModelLoader
    compressions: Compressions
    downloads: Downloads
    folder: ModelsFolder
    hardware: Callable[[], HardwareReport]
    learned: Learned
    own_folders: Callable[[], Sequence[Path]] = tuple
    notices: list[str] = field(default_factory=list)
    generations: set[Generation] = field(default_factory=set)
    request_stop: Callable[[], None] = lambda: None
    opening: asyncio.Task[None] | None = None
    _watching: asyncio.Task[None] | None = None
    _compared: tuple[tuple[str, ...], list[Path]] = ((), [])

    @classmethod
    def build(
        cls,
        *,
        store: Store,
        engine: Engine,
        models: LocalModels,
        data_dir: Path,
        hardware: Callable[[], HardwareReport],
        learned: Learned | None = None,
        builds: Path | None = None,
        own_folders: Callable[[], Sequence[Path]] = tuple,
        notices: list[str] | None = None,
        load_defaults: LoadModel | None = None,
    ) -> Services:
        """Puts the parts together around one event hub; `builds` is where compressed models go."""
        hub = EventHub()
        jobs = Jobs(hub.publish)
        chat = Chat(store, engine, hub.publish)
        compressions = Compressions(models, jobs, builds or data_dir / "builds", hardware)
        downloads = Downloads(jobs, data_dir / "downloads")
        return cls(
            store=store,
            engine=engine,
            models=models,
            data_dir=data_dir,
            hub=hub,
            chat=chat,
            jobs=jobs,
            loader=ModelLoader(engine, models, jobs, hub.publish, adopt=chat.adopt_model, defaults=load_defaults),
            compressions=compressions,
            downloads=downloads,
            folder=ModelsFolder(jobs, downloads, compressions, lambda: engine.loaded),
            hardware=hardware,
            learned=learned or Learned(data_dir / "learned.json"),
            own_folders=own_folders,
            notices=[*store.notices, *(notices or [])],
        )

    def hardware_report(self, *, again: bool = False) -> HardwareReport:
        """The machine with its speeds, measured where they are not known; called off the loop.

        Raises:
            ConflictError: `again` while a model answers: its speed would be taken for the machine's.
        """
        from backend.hardware.speeds import with_speeds

        busy = self.engine.busy
        if busy and again:
            raise ConflictError(
                "Nothing can be measured while a model writes.",
                why="Both would share the memory, and the figures would be too low.",
                remedy="Wait for the answer, or stop it, and measure again.",
            )
        models = [Path(one.path) for one in self.models.scan() if one.error is None]
        report = with_speeds(self.hardware(), models, measure=not busy, again=again)
        report.model = self.engine.loaded
        report.limit = self._planned(report.model).limit if report.model is not None else ""
        return report

    def offers(self) -> list[Offer]:
        """The catalogue, planned for this machine; some tenths of a second, called off the loop."""
        from backend.planner.machine import this_machine
        from backend.planner.offers import offers

        return offers(this_machine(self.data_dir), self.learned.about, leaving=self._leaving())

    def recommended(self, purpose: Purpose) -> Recommendations:
        """Three models for a purpose; some tenths of a second, called off the loop."""
        from backend.planner.machine import this_machine
        from backend.planner.offers import offers
        from backend.planner.recommending import recommended

        machine, leaving = this_machine(self.data_dir), self._leaving()
        found = offers(machine, self.learned.about, leaving=leaving)
        return recommended(purpose, found, machine, self.learned.about, leaving=leaving)

    async def trial(self) -> ModelTrial:
        """A few tokens of the loaded model, beside what the planner expects of it."""
        from backend.chat.trial import try_model

        loaded = self.engine.loaded
        if loaded is None:
            self.engine.model()  # says so
        assert loaded is not None
        return await try_model(self.engine, await asyncio.to_thread(self._planned, loaded))

    def _planned(self, loaded: LoadedModel) -> ModelPlan:
        """What is expected of a model as it is loaded."""
        budget = loaded.weight_bytes - loaded.streamed_bytes if loaded.streamed_bytes else 0
        request = LoadModel(
            path=loaded.entry.path, n_ctx=loaded.n_ctx, n_threads=loaded.n_threads, memory_budget=budget,
            kv="q8" if loaded.kv == "q8" else "f16",
        )  # fmt: skip
        try:
            return self.plan(loaded.entry, request)
        except NutshellError:  # the planner does not know its kind; it runs all the same
            return ModelPlan(name=loaded.entry.name, verdict="fits")

    def plan(self, entry: ModelEntry, request: LoadModel) -> ModelPlan:
        """Whether a model of this machine fits as it is to be loaded; called off the loop."""
        from backend.planner.loads import plan_of_load
        from backend.planner.machine import this_machine

        return plan_of_load(
            entry, self.loader.filled(entry, request), this_machine(self.data_dir), self.learned.about,
            leaving=self._leaving(), drafts=lambda: self._guessers(entry),
        )  # fmt: skip

    def ladder(self) -> ModelLadder:
        """The builds of the loaded model on this machine, from fast to best; called off the loop."""
        from backend.planner.ladder import ladder
        from backend.planner.machine import this_machine

        loaded = self.engine.loaded
        if loaded is None:
            self.engine.model()  # says so
        assert loaded is not None
        return ladder(
            loaded, self.models.scan(), this_machine(self.data_dir), self.learned.about,
            usual=self.loader.defaults, drafts=lambda: self._guessers(loaded.entry),
        )  # fmt: skip

    def _guessers(self, entry: ModelEntry) -> list[Path]:
        """Installed models that could guess for one; compared once for the same files."""
        from backend.speculative.suggest import guessers

        installed = self.models.scan()
        key = (entry.path, *(one.path for one in installed))
        if self._compared[0] != key:
            self._compared = key, guessers(entry, installed)
        return self._compared[1]

    def fits(self, name: str, revision: str) -> RepositoryFits:
        """Which models of a repository on the hub would run here; asks the hub, called off the loop."""
        from backend.planner.machine import this_machine
        from backend.planner.remote import fits

        machine = this_machine(self.data_dir)
        return fits(name, machine, self.learned.about, revision=revision, leaving=self._leaving())

    def guess(self, found: list[SearchResult]) -> list[SearchResult]:
        """Says of each result whether its usual build would likely fit; called off the loop."""
        from backend.planner.machine import this_machine
        from backend.planner.remote import likely, usual_bytes

        if any(one.parameters for one in found):
            machine = this_machine(self.data_dir)
            for one in found:
                if one.parameters:
                    one.usual_bytes = usual_bytes(one.parameters)
                    one.likely = likely(one.parameters, machine, leaving=self._leaving())
        return found

    def _leaving(self) -> int:
        loaded = self.engine.loaded
        return loaded.held_bytes if loaded is not None else 0

    async def open_model(self, request: LoadModel) -> None:
        """Loads the model of the command line, by path, id or name. What is wrong with it becomes a failed job, as if
        the user had asked for it in the window.
        """
        try:
            if request.id is not None:
                entry = find(await asyncio.to_thread(self.models.scan), request.id)
                request = LoadModel(id=entry.id, position=request.position) if entry is not None else request
            await self.loader.start(request)
        except NutshellError as error:
            logger.warning("the model %s cannot be loaded: %s", request.id or request.path, error)
            failure = error

            async def fail(_: JobHandle) -> None:
                raise failure

            self.jobs.start("load_model", f"Loading {Path(request.path or request.id or '').name}", fail)

    @property
    def loaded(self) -> LoadedModel | None:
        """See `pressure.Keeper`, as the three that follow."""
        return self.engine.loaded

    async def drop_draft(self) -> None:
        """Lets go of the model that guesses."""
        await self.loader.drop_draft()

    def stop_answers(self) -> bool:
        """Stops every answer, those of other programs, too."""
        for generation in list(self.generations):
            generation.cancel()
        stopped = self.chat.cancel_all()
        return stopped or bool(self.generations)

    async def unload(self) -> None:
        """Lets go of the model."""
        await self.loader.unload()

    def watch_memory(self) -> None:
        """Begins to look after the memory that is free; ends with `quiesce`."""
        self._watching = asyncio.create_task(MemoryWatch(self, self.hub.publish, memory_report).run())

    async def quiesce(self) -> None:
        """Ends what runs: answers (they are saved as they are), loading, streams. The server still answers."""
        if self._watching is not None:
            self._watching.cancel()
        for generation in list(self.generations):
            generation.cancel()
        await _step("chat", self.chat.close())
        await _step("jobs", self.jobs.close())
        self.hub.close()

    async def close(self) -> None:
        """Frees the model and closes the database. Call `quiesce` first."""
        await _step("engine", self.engine.close())
        self.store.close()


async def _step(name: str, work: Awaitable[None]) -> None:
    # One part that cannot end must not keep the others from ending: the database comes last.
    try:
        await asyncio.wait_for(work, STEP_S)
    except TimeoutError:
        logger.warning("%s did not end in time", name)
    except NutshellError as error:
        logger.warning("%s did not end well: %s", name, error)
