"""What is typed and sent is never lost: the places where a monkey found that it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from backend.api.errors import DiskFullError
from backend.api.schemas import ConversationDetail, StartTurn, TurnTicket
from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def window(loop: Loop, link: EngineLink, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    made = MainWindow(link, {}, None)
    made.show()
    yield made
    made.close()
    made.deleteLater()
    loop.turn()
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def send(window: MainWindow, text: str) -> None:
    composer = window.chat_screen.composer
    composer.set_text(text)
    QTest.keyClick(composer.input, Qt.Key.Key_Return)


def attach(loop: Loop, window: MainWindow, fake: FakeClient) -> list[str]:
    window.link.attach(fake)
    loop.until(lambda: len(window.chat.list) == len(fake.details) and window.models.can_answer)
    return list(fake.details)


def show(loop: Loop, window: MainWindow, key: str) -> None:
    window.open_conversation(key)
    loop.until(lambda: window.chat.open_id == key)


def test_a_second_chat_keeps_its_text_while_the_first_is_being_asked(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = attach(loop, window, fake)
    asked, answer = asyncio.Event(), fake.start_turn

    async def slow(conversation_id: str, turn: StartTurn) -> TurnTicket:
        await asked.wait()
        return await answer(conversation_id, turn)

    monkeypatch.setattr(fake, "start_turn", slow)
    show(loop, window, first)
    send(window, "To the first")
    show(loop, window, second)
    send(window, "To the second")
    assert window.chat_screen.composer.text() == "To the second"
    asked.set()
    loop.until(lambda: fake.called("start_turn"))
    loop.turn()
    QTest.keyClick(window.chat_screen.composer.input, Qt.Key.Key_Return)
    loop.until(lambda: len(fake.called("start_turn")) == 2)
    assert [one[0] for one in fake.called("start_turn")] == [first, second]  # type: ignore[index]


def test_what_is_typed_stays_when_the_new_chat_becomes_a_conversation(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    send(window, "First")  # the engine is not there yet
    window.chat_screen.composer.set_text("the next one, half typ")
    attach(loop, window, fake)
    loop.until(lambda: window.chat.streaming_id)
    assert window.chat_screen.composer.text() == "the next one, half typ"


def test_what_waits_in_a_new_chat_waits_in_its_conversation_only(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    first, *_ = attach(loop, window, fake)
    send(window, "New")
    send(window, "and then")
    assert window.chat_screen.queue.texts() == ["and then"]
    loop.until(lambda: window.chat.streaming_id)
    assert window.chat_screen.queue.texts() == ["and then"]
    show(loop, window, first)
    assert window.chat_screen.queue.texts() == []


def test_a_message_that_waits_is_sent_where_it_was_written(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    first, second, _ = attach(loop, window, fake)
    show(loop, window, first)
    fake.die()
    window.link.detach()
    window.open_conversation(second)  # it cannot be read now
    send(window, "Into the first")
    again = FakeClient(list(fake.details.values()), loaded=fake.loaded)
    window.link.attach(again)
    loop.until(lambda: again.called("start_turn"))
    assert again.called("start_turn")[0][0] == first  # type: ignore[index]


def test_an_edit_that_cannot_be_sent_now_comes_back(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    question = window.chat.branch()[0].id
    send(window, "And?")
    loop.until(lambda: window.chat.streaming_id)
    window.chat_screen.view.edit_submitted.emit(question, "Asked better")
    assert window.chat_screen.composer.text() == "Asked better"


def test_a_suggestion_does_not_take_the_place_of_what_is_typed(window: MainWindow) -> None:
    window.chat_screen.composer.set_text("My own words")
    window.chat_screen.view.prompt_chosen.emit("Explain it")
    assert window.chat_screen.composer.text() == "My own words\n\nExplain it"


def test_a_short_text_comes_back_though_a_longer_one_contains_it(window: MainWindow) -> None:
    window.chat_screen.composer.set_text("yesterday")
    window.chat.text_returned.emit("yes")
    assert window.chat_screen.composer.text() == "yes\n\nyesterday"


def test_an_edited_answer_that_cannot_be_kept_comes_back(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    fake.failures["add_version"] = DiskFullError("The disk is full.", remedy="Free some space.")
    window.chat_screen.view.reply_edited.emit(window.chat.branch()[1].id, "In better words")
    loop.until(lambda: window.chat_screen.composer.text() == "In better words")


def test_what_was_not_sent_is_kept_when_the_window_closes(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    first, second, _ = attach(loop, window, fake)
    show(loop, window, first)
    send(window, "Asked")
    loop.until(lambda: window.chat.streaming_id)
    send(window, "Next")
    send(window, "And next")
    show(loop, window, second)
    window.chat_screen.composer.set_text("Half a thou")
    window.keep_texts()
    window.keep_texts()  # twice is once
    loop.run(window.link.finish(1.0))
    assert fake.details[first].conversation.draft == "Next\n\nAnd next"
    assert fake.details[second].conversation.draft == "Half a thou"
    assert window.chat_screen.queue.texts() == []


def test_the_text_of_a_new_chat_is_there_at_the_next_start(loop: Loop, link: EngineLink) -> None:
    kept: dict[str, object] = {}
    window = MainWindow(link, {}, kept.update)
    send(window, "The engine never came")
    window.chat_screen.composer.set_text("and this was typed")
    window.close()
    assert kept["new_chat_draft"] == "The engine never came\n\nand this was typed"
    again = MainWindow(link, kept, kept.update)
    assert again.chat_screen.composer.text() == kept["new_chat_draft"]
    for one in (window, again):
        one.deleteLater()
    loop.turn()


def test_an_answer_that_ends_while_it_is_read_has_ended(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    send(window, "And?")
    loop.until(lambda: window.chat.streaming_id)
    read, times = fake.conversation, []

    async def slow(conversation_id: str) -> ConversationDetail:
        detail = await read(conversation_id)
        times.append(conversation_id)
        if len(times) == 1:
            fake.finish(fake.streaming[0])
            await asyncio.sleep(0.02)  # the answer's end overtakes what was read before it
        return detail

    monkeypatch.setattr(fake, "conversation", slow)
    window.chat.read_again(first)
    loop.until(lambda: len(times) == 2 and not window.chat.busy)
    assert window.chat.branch()[-1].status == "complete"


def test_a_conversation_that_is_removed_for_good_leaves_what_was_typed(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    window.chat_screen.composer.set_text("not sent yet")
    del fake.details[first]  # by another window, or the trash was emptied while the engine was away
    window.chat.organiser.empty_trash()
    loop.until(lambda: window.chat.open_id == "")
    assert window.chat_screen.composer.text() == "not sent yet"
    assert window.chat.list.get(first) is None


def test_a_new_engine_that_does_not_know_the_open_conversation(
    loop: Loop, window: MainWindow, link: EngineLink, fake: FakeClient
) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    window.chat_screen.composer.set_text("not sent yet")
    del fake.details[first]
    link.detach("It ended.")
    link.attach(fake)
    loop.until(lambda: window.chat.open_id == "")
    assert window.chat_screen.composer.text() == "not sent yet"


def test_a_reading_that_was_on_its_way_before_a_turn_was_deleted_is_done_again(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = attach(loop, window, fake)
    show(loop, window, first)
    question = window.chat.branch()[0]
    go, asked, read = asyncio.Event(), asyncio.Event(), fake.conversation

    async def slow(conversation_id: str) -> ConversationDetail:
        detail = await read(conversation_id)  # as it was before
        asked.set()
        await go.wait()
        return detail

    monkeypatch.setattr(fake, "conversation", slow)
    window.chat.read_again(first)
    loop.until(asked.is_set)
    window.chat.delete_turn(question.id)
    loop.until(lambda: fake.called("delete_turn"))
    loop.turn()
    monkeypatch.setattr(fake, "conversation", read)
    go.set()
    loop.until(lambda: not window.chat.branch())
    assert window.chat_screen.view.message_ids() == []
