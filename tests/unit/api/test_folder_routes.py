"""Moving the folder of the models through the client: what is in use stays, and records learn the new place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backend.api.client import Client
from backend.api.downloads import NewDownload
from backend.api.errors import StorageError
from backend.api.hub_schemas import MoveFolder, NewToken
from backend.api.schemas import Job, JobChanged
from tests.fakes.hub import FakeHub
from tests.fakes.models import echo
from tests.fakes.server import RunningServer, running_server

REPO = "someone/tiny-GGUF"


def here(path: str) -> bool:
    return Path(path).exists()


def run(server: RunningServer, test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), Client(server.base_url, server.token) as client:
            await test(client)

    asyncio.run(main())


async def ended(client: Client, start: Callable[[], Awaitable[Job]]) -> Job:
    async with client.open_events() as events:
        job = await start()
        async for event in events:
            if isinstance(event, JobChanged) and event.job.id == job.id and event.job.ended_at is not None:
                return event.job
    raise AssertionError


def test_a_download_is_moved_and_found(hub: FakeHub, tmp_path: Path) -> None:
    hub.put(REPO, "tiny-Q4_K_M.gguf", b"GGUF" * 1000)

    async def test(client: Client) -> None:
        await ended(client, lambda: client.start_download(NewDownload(repository=REPO, choice="Q4_K_M")))
        folder = str(tmp_path / "disk")
        job = await ended(client, lambda: client.move_models(MoveFolder(folder=folder)))
        assert (job.state, job.result) == ("finished", {"moved": 1, "left": []})
        (record,) = await client.downloads()
        assert Path(record.path).is_relative_to(tmp_path / "disk" / "hub")
        assert here(record.path)
        state = await client.models_folder()
        assert (state.folder, state.unfinished, state.job) == (folder, False, None)
        assert state.free > 0
        failed = await ended(client, lambda: client.move_models(MoveFolder(folder=str(Path(record.path)))))
        assert failed.state == "failed"

    # the records lie where `paths` says, as in the real engine
    with running_server(tmp_path / "nutshell-data", echo, load=False) as running:
        run(running, test)


def test_a_token_s_routes_never_give_it_out(hub: FakeHub, tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        assert (await client.hub_token()).source == "none"
        with pytest.raises(StorageError, match="not kept") as refused:
            await client.set_hub_token(NewToken(token="hf_0123456789"))
        assert "0123" not in f"{refused.value}{refused.value.details}"
        assert (await client.forget_hub_token()).source == "none"

    with running_server(tmp_path / "data", echo, load=False) as running:
        run(running, test)
