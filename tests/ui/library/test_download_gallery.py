"""Every state of the page that gets models as a picture, light and dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QApplication

from backend.api.downloads import SearchResult
from backend.api.errors import NetworkError
from backend.api.schemas import ErrorInfo
from tests.fakes.download_client import fake_download, fake_offers
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, WIDE, Stage, draw_scene
from ui.library.download_page import DownloadPage
from ui.library.offer_list import OfferList
from ui.theme import Mode

REPO = "bartowski/Qwen2.5-7B-Instruct-GGUF"
Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[QSize, Scene]] = {}


def scene(size: QSize = WIDE) -> Callable[[Scene], Scene]:
    def keep(function: Scene) -> Scene:
        SCENES[f"download_{function.__name__}"] = (size, function)
        return function

    return keep


def opened(stage: Stage) -> DownloadPage:
    stage.attach()
    stage.window.show_downloads()
    page = stage.window.pages.currentWidget()
    assert isinstance(page, DownloadPage)
    stage.loop.until(lambda: len(page.cards) == len(stage.fake.fetched))
    return page


def searched(stage: Stage, text: str = "qwen") -> DownloadPage:
    page = opened(stage)
    page.field.setText(text)
    page.search.click()
    stage.loop.until(lambda: page.answer is not None or page.notice.isVisible())
    return page


@scene()
def empty(stage: Stage) -> None:
    opened(stage)


@scene(NARROW)
def moving(stage: Stage) -> None:
    page = opened(stage)
    stage.loop.until(lambda: page.folder.known is not None)
    page.folder.move_to("/media/me/a-large-disk-with-a-long-name/models")
    stage.loop.until(lambda: page.folder.bar.isVisible())
    page.folder.bar.setValue(400)


@scene()
def move_unfinished(stage: Stage) -> None:
    stage.fake.home.folder, stage.fake.home.unfinished = "/media/me/disk/models", True
    page = opened(stage)
    stage.loop.until(lambda: page.folder.go_on.isVisible())


def offered(stage: Stage) -> OfferList:
    stage.fake.catalogue = fake_offers()
    page = opened(stage)
    stage.loop.until(lambda: isinstance(page.answer, OfferList) and page.answer.cards)
    assert isinstance(page.answer, OfferList)
    return page.answer


@scene()
def catalogue(stage: Stage) -> None:
    offered(stage)


@scene(NARROW)
def catalogue_narrow(stage: Stage) -> None:
    offered(stage)


@scene()
def catalogue_what_does_not_fit(stage: Stage) -> None:
    offers = offered(stage)
    offers.filter("70b")
    assert {offer.verdict for offer in offers.shown} == {"does not fit"}


@scene()
def catalogue_without_a_match(stage: Stage) -> None:
    offered(stage).filter("zzz")


@scene()
def results(stage: Stage) -> None:
    name = (
        "somebody/A-model-with-a-name-that-somebody-made-much-longer-than-any-row-of-any-list-of-models-can-show-GGUF"
    )
    stage.fake.found.append(SearchResult(repository=name.replace("A-model", "Qwen"), downloads=3, likes=0))
    searched(stage)


@scene()
def nothing_found(stage: Stage) -> None:
    searched(stage, "xyzzy")


@scene()
def repository(stage: Stage) -> None:
    searched(stage, REPO)


@scene(NARROW)
def repository_narrow(stage: Stage) -> None:
    stage.fake.offered[REPO].gated = True
    searched(stage, REPO)


@scene()
def running(stage: Stage) -> None:
    waiting, failed = fake_download("queued", choice="F16", done=0), fake_download("failed")
    failed.error = ErrorInfo(
        code="disk_full", what="The disk is full.", why="The model does not fit beside what is on it.",
        remedy="Free some space, then go on: what has arrived is kept.",
    )  # fmt: skip
    stage.fake.fetched = [
        fake_download("running", done=0.61),
        waiting,
        failed,
        fake_download("paused"),
        fake_download("finished"),
    ]
    opened(stage)


@scene()
def not_reached(stage: Stage) -> None:
    stage.fake.failures["search_hub"] = NetworkError(
        "huggingface.co cannot be reached.", why="There is no connection to it.",
        remedy="Check the connection and the proxy, then try again.", details="ConnectError",
    )  # fmt: skip
    searched(stage)


@scene()
def right_to_left(stage: Stage) -> None:
    QApplication.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # `draw_scene` takes it back
    stage.fake.fetched = [fake_download("running", done=0.61)]
    searched(stage, REPO)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", SCENES)
def test_scene(name: str, mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size, play = SCENES[name]
    draw_scene(name, mode, size, play, loop, qapp)
