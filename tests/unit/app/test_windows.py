"""Several windows on one engine: each with its own chat, all in step, and none ends the others."""

# ruff: noqa: F811 - fixtures of the shell are asked for by their names
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.windows import Windows
from tests.fakes.client import FakeClient
from tests.ui.conftest import loop  # noqa: F401 - a fixture
from tests.ui.shell.conftest import fake, link  # noqa: F401 - fixtures
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def saved() -> dict[str, Any]:
    return {}


@pytest.fixture
def windows(loop: Loop, link: EngineLink, saved: dict[str, Any], qapp: QApplication) -> Iterator[Windows]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    made = Windows(lambda save, _further: MainWindow(link, {}, save), saved.update)
    made.first().show()
    yield made
    for window in made.all:
        window.close()
        window.deleteLater()
    loop.turn()
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def send(window: MainWindow, text: str) -> None:
    window.chat_screen.composer.set_text(text)
    QTest.keyClick(window.chat_screen.composer.input, Qt.Key.Key_Return)


def two(loop: Loop, windows: Windows, fake: FakeClient) -> tuple[MainWindow, MainWindow]:
    first = windows.all[0]
    first.link.attach(fake)
    loop.until(lambda: len(first.chat.list) == len(fake.details) and first.models.can_answer)
    first.commands["window.new"].trigger()
    second = windows.all[1]
    loop.until(lambda: len(second.chat.list) == len(fake.details) and second.models.can_answer)
    return first, second


def test_a_new_window_has_the_list_the_model_and_a_chat_of_its_own(
    loop: Loop,
    windows: Windows,
    fake: FakeClient,
) -> None:
    first, second = two(loop, windows, fake)
    assert second.isVisible()
    assert second.pos() != first.pos()
    fake.answer = "An answer."
    send(first, "From the first")
    send(second, "From the second")
    loop.until(lambda: len(fake.called("start_turn")) == 2 and not first.chat.busy and not second.chat.busy)
    assert first.chat.open_id != second.chat.open_id
    assert [window.chat.branch()[0].content for window in (first, second)] == ["From the first", "From the second"]
    assert len(first.chat.list) == len(second.chat.list) == len(fake.details)


def test_the_same_conversation_in_two_windows_is_the_same(loop: Loop, windows: Windows, fake: FakeClient) -> None:
    first, second = two(loop, windows, fake)
    key = next(iter(fake.details))
    for window in (first, second):
        window.open_conversation(key)
    loop.until(lambda: first.chat.open_id == second.chat.open_id == key)
    send(first, "And?")
    loop.until(lambda: first.chat.streaming_id and second.chat.streaming_id)
    assert second.chat_screen.composer.is_busy()
    send(second, "after it")  # waits in its own window
    message = fake.streaming[0]
    fake.say(message, "Some text.")
    fake.finish(message)
    loop.until(lambda: len(fake.called("start_turn")) == 2)
    fake.finish(fake.streaming[0])
    loop.until(lambda: not first.chat.busy and not second.chat.busy)
    contents = [one.content for one in first.chat.branch()]
    assert contents == [one.content for one in second.chat.branch()]
    assert contents[-2:] == ["after it", ""]
    question = first.chat.branch()[0].id
    second.chat.delete_turn(question)
    loop.until(lambda: question not in first.chat_screen.view.message_ids())
    assert first.chat_screen.view.message_ids() == second.chat_screen.view.message_ids()
    answer = first.chat.branch()[1].id
    first.chat.edit_reply(answer, "In other words")
    loop.until(lambda: "In other words" in [one.content for one in second.chat.branch()])


def test_closing_one_leaves_the_others_and_the_next_new_one_is_fresh(
    loop: Loop,
    windows: Windows,
    fake: FakeClient,
) -> None:
    first, second = two(loop, windows, fake)
    send(first, "Keep on")
    loop.until(lambda: first.chat.streaming_id)
    second.chat_screen.composer.set_text("half")
    second.close()
    assert windows.shown() == [first]
    fake.say(fake.streaming[0], "Still there.")
    loop.until(lambda: first.chat.branch()[-1].content == "Still there.")
    fake.die()
    first.link.detach()
    again = FakeClient(list(fake.details.values()), loaded=fake.loaded)
    first.link.attach(again)
    loop.until(lambda: first.link.ready)
    third = windows.open()
    assert third is second
    assert third.chat.open_id == ""
    assert windows.shown() == [first, second]


def test_settings_are_the_same_in_all(loop: Loop, windows: Windows, fake: FakeClient, saved: dict[str, Any]) -> None:
    first, second = two(loop, windows, fake)
    first.commands["theme.dark"].trigger()
    assert second.theme() == "dark"
    assert second.commands["theme.dark"].isChecked()
    second.commands["app.notify"].trigger()
    assert saved["notify"] is False
    assert not first.commands["app.notify"].isChecked()
    second.toggle_bar("left")
    assert first.panes.wanted("left") != second.panes.wanted("left")


@pytest.mark.parametrize("further", [False, True])
def test_what_was_not_sent_comes_back_in_the_first_window_only(further: bool) -> None:
    asked: list[bool] = []

    def make(_save: Any, there_is_one: bool) -> Any:
        asked.append(there_is_one)
        raise InterruptedError

    windows = Windows(make, lambda _values: None)
    if further:
        windows.all.append(object())  # type: ignore[arg-type]
    with pytest.raises(InterruptedError):
        windows.first()
    assert asked == [further]
