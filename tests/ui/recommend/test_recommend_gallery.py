"""Every state of the way to a first model as a picture, light and dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QApplication

from backend.api.errors import OfflineError
from backend.api.schemas import ModelEntry
from tests.fakes.client import fake_loaded
from tests.fakes.download_client import fake_download, fake_recommendations
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, WIDE, Stage, draw_scene
from ui.recommend.recommend_page import RecommendPage
from ui.theme import Mode

Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {}


def scene(size: QSize = WIDE) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[f"recommend_{function.__name__}"] = (size, function)
        return function

    return keep


def opened(stage: Stage) -> RecommendPage:
    stage.attach()
    stage.window.commands["model.recommend"].trigger()
    page = stage.window.pages.currentWidget()
    assert isinstance(page, RecommendPage)
    return page


def answered(stage: Stage, purpose: str = "chat") -> RecommendPage:
    page = opened(stage)
    page.purpose.buttons[purpose].click()
    stage.loop.until(lambda: page.models.cards)
    return page


def picked(stage: Stage, state: str = "running", done: float = 0.61) -> RecommendPage:
    page = answered(stage)
    card = next(card for card in page.models.cards if card.one.choice == "Q4_K_M")
    one = fake_download(state, done=done)
    one.repository = card.one.offer.repository
    stage.fake.fetched = [one]
    stage.window.downloads.refresh()
    stage.loop.until(lambda: stage.window.downloads.downloads)
    card.button.click()
    return page


@scene()
def purpose(stage: Stage) -> None:
    opened(stage)


@scene(NARROW)
def purpose_narrow(stage: Stage) -> None:
    opened(stage)


@scene(QSize(1180, 1100))
def models(stage: Stage) -> None:
    answered(stage)


@scene(NARROW)
def models_narrow(stage: Stage) -> None:
    answered(stage, "code")


@scene(QSize(1180, 1240))
def models_and_an_idea(stage: Stage) -> None:
    stage.fake.free_gb = 5
    answered(stage)


@scene()
def none_fits(stage: Stage) -> None:
    page = answered(stage)
    answer = fake_recommendations("chat", 5)
    answer.models, answer.idea = [], None
    page.models.show_answer(answer)


@scene()
def arriving(stage: Stage) -> None:
    picked(stage)


@scene(NARROW)
def interrupted(stage: Stage) -> None:
    picked(stage, "interrupted")


@scene()
def offline(stage: Stage) -> None:
    stage.fake.failures["repository"] = OfflineError("Nutshell is offline.", remedy="Switch offline mode off.")
    page = answered(stage)
    page.models.cards[0].button.click()
    stage.loop.until(lambda: page.notice.isVisible())


def here(stage: Stage) -> RecommendPage:
    """The model that was picked has arrived, and is about to be loaded."""
    page = picked(stage, "finished", 1.0)
    stage.fake.entries.append(
        ModelEntry(id="9" * 16, name="Qwen3 8B", path="hub/a-Q4_K_M.gguf", source="huggingface", bytes=5_000_000_000)
    )
    return page


@scene()
def loading(stage: Stage) -> None:
    page = here(stage)
    stage.loop.until(lambda: stage.fake.called("load_model"))
    page.trial.bar.setRange(0, 100)  # one that runs on and on is never the same picture twice
    page.trial.bar.setValue(40)


def tried(stage: Stage, tok_s: float) -> None:
    stage.fake.trial.tok_s = tok_s
    page = here(stage)
    stage.loop.until(lambda: stage.fake.called("load_model"))
    stage.fake.loading_ended(fake_loaded(stage.fake.entries[-1]))
    stage.loop.until(lambda: page.session.trial is not None)


@scene()
def done(stage: Stage) -> None:
    tried(stage, 12.4)


@scene(NARROW)
def done_but_slow(stage: Stage) -> None:
    tried(stage, 3.1)


@scene()
def right_to_left(stage: Stage) -> None:
    QApplication.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # `draw_scene` takes it back
    answered(stage)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)
