"""Where models are kept, on the page that gets them: moving, how far it is, what did not end, what stayed."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QLabel

from backend.api.errors import ConflictError
from backend.api.hub_schemas import MoveFolder
from backend.api.schemas import Job, JobChanged
from tests.fakes.client import FakeClient
from tests.ui.library.test_download_page import opened
from tests.ui.shell.support import Loop
from ui.library import folder_line
from ui.library.download_page import DownloadPage
from ui.library.folder_line import FolderLine
from ui.main_window import MainWindow


@pytest.fixture
def line(window: MainWindow, fake: FakeClient, loop: Loop) -> FolderLine:
    page = opened(window, fake, loop)
    loop.until(lambda: page.folder.known is not None)
    return page.folder


def words_of(page: object) -> str:
    assert isinstance(page, DownloadPage)
    return " ".join(label.text() for label in page.notice.findChildren(QLabel))


def went(fake: FakeClient, done: float, state: str = "progress", **more: object) -> None:
    ended = None if state == "progress" else 1.0
    fake.publish(
        JobChanged(
            job=Job(
                id="job-move", kind="move_models", title="", state=state, stage="move", done=done, total=1e9,  # type: ignore[arg-type]
                ended_at=ended, **more,  # type: ignore[arg-type]
            )
        )
    )  # fmt: skip


def test_it_says_where_and_how_much_is_free(line: FolderLine) -> None:
    assert "huggingface/hub" in line.words.text()
    assert "120 GB free" in line.words.text()
    assert line.usual.isHidden()
    assert line.go_on.isHidden()
    assert line.bar.isHidden()


def test_moving_shows_how_far_and_ends(
    line: FolderLine, fake: FakeClient, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 102.0, 104.0, 106.0])
    monkeypatch.setattr(folder_line, "monotonic", lambda: next(clock))
    line.move_to("/mnt/models")
    loop.until(lambda: line.bar.isVisible())
    assert ("move_models", MoveFolder(folder="/mnt/models")) in fake.calls
    went(fake, 4e8)
    loop.until(lambda: "40 %" in line.state.text())
    assert "200 MB a second · 3 s left" in line.state.text()
    assert line.change.isHidden()
    fake.home.unfinished, fake.home.job = False, None
    went(fake, 1e9, "finished", result={"moved": 2, "left": []})
    loop.until(lambda: line.bar.isHidden())
    assert "/mnt/models" in line.words.text()
    assert line.usual.isVisible()
    line.usual.click()
    loop.until(lambda: ("move_models", MoveFolder(folder="")) in fake.calls)


def test_stopped_it_can_go_on(line: FolderLine, fake: FakeClient, loop: Loop) -> None:
    line.move_to("/mnt/models")
    loop.until(lambda: line.stop.isVisible())
    line.stop.click()
    loop.until(lambda: ("cancel_job", "job-move") in fake.calls)
    fake.home.job = None
    went(fake, 4e8, "cancelled")
    loop.until(lambda: line.go_on.isVisible())
    assert "Nothing is lost" in line.state.text()
    line.go_on.click()
    loop.until(lambda: fake.calls.count(("move_models", MoveFolder(folder="/mnt/models"))) == 2)


def test_what_is_in_use_and_what_stayed_is_said(
    window: MainWindow, line: FolderLine, fake: FakeClient, loop: Loop
) -> None:
    page = window.pages.currentWidget()
    assert isinstance(page, DownloadPage)
    fake.failures["move_models"] = ConflictError("A download is running.", remedy="Pause the download.")
    line.move_to("/mnt/models")
    loop.until(lambda: page.notice.isVisible())
    assert "A download is running. Pause" in words_of(page)
    went(fake, 1e9, "finished", result={"moved": 2, "left": ["a.nutshell: There is another one."]})
    loop.until(lambda: "another one" in words_of(page))
