from __future__ import annotations

import pytest
from PySide6.QtCore import QMimeData, Qt
from PySide6.QtGui import QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui.chat.composer import Composer


@pytest.fixture
def composer(qtbot: QtBot) -> Composer:
    made = Composer()
    made.resize(500, 120)
    qtbot.addWidget(made)
    made.show()
    made.input.setFocus()
    return made


def test_enter_sends_and_shift_enter_does_not(composer: Composer, qtbot: QtBot) -> None:
    qtbot.keyClicks(composer.input, "one")
    qtbot.keyClick(composer.input, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(composer.input, "  two ")
    with qtbot.waitSignal(composer.send_requested) as sent:
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert sent.args == ["one\n  two"]
    assert composer.text() == "one\n  two "  # kept until the message is on its way
    composer.clear()
    assert composer.text() == ""
    composer.input.undo()
    assert composer.text() == "one\n  two "


def test_nothing_is_sent_when_there_is_nothing(composer: Composer, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(composer.send_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
        qtbot.keyClicks(composer.input, "   ")
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert not composer.button.isEnabled()


def test_enter_of_an_input_method_does_not_send(composer: Composer, qtbot: QtBot) -> None:
    composer.set_text("a")
    QApplication.sendEvent(composer.input, QInputMethodEvent("にほ", []))
    with qtbot.assertNotEmitted(composer.send_requested):
        composer.input.keyPressEvent(
            QKeyEvent(QKeyEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier, "\r")
        )
    done = QInputMethodEvent("", [])
    done.setCommitString("日本")
    QApplication.sendEvent(composer.input, done)
    with qtbot.waitSignal(composer.send_requested) as sent:
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert sent.args == ["a日本"]


def test_busy_turns_send_into_stop(composer: Composer, qtbot: QtBot) -> None:
    composer.set_text("next question")
    composer.set_busy(True)
    assert composer.button.accessibleName() == "Stop"
    with qtbot.assertNotEmitted(composer.send_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    with qtbot.waitSignal(composer.stop_requested):
        composer.button.click()
    with qtbot.waitSignal(composer.stop_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Escape)
    composer.set_busy(False)
    assert composer.button.accessibleName() == "Send"
    with qtbot.assertNotEmitted(composer.stop_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Escape)


def test_a_reason_stops_sending_but_not_typing(composer: Composer, qtbot: QtBot) -> None:
    composer.set_enabled_reason("No model is loaded.")
    qtbot.keyClicks(composer.input, "hello")
    assert composer.text() == "hello"
    with qtbot.assertNotEmitted(composer.send_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert composer.hint.text() == "No model is loaded."
    assert composer.input.accessibleDescription() == "No model is loaded."
    composer.set_enabled_reason("")
    with qtbot.waitSignal(composer.send_requested):
        composer.button.click()


def test_it_grows_to_eight_lines_and_then_scrolls(composer: Composer) -> None:
    heights = []
    for lines in range(1, 12):
        composer.set_text("\n".join("x" * lines))
        heights.append(composer.input.minimumHeight())
    assert heights[:8] == sorted(set(heights[:8]))
    assert len(set(heights[7:])) == 1
    assert composer.input.verticalScrollBarPolicy() == Qt.ScrollBarPolicy.ScrollBarAsNeeded
    composer.set_text("")
    assert composer.input.minimumHeight() == heights[0]


def test_it_grows_with_wrapped_lines(composer: Composer) -> None:
    low = composer.input.minimumHeight()
    composer.set_text("word " * 60)
    assert composer.input.minimumHeight() > 2 * low


def test_paste_is_plain_text(composer: Composer) -> None:
    data = QMimeData()
    data.setHtml("<b>bold</b><img src='file:///x.png'>")
    data.setText("bold")
    composer.input.insertFromMimeData(data)
    assert composer.text() == "bold"
    picture = QMimeData()
    picture.setData("image/png", b"x")
    assert not composer.input.canInsertFromMimeData(picture)


def test_names_for_screen_readers(composer: Composer) -> None:
    assert composer.input.accessibleName() == "Message"
    assert composer.input.placeholderText() == "Ask anything"
    assert "Esc" not in composer.button.toolTip()
    composer.set_busy(True)
    assert "Esc" in composer.button.toolTip()


def test_a_message_keeps_its_leading_spaces(composer: Composer, qtbot: QtBot) -> None:
    composer.set_text("    indented = True\n")
    with qtbot.waitSignal(composer.send_requested) as sent:
        composer.button.click()
    assert sent.args == ["    indented = True"]


def test_up_in_an_empty_field_recalls_and_a_change_ends_it(composer: Composer, qtbot: QtBot) -> None:
    composer.set_history(["first", "second\nwith two lines"])
    for key, wanted in [
        (Qt.Key.Key_Up, "second\nwith two lines"), (Qt.Key.Key_Up, "first"), (Qt.Key.Key_Up, "first"),
        (Qt.Key.Key_Down, "second\nwith two lines"), (Qt.Key.Key_Down, ""),
    ]:  # fmt: skip
        qtbot.keyClick(composer.input, key)
        assert composer.text() == wanted
    qtbot.keyClick(composer.input, Qt.Key.Key_Up)
    qtbot.keyClicks(composer.input, "!")
    qtbot.keyClick(composer.input, Qt.Key.Key_Up)
    assert composer.text() == "second\nwith two lines!"


def test_while_an_answer_streams_enter_queues(composer: Composer, qtbot: QtBot) -> None:
    composer.set_busy(True)
    qtbot.keyClicks(composer.input, "next")
    assert "after this answer" in composer.hint.text()
    with qtbot.waitSignal(composer.queue_requested) as queued, qtbot.assertNotEmitted(composer.send_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert queued.args == ["next"]
    composer.set_enabled_reason("No model is loaded.")
    with qtbot.assertNotEmitted(composer.queue_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)


def test_an_input_method_with_a_list_of_words_keeps_its_keys(composer: Composer, qtbot: QtBot) -> None:
    """Esc, arrows and the slash belong to the word that is being composed, and nothing of it is lost."""
    QApplication.sendEvent(composer.input, QInputMethodEvent("に", []))
    with (
        qtbot.assertNotEmitted(composer.input.slash_typed),
        qtbot.assertNotEmitted(composer.input.recalled),
        qtbot.assertNotEmitted(composer.input.escaped),
    ):
        for key, text in ((Qt.Key.Key_Slash, "/"), (Qt.Key.Key_Up, ""), (Qt.Key.Key_Escape, "\x1b")):
            composer.input.keyPressEvent(QKeyEvent(QKeyEvent.Type.KeyPress, key, Qt.KeyboardModifier.NoModifier, text))
    replaced = QInputMethodEvent("", [])
    replaced.setCommitString("二")
    QApplication.sendEvent(composer.input, replaced)
    assert composer.text().endswith("二")


def test_a_dead_key_and_its_letter_are_one_letter(composer: Composer, qtbot: QtBot) -> None:
    """The accent is shown while it waits; with the letter both become one, and Enter then sends."""
    composer.set_text("caf")
    dead = QKeyEvent(QKeyEvent.Type.KeyPress, Qt.Key.Key_Dead_Acute, Qt.KeyboardModifier.NoModifier, "")
    composer.input.keyPressEvent(dead)
    QApplication.sendEvent(composer.input, QInputMethodEvent("´", []))
    assert composer.text() == "caf"
    with qtbot.assertNotEmitted(composer.send_requested):
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    done = QInputMethodEvent("", [])
    done.setCommitString("é")
    QApplication.sendEvent(composer.input, done)
    assert composer.text() == "café"
    with qtbot.waitSignal(composer.send_requested) as sent:
        qtbot.keyClick(composer.input, Qt.Key.Key_Return)
    assert sent.args == ["café"]


def test_a_word_that_is_taken_up_again_is_replaced(composer: Composer) -> None:
    """Reconversion and correction on a telephone's keyboard replace text before the cursor."""
    composer.set_text("teh end")
    fixed = QInputMethodEvent("", [])
    fixed.setCommitString("the", -7, 3)
    QApplication.sendEvent(composer.input, fixed)
    assert composer.text() == "the end"
