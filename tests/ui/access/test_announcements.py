"""What a screen reader says by itself: an answer that is there, a notice, an error, a passing word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QAccessibleEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from backend.api.schemas import ErrorInfo
from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.widgets import NoticeBar, show_toast
from ui.widgets.announce import announce

Said = list[tuple[str, bool]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """(sentence, whether it interrupts) of each announcement that reaches Qt."""
    heard: Said = []

    def hear(event: QAccessibleEvent) -> None:
        if isinstance(event, QAccessibleAnnouncementEvent):
            heard.append((event.message(), event.politeness() == QAccessible.AnnouncementPoliteness.Assertive))

    monkeypatch.setattr(QAccessible, "updateAccessibility", hear)
    return heard


@pytest.fixture
def window(loop: Loop, qapp: QApplication) -> Iterator[MainWindow]:
    fake = FakeClient([fake_conversation("Pears", [("Pears?", "Pears.")])], loaded=fake_loaded())
    link = EngineLink(frame_ms=5)
    made = MainWindow(link)
    made.show()
    link.attach(fake)
    key = next(iter(fake.details))
    loop.until(lambda: made.chat.list.get(key) is not None and made.models.loaded is not None)
    made.open_conversation(key)
    loop.until(lambda: made.chat.open_id == key)
    made.setProperty("fake", fake)
    yield made
    made.close()
    loop.run(link.close())
    made.deleteLater()
    loop.turn()


def test_qt_takes_an_announcement(qtbot: QtBot) -> None:
    widget = QWidget()
    qtbot.addWidget(widget)
    announce(widget, "Without a screen reader nothing happens.")


def test_a_finished_answer_is_said_with_its_beginning(window: MainWindow, said: Said, loop: Loop) -> None:
    fake: FakeClient = window.property("fake")
    window.chat.send("And apples?")
    loop.until(lambda: window.chat.streaming_id)
    fake.say(window.chat.streaming_id or "", "<think>\nHm.\n</think>\n\nApples **too**.")
    fake.finish(window.chat.streaming_id or "")
    loop.until(lambda: not window.chat.busy)
    assert ("Answer: Apples too.", False) in said
    assert len([1 for sentence, _ in said if "Apples" in sentence]) == 1


def test_an_error_interrupts(window: MainWindow, said: Said, loop: Loop) -> None:
    fake: FakeClient = window.property("fake")
    window.chat.send("And apples?")
    loop.until(lambda: window.chat.streaming_id)
    fake.finish(
        window.chat.streaming_id or "", "failed", ErrorInfo(code="x", what="No memory is left.", remedy="Close one.")
    )
    loop.until(lambda: not window.chat.busy)
    assert ("No memory is left. Close one.", True) in said


def test_a_toast_is_said(window: MainWindow, said: Said) -> None:
    show_toast(window, "The answer was copied.", action="Undo")
    assert said == [("The answer was copied.", False)]


def test_a_notice_is_said_once_and_errors_interrupt(qtbot: QtBot, said: Said) -> None:
    bar = NoticeBar()
    qtbot.addWidget(bar)
    bar.set_notice("It is ready.")
    bar.set_notice("It is ready.")
    bar.set_notice("The disk is full.", level="error")
    bar.set_notice("")
    assert said == [("It is ready.", False), ("The disk is full.", True)]
