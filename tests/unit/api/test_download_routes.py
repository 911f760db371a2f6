"""The routes of downloads, of deleting and of the network, through the client that the window uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from backend.api.client import Client
from backend.api.downloads import DownloadLimit, NetworkState, NewDownload
from backend.api.errors import ConflictError, InvalidRequestError, NotFoundError, OfflineError
from backend.api.schemas import JobChanged
from tests.fakes.hub import FakeHub
from tests.fakes.models import echo
from tests.fakes.server import RunningServer, running_server

REPO = "someone/tiny-GGUF"
DEADLINE_S = 30.0


@pytest.fixture
def server(hub: FakeHub, tmp_path: Path) -> Iterator[RunningServer]:
    hub.put(REPO, "tiny-Q4_K_M.gguf", b"GGUF" * 1000)
    with running_server(tmp_path / "data", echo, load=False) as running:
        yield running


def run(server: RunningServer, test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), Client(server.base_url, server.token) as client:
            try:
                await test(client)
            finally:
                await client.set_network(NetworkState(offline=False))

    asyncio.run(main())


def test_found_downloaded_listed_forgotten(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        assert [one.repository for one in await client.search_hub("tiny")] == [REPO]
        (choice,) = (await client.repository(REPO)).choices
        await client.limit_downloads(DownloadLimit(bytes_per_second=0))
        async with client.open_events() as events:
            job = await client.start_download(NewDownload(repository=REPO, choice=choice.name))
            async for event in events:
                if isinstance(event, JobChanged) and event.job.id == job.id and event.job.ended_at is not None:
                    break
        (record,) = await client.downloads()
        assert (record.state, Path(record.path).name) == ("finished", "tiny-Q4_K_M.gguf")
        assert (await client.pause_download(record.id)).state == "finished"
        with pytest.raises(ConflictError):
            await client.resume_download(record.id)
        await client.delete_download(record.id)
        assert await client.downloads() == []
        with pytest.raises(NotFoundError):
            await client.delete_download(record.id)

    run(server, test)


def test_the_network_s_switches_and_its_log(server: RunningServer, hub: FakeHub) -> None:
    async def test(client: Client) -> None:
        await client.repository(REPO)
        state = await client.network()
        assert not state.offline
        assert set(state.purposes) == {"models"}
        assert (state.calls[0].host, state.calls[0].status) == ("127.0.0.1", 200)
        asked = len(hub.asked)
        assert (await client.set_network(NetworkState(offline=True))).offline
        with pytest.raises(OfflineError):
            await client.search_hub("tiny")
        await client.set_network(NetworkState(offline=False, off=["models"]))
        with pytest.raises(OfflineError, match="switched off"):
            await client.repository(REPO)
        assert len(hub.asked) == asked
        with pytest.raises(InvalidRequestError, match="no purpose"):
            await client.set_network(NetworkState(offline=False, off=["telemetry"]))

    run(server, test)


def test_a_model_that_is_loaded_or_not_there_is_not_deleted(hub: FakeHub, tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(NotFoundError):
            await client.delete_model("0" * 16)
        status = await client.status()
        assert status.model is not None
        with pytest.raises(ConflictError, match="is in use"):
            await client.delete_model(status.model.entry.id)

    with running_server(tmp_path / "data", echo) as running:
        run(running, test)
