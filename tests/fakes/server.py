"""The real server with real services around a fake model, on a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from backend.api.errors import NotFoundError
from backend.api.schemas import (
    CpuReport,
    DiskReport,
    HardwareReport,
    LoadModel,
    MemoryReport,
    ModelEntry,
)
from backend.api.server import EngineServer
from backend.api.services import Services
from backend.engine.model import Model
from backend.engine.worker import Engine, Loader
from backend.storage.store import Store
from tests.fakes.models import fake_entry, loader_of

T = TypeVar("T")
DEADLINE_S = 20.0


class FakeLocalModels:
    """A list of models in memory."""

    def __init__(self, *entries: ModelEntry) -> None:
        self.entries = list(entries)

    def scan(self) -> list[ModelEntry]:
        return list(self.entries)

    def by_id(self, id: str) -> ModelEntry:  # noqa: A002
        for entry in self.entries:
            if entry.id == id:
                return entry
        raise NotFoundError("This model is not in the list.")

    def entry_for(self, path: Path) -> ModelEntry:
        for entry in self.entries:
            if Path(entry.path) == path:
                return entry
        raise NotFoundError(f"There is no file {path.name}.")


def hardware() -> HardwareReport:
    return HardwareReport(
        os="TestOS",
        cpu=CpuReport(name="CPU", cores=2, threads=4, features=["AVX2"]),
        memory=MemoryReport(total=16, available=8),
        gpus=[],
        disk=DiskReport(path="/", total=2, free=1),
        engine_rss=1,
        engine_build="",
    )


def make_services(
    folder: Path,
    loader: Loader,
    *,
    entries: list[ModelEntry] | None = None,
) -> Services:
    """Real store, engine, chat and jobs. Call it inside the loop that they live on."""
    models = FakeLocalModels(*(entries if entries is not None else [fake_entry()]))
    return Services.build(
        store=Store.open(folder / "nutshell.db"),
        engine=Engine(loader),
        models=cast(Any, models),
        data_dir=folder,
        hardware=hardware,
    )


class RunningServer:
    """A server on its own thread and loop."""

    def __init__(self, server: EngineServer, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        self.server = server
        self.services = server.services
        self.thread = threading.current_thread()
        self.stop = stop
        self._loop = loop

    @property
    def base_url(self) -> str:
        return self.server.base_url

    @property
    def token(self) -> str:
        return self.server.token

    @property
    def port(self) -> int:
        return self.server.port

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def call(self, work: Callable[[], T]) -> T:
        """Calls a function on the server's loop."""

        async def calling() -> T:
            return work()

        return self.do(calling())

    def load(self, entry: ModelEntry | None = None) -> None:
        """Loads a model, and waits for it."""
        self.do(self.services.loader.ensure(entry or fake_entry()))

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits, on the server's loop, for something that has no event of its own."""

        async def waiting() -> None:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 - what is waited for is state of others, without an event
                    await asyncio.sleep(0.005)

        self.do(waiting())


@contextmanager
def running_server(
    folder: Path,
    model: Callable[[], Model] | None = None,
    *,
    loader: Loader | None = None,
    entries: list[ModelEntry] | None = None,
    load: bool = True,
    prepare: Callable[[Services], Awaitable[None]] | None = None,
    **options: Any,
) -> Iterator[RunningServer]:
    """A server with `options` of EngineServer; `model` makes the fake that is loaded, unless `load` is False."""
    ready: list[RunningServer | BaseException] = []
    started = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        try:
            services = make_services(folder, loader or loader_of(model or _none), entries=entries)
            services.request_stop = stop.set
            server = EngineServer(services, **options)
            try:
                await server.start()
            except BaseException:
                await services.quiesce()
                await services.close()
                raise
            if prepare is not None:
                await prepare(services)
            if load:
                await services.loader.ensure(services.models.scan()[0])
            ready.append(RunningServer(server, asyncio.get_running_loop(), stop))
        except BaseException as error:
            ready.append(error)
            return
        finally:
            started.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="test server")
    thread.start()
    assert started.wait(DEADLINE_S)
    first = ready[0]
    if isinstance(first, BaseException):
        thread.join(DEADLINE_S)
        raise first
    try:
        yield first
    finally:
        with contextlib.suppress(RuntimeError):  # it was stopped by the test
            first._loop.call_soon_threadsafe(first.stop.set)
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the server did not stop"


def _none() -> Model:
    raise AssertionError("this server has no model")


__all__ = ["FakeLocalModels", "LoadModel", "RunningServer", "hardware", "make_services", "running_server"]
