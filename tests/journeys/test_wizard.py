"""A model is made smaller in the window, its process and the engine are killed meanwhile, and the build answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import psutil
import pytest
from PySide6.QtWidgets import QApplication

from backend.api.compression import CompressionOptions
from backend.config.paths import Paths
from backend.engine.tokenizing import gguf_tokenizer_files
from tests.formats.tiny_hf import CONFIG, weights, write_folder
from tests.journeys.person import Person, play
from ui.main_window import MainWindow

pytestmark = [
    pytest.mark.journey,
    pytest.mark.model,
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="compressing needs PyTorch"),
]
#: of a step: a child imports torch, which takes 10 s on a busy machine
_PATIENCE_S = 240.0


def children(person: Person) -> list[psutil.Process]:
    """The processes that compress."""
    found = []
    for one in person.engine().children(recursive=True):
        try:
            if "backend.quantize.child" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:  # it ended while it was looked at
            continue
    return found


async def at_work(person: Person, page: Any, linears: int) -> None:
    """Until so many linears are on the plot."""
    await person.until(lambda: len(page.progress.plot.points()) >= linears, _PATIENCE_S)


@pytest.fixture
def deep(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A folder with the tiny model's words and so many blocks that the work can be met at it."""
    config = {**CONFIG, "vocab_size": 283, "num_hidden_layers": 24}
    folder = write_folder(tmp_path / "deep", weights(config=config), config)
    for name, data in gguf_tokenizer_files(tiny_gguf).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.timeout(600)
def test_a_model_is_made_smaller_through_two_kills(home: Paths, qapp: QApplication, deep: Path) -> None:
    """The child and then the engine are ended by kill -9; the result is reached again when the build was used."""

    async def act(person: Person) -> None:
        await person.ready()
        window: MainWindow = person.window
        page = window.show_wizard()
        session = page.session
        await person.until(lambda: session.sources is not None)
        page.choose_path(str(deep))
        await person.until(lambda: session.plan is not None, _PATIENCE_S)
        assert session.plan is not None
        assert next(one for one in session.plan.positions if one.level == "spqr-3").error is None
        session.start(session.plan.source, ["spqr-3"], CompressionOptions(tokens=2048, threads=1), "Mine")
        await at_work(person, page, 2)
        for child in children(person):
            child.kill()  # as the system does where memory runs out
        await person.until(lambda: session.current is not None and session.current.state == "failed")
        assert "ended by the system" in person.shown_text()
        page.progress.resume.click()
        await person.until(lambda: session.running is not None)
        await at_work(person, page, 3)
        before = person.engine().pid
        person.engine().kill()
        await person.until(lambda: person.desktop.supervisor.pid not in (None, before))
        await person.until(lambda: any(one.state == "interrupted" for one in session.unfinished))
        page.resume(session.unfinished[0].id)
        await person.until(lambda: page.page() is page.result, _PATIENCE_S)
        one = session.current
        assert one is not None
        assert one.result is not None
        assert one.result.measured is not None, one.result.measure_error
        said = person.shown_text()
        assert "Mine is ready" in said
        assert f"{one.result.measured.perplexity:.2f}" in said
        assert not list(home.models.parent.rglob("*.work"))
        assert not children(person)
        page.result.use.click()
        await person.until(lambda: window.models.loaded is not None and window.models.loaded.entry.path == one.out)
        await person.ready()
        person.brief()
        await person.answered("Hello")
        window.show_wizard()
        await person.until(lambda: page.page() is page.source and page.source.builds.cards)
        page.source.builds.cards[0].show_result.click()
        await person.until(lambda: page.page() is page.result)
        assert f"{one.result.measured.perplexity:.2f}" in person.shown_text()

    play(qapp, act, faults=True, seconds=500)
