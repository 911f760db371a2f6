"""The window offers its model to other programs, when the user says so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import httpx
import pytest
from PySide6.QtWidgets import QApplication

from app.session import Session
from backend.config.paths import Paths
from backend.config.settings import Settings
from tests.journeys.person import Person, play

pytestmark = [pytest.mark.journey, pytest.mark.model]


@pytest.fixture
def port(home: Paths) -> int:
    """A free port, written into the settings as the one to serve at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    settings = Settings.load(home.settings)
    settings.set("serve_port", number)
    settings.save()
    return number


async def models(port: int) -> httpx.Response:
    return await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/v1/models", trust_env=False)


async def until_ready_again(person: Person, change: Callable[[], None]) -> None:
    pid = person.desktop.supervisor.pid
    change()
    await person.until(lambda: person.desktop.supervisor.pid not in (pid, None))
    await person.ready()


def test_the_switch_offers_the_model_and_takes_it_back(home: Paths, port: int, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        with pytest.raises(httpx.ConnectError):
            await models(port)  # off by default
        switch = person.window.commands["model.serve"]
        assert not switch.isChecked()
        await until_ready_again(person, switch.trigger)
        assert f"http://127.0.0.1:{port}/v1" in " ".join(person.notices)
        answer = await models(port)
        assert answer.status_code == 200
        assert "SmolLM2" in answer.text
        person.brief()
        assert (await person.answered("Say hello.")).content
        await until_ready_again(person, switch.trigger)
        with pytest.raises(httpx.ConnectError):
            await models(port)

    play(qapp, act)
    assert Settings.load(home.settings).serve_enabled is False


def test_a_port_that_is_taken_costs_a_sentence_and_not_the_window(home: Paths, port: int, qapp: QApplication) -> None:
    settings = Settings.load(home.settings)
    settings.set("serve_enabled", True)
    settings.save()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()

        async def act(person: Person) -> None:
            await person.ready()
            await asyncio.sleep(0)
            assert "not offered to other programs this time" in " ".join(person.notices)
            assert person.window.commands["model.serve"].isChecked(), "the wish stays"

        play(qapp, act)


def test_context_and_threads_of_the_settings_are_used(home: Paths, qapp: QApplication) -> None:
    settings = Settings.load(home.settings)
    settings.set("n_ctx", 2048)
    settings.set("n_threads", 1)
    settings.save()

    async def act(person: Person) -> None:
        await person.ready()
        loaded = person.window.models.loaded
        assert (loaded.n_ctx, loaded.n_threads) == (2048, 1)

    play(qapp, act)


def test_a_key_of_the_command_line_opens_the_api(home: Paths) -> None:
    async def statuses() -> list[int]:
        async with Session(load=False, env={"NUTSHELL_API_KEY": "a long key of mine"}) as session:  # as `serve` does
            url = f"{(await session.supervisor.ready()).base_url}/v1/models"
            return [
                (
                    await asyncio.to_thread(httpx.get, url, headers={"Authorization": f"Bearer {key}"}, trust_env=False)
                ).status_code
                for key in ("a long key of mine", "another key")
            ]

    assert asyncio.run(statuses()) == [200, 401]
