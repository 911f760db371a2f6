"""The page of presets, and the inspector of a chat with one, as pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication

from backend.api.schemas import Preset, Sampling
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, Stage, draw_scene
from ui.theme import Mode

Scene = Callable[[Stage], None]
TALL = QSize(1180, 940)
SCENES: dict[str, tuple[QSize, Scene]] = {}


def scene(size: QSize = TALL) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[f"presets_{function.__name__}"] = (size, function)
        return function

    return keep


def opened(stage: Stage) -> None:
    stage.fake.preset_list = [
        Preset(id="1", name="Cook", system_prompt="You are a patient cook. Give amounts in grams.", icon="sun"),
        Preset(id="2", name="Poet", system_prompt="Rhyme.", sampling=Sampling(temperature=1.4), icon="moon"),
        Preset(id="3", name="Proof reader", system_prompt="Only correct; change nothing else.", icon="edit"),
    ]
    stage.attach()
    stage.loop.until(lambda: stage.window.presets.presets)
    stage.window.commands["view.presets"].trigger()


@scene()
def list_and_one(stage: Stage) -> None:
    opened(stage)


@scene()
def none_yet(stage: Stage) -> None:
    stage.attach().window.commands["view.presets"].trigger()


@scene()
def a_chat_that_differs(stage: Stage) -> None:
    opened(stage)
    stage.window.pages.currentWidget().choose("2")  # type: ignore[attr-defined]
    stage.window.pages.currentWidget().start.click()  # type: ignore[attr-defined]
    stage.window.inspector.prompt.setPlainText("Rhyme, but in prose.")
    stage.window.inspector.sampling.slider.setValue(4)
    stage.window.inspector.flush()


@scene(NARROW)
def narrow(stage: Stage) -> None:
    opened(stage)


@scene()
def right_to_left(stage: Stage) -> None:
    opened(stage)


@scene(QSize(1500, 1300))
def at_200(stage: Stage) -> None:
    opened(stage)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)
