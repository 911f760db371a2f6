"""Loading a model, as a job that can be watched and cancelled; one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from backend.api.errors import ConflictError, InvalidRequestError, NutshellError
from backend.api.schemas import Event, Job, LoadedModel, LoadModel, ModelChanged, ModelEntry
from backend.api.speculation_schemas import Speculate
from backend.jobs.jobs import JobHandle, Jobs

__all__ = ["LoadsModels", "ModelLoader", "ModelSource", "named_entry"]


class LoadsModels(Protocol):
    """The part of the engine that is needed here."""

    @property
    def loaded(self) -> LoadedModel | None:
        """What is loaded now."""
        ...

    async def load(self, entry: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> LoadedModel:
        """Loads; `progress` gets a fraction on the engine's thread and returns False to cancel."""
        ...

    async def move(self, position: float) -> LoadedModel:
        """Moves its slider."""
        ...

    async def speculate(self, choice: Speculate) -> LoadedModel:
        """Guesses otherwise."""
        ...

    async def unload(self) -> None:
        """Frees the model."""
        ...


class ModelSource(Protocol):
    """The part of the list of local models that is needed here."""

    def by_id(self, model: str, /) -> ModelEntry:
        """An entry of the list. Raises NotFoundError."""
        ...

    def entry_for(self, path: Path, /) -> ModelEntry:
        """An entry for any file. Raises what its header deserves."""
        ...


async def named_entry(models: ModelSource, model_id: str | None, path: str | None) -> ModelEntry:
    """The model that a request names, by its id or else by its path.

    Raises:
        InvalidRequestError: it names none.
        NutshellError: there is no such model, or what is wrong with its file.
    """
    if model_id is not None:
        entry = await asyncio.to_thread(models.by_id, model_id)
    elif path is not None:
        entry = await asyncio.to_thread(models.entry_for, Path(path))
    else:
        raise InvalidRequestError(
            "No model was named.", why="Neither an id nor a path was given.", remedy="Choose a model."
        )
    if entry.error is not None:
        raise entry.error.to_error()
    return entry


class ModelLoader:
    """Loads and unloads on request, and says so to all. Lives on the event loop's thread."""

    def __init__(
        self,
        engine: LoadsModels,
        models: ModelSource,
        jobs: Jobs,
        publish: Callable[[Event], None],
        *,
        adopt: Callable[[], Awaitable[LoadedModel]] | None = None,
        defaults: LoadModel | None = None,
    ) -> None:
        self._engine = engine
        self._models = models
        self._jobs = jobs
        self._publish = publish
        self._adopt = adopt  # tries the new model's chat template, and adds what is to be said about it
        self._defaults = defaults or LoadModel()  # the user's choices for every model
        self._current: tuple[Job, LoadModel] | None = None
        self._options: LoadModel | None = None

    @property
    def loading(self) -> str | None:
        """Id of the job that is loading a model now."""
        return self._current[0].id if self._current else None

    @property
    def defaults(self) -> LoadModel:
        """The user's choices for every model."""
        return self._defaults

    def filled(self, entry: ModelEntry, request: LoadModel) -> LoadModel:
        """What a request means: the user's choices where it says nothing, and one form for a model named by id and by
        path, so that the two are seen to be the same.
        """
        draft = request.draft_model or self._defaults.draft_model
        return LoadModel(
            id=entry.id,
            path=entry.path,
            n_ctx=request.n_ctx or self._defaults.n_ctx,
            n_threads=request.n_threads or self._defaults.n_threads,
            n_gpu_layers=request.n_gpu_layers,
            kv=request.kv or self._defaults.kv or "f16",
            speculation=request.speculation or self._defaults.speculation or "auto",
            draft_nodes=request.draft_nodes if request.speculation else self._defaults.draft_nodes,
            draft_model="" if draft == "none" else draft,
            position=request.position,
            memory_budget=request.memory_budget or self._defaults.memory_budget,
        )

    async def start(self, request: LoadModel) -> Job:
        """Starts loading. A load that is under way is given up for it, unless it is the same one: then that job is
        returned. Raises NotFoundError, InvalidRequestError, and what is wrong with the file.
        """
        entry = await named_entry(self._models, request.id, request.path)
        options = self.filled(entry, request)
        before = self._current
        if before is not None:
            if before[1] == options:
                return self._jobs.get(before[0].id)
            self._jobs.cancel(before[0].id)

        async def work(handle: JobHandle) -> dict[str, object]:
            try:
                return await self._load(handle, entry, options, before[0].id if before else None)
            finally:
                if self._current is not None and self._current[0].id == handle.id:
                    self._current = None

        job = self._jobs.start("load_model", f"Loading {entry.name}", work)
        self._current = (job, options)
        return job

    async def ensure(self, entry: ModelEntry) -> LoadedModel:
        """The model of `entry`, loaded first if it is not. Raises what loading raises."""
        loaded = self._engine.loaded
        if loaded is not None and loaded.entry.id == entry.id and self._current is None:
            return loaded
        job = await self._jobs.wait((await self.start(LoadModel(id=entry.id))).id)
        loaded = self._engine.loaded
        if loaded is None or loaded.entry.id != entry.id or job.state != "finished":
            raise ConflictError(
                f"{entry.name} was not loaded.",
                why="Loading was cancelled, or another model was asked for meanwhile.",
                remedy="Ask again.",
            )
        return loaded

    async def move(self, position: float) -> LoadedModel:
        """Moves the loaded model's slider.

        Raises:
            ConflictError: another model is being loaded.
            NoModelError, InvalidRequestError, MemoryShortageError: as `Engine.move`.
        """
        before = self._engine.loaded
        if self._current is not None:
            if before is None or before.entry.id != self._current[1].id:
                raise ConflictError("Another model is being loaded.", remedy="Move the slider when it is there.")
            await self.settled()  # it is there, and its load is about to end
            before = self._engine.loaded
        moved = await self._engine.move(position)
        if moved is not before:
            if self._options is not None:
                self._options = msgspec.structs.replace(self._options, position=position)
            self._publish(ModelChanged(model=moved))
        return moved

    async def speculate(self, choice: Speculate) -> LoadedModel:
        """Has the loaded model guess otherwise; later loads do so, too, where they do not say anything else.

        Raises:
            ConflictError: another model is being loaded. NoModelError: none is.
        """
        if self._current is not None:
            before = self._engine.loaded
            if before is None or before.entry.id != self._current[1].id:
                raise ConflictError("Another model is being loaded.", remedy="Choose again when it is there.")
            await self.settled()  # it is there, and its load is about to end
        had = self._engine.loaded
        loaded = await self._engine.speculate(choice)
        said = {name: getattr(choice, name) for name in choice.__struct_fields__}
        came = had is not None and choice.speculation != "custom" and choice.draft_model == had.draft_model
        usual = {**said, "draft_model": self._defaults.draft_model} if came else said  # it may have come with a build
        self._defaults = msgspec.structs.replace(self._defaults, **usual)
        if self._options is not None:
            self._options = msgspec.structs.replace(self._options, **said)
        self._publish(ModelChanged(model=loaded))
        return loaded

    async def drop_draft(self) -> None:
        """Lets go of the model that guesses for the loaded one; later loads have it again."""
        loaded = self._engine.loaded
        if loaded is None or not loaded.draft_model:
            return
        nodes = loaded.draft_nodes or 8
        lighter = await self._engine.speculate(Speculate(speculation=loaded.speculation, draft_nodes=nodes))
        self._publish(ModelChanged(model=lighter))

    async def unload(self) -> None:
        """Frees the model; a load that is under way is given up."""
        if self._current is not None:
            await self._settle(self._current[0].id)
        if self._engine.loaded is not None:
            await self._engine.unload()
            self._publish(ModelChanged(model=None))
        self._options = None

    async def settled(self) -> None:
        """Waits until no load is under way, however it ends."""
        while (current := self._current) is not None:
            await self._ended(current[0].id)
            if self._current is current:  # cancelled before it began
                self._current = None

    async def _settle(self, job_id: str) -> None:
        self._jobs.cancel(job_id)
        await self._ended(job_id)

    async def _ended(self, job_id: str) -> None:
        try:
            await self._jobs.wait(job_id)
        except NutshellError:
            # Why the other load ended is its own job's story.
            return

    async def _load(
        self, handle: JobHandle, entry: ModelEntry, options: LoadModel, before: str | None
    ) -> dict[str, object]:
        if before is not None:
            await self._settle(before)
        if handle.cancelled:
            raise ConflictError("Loading was cancelled.")
        had = self._engine.loaded
        if had is not None and had.entry.id == entry.id and self._options == options:
            return {"model_id": entry.id}
        self._options = None
        try:
            loaded = await self._engine.load(
                entry,
                options,
                lambda fraction: handle.progress("Reading the model", fraction * entry.bytes, entry.bytes, "bytes"),
            )
        except BaseException:
            # The engine lets go of the old model before it reads the new one.
            if had is not None and self._engine.loaded is None:
                self._publish(ModelChanged(model=None))
            raise
        self._options = options
        if self._adopt is not None:
            loaded = await self._adopt()
        self._publish(ModelChanged(model=loaded))
        return {"model_id": entry.id}
