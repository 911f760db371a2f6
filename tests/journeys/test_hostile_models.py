"""Two thousand damaged model files, opened one after the other in the real window."""

from __future__ import annotations

import collections
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from backend.api.schemas import ErrorInfo
from backend.config.paths import Paths
from tests.formats.mutate import mutations
from tests.journeys.person import Person, play

pytestmark = [pytest.mark.journey, pytest.mark.model, pytest.mark.timeout(600)]

FILES = 2000


def test_damaged_models_never_end_the_window_and_each_gets_a_sentence(
    home: Paths, qapp: QApplication, tiny_gguf: Path, tmp_path: Path
) -> None:
    outcomes: collections.Counter[str] = collections.Counter()
    (builtin,) = home.models.iterdir()

    async def act(person: Person) -> None:
        models = person.window.models
        heard: list[str] = []
        models.problem.connect(lambda error: heard.append(checked(error)))
        person.desktop.link.state_changed.connect(lambda state, text: heard.append(f"engine {state}: {text}"))
        await person.ready()
        for number, data in enumerate(mutations(tiny_gguf, FILES, seed=20261122)):
            path = tmp_path / f"m{number}.gguf"
            path.write_bytes(data)
            heard.clear()
            models.load_path(path)
            await person.until(lambda path=path: heard or opened(person, path))  # type: ignore[misc]
            if heard and heard[0].startswith("engine"):
                outcomes["ended the engine process"] += 1
                print(f"file {number} ended the engine process: {heard[0]}")
                await person.until(lambda: person.desktop.link.ready)
                models.load_path(builtin)
                await person.ready()
            else:
                outcomes["refused with a sentence" if heard else "opened"] += 1
            path.unlink()
        assert person.window.isVisible()
        models.load_path(builtin)
        await person.until(lambda: opened(person, builtin))
        person.brief()
        assert (await person.answered("Say hello.")).content.strip()

    play(qapp, act, seconds=580)
    print(dict(outcomes))
    assert sum(outcomes.values()) == FILES
    assert outcomes["refused with a sentence"] > FILES // 2
    assert outcomes["opened"] > FILES // 20, "the damage must reach behind the header's first fields"
    assert outcomes["ended the engine process"] <= 2, "our reader refuses what llama.cpp does not survive"


def opened(person: Person, path: Path) -> bool:
    loaded = person.window.models.loaded
    return loaded is not None and loaded.entry.path == str(path)


def checked(error: ErrorInfo) -> str:
    """What the person reads; a sentence, and not a program's words."""
    assert error.what.strip().endswith((".", "?"))
    text = f"{error.what} {error.why} {error.remedy}"
    for word in ("Traceback", "Error(", "Exception", "0x", "errno"):
        assert word not in text, text
    return text
