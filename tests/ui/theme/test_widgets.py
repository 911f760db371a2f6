from __future__ import annotations

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from ui.widgets import ConfirmDialog, ElidedLabel, LinkDialog, Meter, NoticeBar, Toast, open_link, show_toast
from ui.widgets.dialogs import link_refusal, visible_address


@pytest.fixture
def host(qtbot: QtBot) -> QWidget:
    made = QWidget()
    made.resize(600, 400)
    qtbot.addWidget(made)
    made.show()
    return made


def test_a_toast_acts_once_and_goes(host: QWidget, qtbot: QtBot) -> None:
    undone: list[int] = []
    toast = show_toast(host, "The conversation is in the trash.", action="Undo", on_action=lambda: undone.append(1))
    assert toast.isVisible()
    assert host.rect().contains(toast.geometry())
    assert toast.action_button is not None
    with qtbot.waitSignal(toast.closed):
        toast.action_button.click()
    toast.dismiss()
    assert undone == [1]


def test_a_toast_goes_by_itself(host: QWidget, qtbot: QtBot) -> None:
    toast = show_toast(host, "Saved.", timeout_ms=20)
    with qtbot.waitSignal(toast.closed, timeout=2000):
        pass


def test_a_second_toast_takes_the_place_of_the_first(host: QWidget, qtbot: QtBot) -> None:
    first = show_toast(host, "One.")
    with qtbot.waitSignal(first.closed):
        show_toast(host, "Two.")
    shown = [t for t in host.findChildren(Toast) if t.isVisible()]
    assert [t.accessibleName() for t in shown] == ["Two."]


def test_a_long_toast_stays_inside_a_narrow_window(host: QWidget, qtbot: QtBot) -> None:
    host.resize(320, 300)
    toast = show_toast(host, "A sentence that is longer than this window is wide, by a good deal. " * 2, action="Undo")
    assert host.rect().contains(toast.geometry())


def test_meter_says_it_in_words_too(qtbot: QtBot) -> None:
    meter = Meter("Context")
    qtbot.addWidget(meter)
    meter.set_value(0.15, "1,240 of 8,192")
    assert meter.fraction() == pytest.approx(0.15)
    assert meter.words() == "1,240 of 8,192"
    assert meter.accessibleDescription() == "1,240 of 8,192"
    meter.set_value(7.0, "full", "danger")
    assert meter.fraction() == 1.0


def test_notice_folds_its_details(host: QWidget, qtbot: QtBot) -> None:
    bar = NoticeBar(host)
    bar.set_notice("It stopped.", level="error", action="Continue", details="signal 11")
    assert bar.text() == "It stopped."
    assert bar.details_text() == ""
    bar.details_button().click()
    assert bar.details_text() == "signal 11"
    with qtbot.waitSignal(bar.action_triggered):
        bar.action_button().click()
    bar.set_notice("")
    assert not bar.isVisible()


def test_elided_label_keeps_the_whole_text_in_reach(host: QWidget, qtbot: QtBot) -> None:
    label = ElidedLabel("a long name of a conversation that goes on", parent=host)
    label.resize(60, 20)
    label.show()
    assert label.is_elided()
    assert label.toolTip() == label.text()
    label.resize(600, 20)
    assert not label.is_elided()
    assert label.toolTip() == ""


def test_confirm_focuses_the_harmless_answer(host: QWidget, qtbot: QtBot) -> None:
    dialog = ConfirmDialog(host, "Delete all?", "This cannot be undone.", action="Delete")
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.cancel_button.isDefault()
    assert not dialog.action_button.autoDefault()
    with qtbot.waitSignal(dialog.rejected):
        dialog.cancel_button.click()


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "smb://x/y",
        "ftp://x",
        "ms-msdt:/id",
        "vbscript:x",
    ],
)
def test_other_addresses_are_refused_with_a_sentence(url: str, host: QWidget, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda u: opened.append(u))
    assert link_refusal(url).endswith(".")
    open_link(host, url)
    assert [t.isVisible() for t in host.findChildren(Toast)] == [True]
    assert not host.findChildren(LinkDialog)
    assert not opened


@pytest.mark.parametrize("url", ["https://example.org/a?b=c", "http://example.org", "mailto:a@example.org"])
def test_links_ask_first_and_show_the_whole_address(
    url: str, host: QWidget, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda u: opened.append(u.toString()))
    open_link(host, url)
    (dialog,) = host.findChildren(LinkDialog)
    assert url in dialog.address.toPlainText()
    assert not opened
    with qtbot.waitSignal(dialog.accepted):
        dialog.action_button.click()
    assert opened == [url]


def test_addresses_cannot_hide_anything(qapp: QApplication, qtbot: QtBot) -> None:
    assert visible_address("http://a/\u202egpj.exe") == "http://a/%E2%80%AEgpj.exe"
    dialog = LinkDialog(None, "https://exämple.org/\u202e")
    qtbot.addWidget(dialog)
    shown = dialog.address.toPlainText()
    assert shown.isascii()
    assert "xn--" in shown
