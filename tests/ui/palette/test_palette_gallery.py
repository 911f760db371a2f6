"""The palette and the list of shortcuts as pictures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QSize
from PySide6.QtWidgets import QApplication

from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, WIDE, Stage, draw_scene
from ui.palette.command_palette import CommandPalette
from ui.theme import Mode

Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {}


def scene(size: QSize = WIDE) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[f"palette_{function.__name__}"] = (size, function)
        return function

    return keep


def opened(stage: Stage, text: str = "") -> CommandPalette:
    stage.attach()
    stage.window.commands["view.palette"].trigger()
    (palette,) = stage.window.findChildren(CommandPalette)
    palette.field.setText(text)
    return palette


@scene()
def all_commands(stage: Stage) -> None:
    opened(stage)


@scene()
def found(stage: Stage) -> None:
    palette = opened(stage, "me")
    palette.list.setCurrentIndex(palette.list.model().index(1, 0))


@scene()
def nothing_fits(stage: Stage) -> None:
    opened(stage, "qqqzzz")


@scene(NARROW)
def narrow(stage: Stage) -> None:
    opened(stage, "an")


@scene()
def right_to_left(stage: Stage) -> None:
    opened(stage, "re")


@scene(QSize(1500, 940))
def at_200(stage: Stage) -> None:
    opened(stage)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)
