"""Builds for our own engine, from the list and from a drop, to an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from backend.config.paths import Paths, paths
from tests.journeys.person import Person, play
from ui.viewmodels.model_list import ModelRole

pytestmark = [pytest.mark.journey, pytest.mark.model]


def test_a_pack_is_in_the_menu_and_answers(home: Paths, qapp: QApplication, smollm2_pack: Path) -> None:
    shutil.copyfile(smollm2_pack, home.models / "mine.nutshell")

    async def act(person: Person) -> None:
        await person.ready()
        models = person.window.models
        await person.until(lambda: len(models.list.entries()) == 2)
        person.window.toggle_model_menu()
        menu = person.window._model_menu
        await person.until(menu.isVisible)
        entry = next(entry for entry in models.list.entries() if entry.name == "Smol Q8")
        index = models.list.index(models.list.row_of(entry.id))
        details = index.data(ModelRole.DETAILS)
        assert "134M parameters" in details
        assert "8-bit (Q8, 8.4 bits per weight, data-free)" in details
        menu.list.clicked.emit(index)
        await person.until(lambda: models.loaded is not None and models.loaded.entry.id == entry.id)
        await person.ready()
        assert models.title == "Smol Q8"
        person.brief(24)
        answer = await person.answered("What is the capital of France?")
        assert "Paris" in answer.content
        assert answer.stats is not None
        assert answer.stats.tok_s > 0
        second = await person.answered("And of Italy?")
        assert second.stats is not None
        assert second.stats.cached_tokens > 0

    play(qapp, act)


def test_a_folder_that_is_dropped_is_loaded(home: Paths, qapp: QApplication, tiny_folder: Path) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        person.drop(tiny_folder)
        models = person.window.models
        await person.until(lambda: models.loaded is not None and models.loaded.entry.path == str(tiny_folder))
        await person.ready()
        person.brief()
        await person.answered("Hello")

    play(qapp, act)
    assert len(list((home.cache / "packs").glob("*.nutshell"))) == 1


def test_a_slider_is_moved_between_two_answers_and_stands_there_the_next_time(
    home: Paths, qapp: QApplication, slider_pack: Path
) -> None:
    shutil.copyfile(slider_pack, home.models / "mine.nutshell")
    places = []

    async def act(person: Person) -> None:
        await person.ready()
        models, inspector = person.window.models, person.window.inspector  # hidden where the screen is small
        assert inspector.position.handle.isHidden(), "there is nothing to choose"
        person.drop(home.models / "mine.nutshell")
        await person.until(lambda: models.loaded is not None and models.loaded.slider is not None)
        await person.ready()
        await person.until(lambda: not inspector.position.handle.isHidden() and not models.moving)
        assert models.loaded is not None
        assert models.loaded.slider is not None
        places.append(models.loaded.slider.position)
        person.brief(8)
        await person.answered("Hello")
        small = models.loaded.weight_bytes
        inspector.position.handle.setValue(1000)  # rests, and moves the model
        await person.until(lambda: models.loaded is not None and models.loaded.weight_bytes > small)
        await person.until(lambda: not models.moving)
        answer = await person.answered("And now?")
        assert answer.stats is not None
        assert answer.stats.cached_tokens == 0, "what was read before was read by other weights"

    play(qapp, act)
    play(qapp, _finds(1.0, places))
    assert places[0] < 1.0


def test_one_slider_goes_from_a_build_to_another_and_the_chat_stays(
    home: Paths, qapp: QApplication, tiny_gguf: Path
) -> None:
    from tests.packs import write_rounded_pack

    shutil.copyfile(tiny_gguf, home.models / "tiny.gguf")
    small = write_rounded_pack(tiny_gguf, home.models / "mine.nutshell", "q4", name="Mine")

    async def act(person: Person) -> None:
        await person.ready()
        models, inspector = person.window.models, person.window.inspector
        person.drop(small)
        await person.until(lambda: models.loaded is not None and models.loaded.entry.path == str(small))
        await person.until(lambda: not inspector.position.handle.isHidden())
        person.brief(8)
        await person.answered("Hello")
        open_id = person.window.chat.open_id
        assert [one.load is None for one in inspector.position.track.stops] == [True, False]
        inspector.position.handle.setValue(1000)  # rests, and takes the other build
        await person.until(
            lambda: models.loaded is not None and models.loaded.entry.path == str(home.models / "tiny.gguf")
        )
        await person.until(lambda: not models.moving and not models.loading)
        await person.answered("And now?")
        assert person.window.chat.open_id == open_id
        await person.until(lambda: inspector.position.track.here == 1)
        inspector.position.handle.setValue(0)
        await person.until(lambda: models.loaded is not None and models.loaded.entry.path == str(small))

    play(qapp, act)


def _finds(position: float, places: list[float]) -> Callable[[Person], Awaitable[None]]:
    async def act(person: Person) -> None:
        models = person.window.models
        person.drop(paths().models / "mine.nutshell")
        await person.until(lambda: models.loaded is not None and models.loaded.slider is not None)
        await person.until(
            lambda: (
                models.loaded is not None
                and models.loaded.slider is not None
                and models.loaded.slider.position == position
            )
        )
        places.append(position)

    return act


def test_the_terminal_lists_and_asks_a_pack(home: Paths, smollm2_pack: Path) -> None:
    shutil.copyfile(smollm2_pack, home.models / "mine.nutshell")

    def nutshell(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments], capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    entries = {entry["name"]: entry for entry in json.loads(nutshell("models", "--json"))}
    assert entries["Smol Q8"]["quantization"] == "Q8, 8.4 bits per weight, data-free"
    assert "Q8, 8.4 bits per weight, data-free" in nutshell("models")
    question = ("ask", "What is the capital of France?", "--max-tokens", "16", "--temperature", "0", "--no-save")
    by_path = nutshell(*question, "--model", str(home.models / "mine.nutshell"))
    assert "Paris" in by_path
    assert nutshell(*question, "--model", "smol q8") == by_path
