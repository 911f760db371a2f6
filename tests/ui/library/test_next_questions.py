"""Suggestions over the composer: when they are asked for, when they go, and what a click does."""

from __future__ import annotations

import pytest

from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.main_window import MainWindow


def answered(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    """Attaches the engine, asks, and waits for the end of the answer."""
    fake.answer, fake.questions = "It is wide.", ["How wide is it?", "Who measured it?"]
    window.link.attach(fake)
    loop.until(lambda: window.models.can_answer)
    window.chat_screen.composer.set_text("Tell me of the sea.")
    window.chat_screen.composer.send_requested.emit("Tell me of the sea.")
    loop.until(lambda: [one.status for one in window.chat.branch()[1:]] == ["complete"] and not window.chat.busy)


@pytest.fixture
def asked(window: MainWindow, fake: FakeClient, loop: Loop) -> MainWindow:
    """A window with suggestions switched on, whose engine has answered once."""
    window.commands["answer.follow_ups"].trigger()
    answered(window, fake, loop)
    loop.until(lambda: window.chat_screen.next_questions.bar.buttons)
    return window


def test_nothing_is_asked_for_unless_it_is_wanted(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    assert not window.commands["answer.follow_ups"].isChecked()
    answered(window, fake, loop)
    loop.turn()
    assert not [call for call in fake.calls if call[0] == "follow_ups"]


def test_a_question_is_put_into_the_field(asked: MainWindow, loop: Loop) -> None:
    bar = asked.chat_screen.next_questions.bar
    assert not bar.isHidden()
    assert [button.accessibleName() for button in bar.buttons] == ["Ask: How wide is it?", "Ask: Who measured it?"]
    bar.buttons[1].click()
    assert asked.chat_screen.composer.text() == "Who measured it?"
    assert bar.isHidden()
    loop.turn()


def test_typing_takes_them_away(asked: MainWindow) -> None:
    asked.chat_screen.composer.set_text("My own question")
    assert asked.chat_screen.next_questions.bar.isHidden()


def test_typing_before_they_come_ends_them(asked: MainWindow, fake: FakeClient, loop: Loop) -> None:
    screen = asked.chat_screen
    screen.next_questions._asked = (asked.chat.open_id, "an answer")
    screen.composer.set_text("M")
    loop.until(lambda: ("end_follow_ups", asked.chat.open_id) in fake.calls)


def test_they_go_with_the_conversation_and_with_the_switch(asked: MainWindow, loop: Loop) -> None:
    bar = asked.chat_screen.next_questions.bar
    asked.chat.new_chat()
    assert bar.isHidden()
    bar.set_questions(["How?"])
    asked.commands["answer.follow_ups"].trigger()
    assert bar.isHidden()
    loop.turn()
