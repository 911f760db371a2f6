"""The routes of compressions through the client that the window uses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from backend.api.client import Client
from backend.api.compression import ComparePrompts, ExportBuild, NewCompression, PlanCompression
from backend.api.errors import ConflictError, InvalidRequestError, NotFoundError, PackagesMissingError
from backend.api.schemas import JobChanged, ModelEntry
from backend.api.services import Services
from backend.jobs.compressing import Compressions
from tests.fakes.models import echo
from tests.fakes.server import RunningServer, running_server

DEADLINE_S = 30.0
GOOD = ModelEntry(
    id="g" * 16, name="good", path="/models/good.gguf", source="file", bytes=100, architecture="qwen2",
    parameters=80_000_000, quantization="F16",
)  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    async def prepare(services: Services) -> None:
        command = (sys.executable, "-m", "tests.fakes.compression_child")
        work = services.compressions
        work._command, work._installed, work._bandwidth = command, lambda: True, lambda _threads: 20e9
        assert isinstance(work, Compressions)

    with running_server(tmp_path, echo, entries=[GOOD], load=False, prepare=prepare) as running:
        yield running


def run(server: RunningServer, test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), Client(server.base_url, server.token) as client:
            await test(client)

    asyncio.run(main())


def test_from_the_list_to_a_finished_build(server: RunningServer, tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        [source] = await client.compression_sources()
        assert (source.entry.name, source.reason, source.rounded) == ("good", "", False)
        plan = await client.plan_compression(PlanCompression(id=GOOD.id))
        assert len(plan.positions) == 5
        async with client.open_events() as events:
            job = await client.start_compression(NewCompression(id=GOOD.id, levels=["spqr-3"], name="Mine"))
            seen = []
            async for event in events:
                if isinstance(event, JobChanged) and event.job.id == job.id:
                    seen.append(event.job)
                    if event.job.ended_at is not None:
                        break
        assert seen[-1].state == "finished"
        moving = [one.compression for one in seen if one.compression is not None]
        assert len(moving[-1].errors) == 12
        assert moving[-1].errors[0].level == "spqr-3"
        status = await client.compression()
        assert status.installed
        assert Path(status.builds) == tmp_path / "builds"
        [record] = status.compressions
        assert (record.state, record.name) == ("finished", "Mine")
        job = await client.wait_for_job(await client.compare_compression(record.id, ComparePrompts(prompts=["Why?"])))
        assert job.result is not None
        wanted = ExportBuild(build=record.out, out=str(tmp_path / "folder"), format="hf-aqlm")
        job = await client.wait_for_job(await client.export_build(wanted))
        assert job.result is not None
        assert job.result["path"] == wanted.out
        await client.delete_compression(record.id)
        assert (await client.compression()).compressions == []

    run(server, test)


def test_pause_resume_and_conflicts(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        await client.start_compression(NewCompression(id=GOOD.id, levels=["q8"], name="slow"))
        with pytest.raises(ConflictError):
            await client.start_compression(NewCompression(id=GOOD.id, levels=["q8"]))
        [record] = (await client.compression()).compressions
        async with asyncio.timeout(DEADLINE_S):
            while (await client.compression()).compressions[0].done < 5:  # noqa: ASYNC110 - state of another process
                await asyncio.sleep(0.01)
        record = await client.pause_compression(record.id)
        assert record.state == "paused"
        job = await client.wait_for_job(await client.resume_compression(record.id))
        assert job.state == "finished"
        with pytest.raises(ConflictError, match="finished"):
            await client.resume_compression(record.id)

    run(server, test)


def test_what_is_refused(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(NotFoundError):
            await client.resume_compression("../" * 5)
        with pytest.raises(InvalidRequestError):
            await client.start_compression(NewCompression(id=GOOD.id, levels=[]))
        with pytest.raises(NotFoundError):
            await client.plan_compression(PlanCompression(id="nobody"))
        server.services.compressions._installed = lambda: False
        with pytest.raises(PackagesMissingError):
            await client.plan_compression(PlanCompression(id=GOOD.id))
        assert not (await client.compression()).installed

    run(server, test)
