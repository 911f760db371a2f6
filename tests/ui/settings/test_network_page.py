"""The network page: switches that hold and are kept, the log, and how it looks."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from backend.api.downloads import NetworkCall, NetworkState
from backend.api.errors import EngineUnavailableError, StorageError
from backend.api.hub_schemas import TokenState
from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from tests.ui.test_gallery import NARROW, WIDE, Stage, draw_scene
from ui.main_window import MainWindow
from ui.settings.network_page import NetworkPage
from ui.theme import Mode

_FILE = "/repos/bartowski/Qwen2.5-7B-Instruct-GGUF/a-very-long-path-to-a-file-with-a-long-name.gguf"
CALLS = [
    NetworkCall(at=time.time() - age, purpose="models", method="GET", host=host, path=path, status=status)
    for age, host, path, status in (
        (0, "cdn-lfs.huggingface.co", _FILE, 206),
        (60, "huggingface.co", "/api/models/bartowski/Qwen2.5-7B-Instruct-GGUF", 200),
        (90, "huggingface.co", "/api/models", 0),
    )
]


def opened(window: MainWindow, fake: FakeClient, loop: Loop) -> NetworkPage:
    window.link.attach(fake)
    loop.until(lambda: window.commands["view.network"].isEnabled())
    window.commands["view.network"].trigger()
    page = window.pages.currentWidget()
    assert isinstance(page, NetworkPage)
    loop.until(lambda: page.purposes)
    return page


def test_offline_holds_in_the_engine_and_is_kept(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    kept: dict[str, object] = {}
    window._save = kept.update
    page = opened(window, fake, loop)
    assert not page.offline.isChecked()
    page.offline.click()
    loop.until(lambda: kept)
    assert ("set_network", NetworkState(offline=True)) in fake.calls
    assert kept["offline"] is True
    assert not page.purposes["models"].isEnabled()
    page.offline.click()
    loop.until(lambda: kept["offline"] is False)


def test_one_purpose_is_switched_off(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    kept: dict[str, object] = {}
    window._save = kept.update
    page = opened(window, fake, loop)
    page.purposes["models"].click()
    loop.until(lambda: kept)
    assert fake.net.off == ["models"]
    assert kept["network_models"] is False


def test_a_switch_that_fails_goes_back(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    fake.failures["set_network"] = EngineUnavailableError("The engine is not running.")
    page.offline.click()
    loop.until(lambda: page.notice.isVisible())
    assert not page.offline.isChecked()


def test_the_log_says_who_was_asked(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    fake.net.calls = list(CALLS)
    page = opened(window, fake, loop)
    loop.until(lambda: page.log is not None)
    assert page.log is not None
    words = [label.text() for label in page.log.findChildren(QLabel)]
    assert words.count("huggingface.co") == 2
    assert "not allowed" in words
    assert page.none.isHidden()
    page.close_button.click()
    assert window.pages.currentWidget() is window.chat_screen


def test_a_token_is_entered_and_forgotten(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    panel = page.token
    loop.until(lambda: panel.known is not None)
    assert panel.forget_button.isHidden()
    assert not panel.keep_button.isEnabled()
    QTest.keyClicks(panel.field, "hf_0123456789")
    assert panel.field.displayText() != "hf_0123456789"
    QTest.keyClick(panel.field, Qt.Key.Key_Return)
    loop.until(lambda: panel.forget_button.isVisible())
    assert panel.field.text() == ""
    assert "https://huggingface.co" in panel.words.text()
    panel.forget_button.click()
    loop.until(lambda: panel.forget_button.isHidden())


def test_a_token_that_is_refused_stays_in_the_field(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page = opened(window, fake, loop)
    loop.until(lambda: page.token.known is not None)
    fake.failures["set_hub_token"] = StorageError("The token could not be kept.", why="It is locked.")
    page.token.field.setText("hf_0123456789")
    page.token.keep_button.click()
    loop.until(lambda: page.notice.isVisible())
    assert page.token.field.text() == "hf_0123456789"
    assert page.token.keep_button.isEnabled()


def test_without_a_keyring_it_is_said_and_nothing_can_be_entered(
    window: MainWindow, fake: FakeClient, loop: Loop
) -> None:
    fake.account = TokenState(source="none", endpoint="https://huggingface.co", why="No program here offers a keyring.")
    page = opened(window, fake, loop)
    loop.until(lambda: page.token.known is not None)
    assert "offers a keyring" in page.token.words.text()
    assert not page.token.field.isVisible()


def network_empty(stage: Stage) -> None:
    stage.attach().window.toggle_network()
    page = stage.window.pages.currentWidget()
    assert isinstance(page, NetworkPage)
    stage.loop.until(lambda: page.purposes)


def network_log(stage: Stage) -> None:
    stage.fake.net.calls = CALLS * 3
    network_empty(stage)


def network_token(stage: Stage) -> None:
    stage.fake.account.source = "keyring"
    network_empty(stage)
    page = stage.window.pages.currentWidget()
    assert isinstance(page, NetworkPage)
    stage.loop.until(lambda: page.token.forget_button.isVisible())


def network_narrow(stage: Stage) -> None:
    network_log(stage)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("play", [network_empty, network_token, network_log, network_narrow])
def test_scene(play: Callable[[Stage], None], mode: Mode, loop: Loop, qapp: QApplication) -> None:
    size = NARROW if play is network_narrow else WIDE
    draw_scene(play.__name__, mode, size, play, loop, qapp)
