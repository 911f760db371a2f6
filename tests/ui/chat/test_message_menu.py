"""What the menu of a message does."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from backend.api.schemas import Sampling, TurnStats
from tests.ui.chat.support import message
from ui.chat.conversation_view import ConversationView
from ui.chat.guessed import GuessedDialog, guessed_spans
from ui.chat.message_item import MessageItem
from ui.chat.message_menu import details_of


@pytest.fixture
def view(qtbot: QtBot) -> ConversationView:
    made = ConversationView()
    qtbot.addWidget(made)
    made.resize(800, 600)
    made.show()
    stats = TurnStats(
        prompt_tokens=12, completion_tokens=40, tok_s=24.3, ttft_s=0.2, seed=7, thinking_s=3.0,
        sampling=Sampling(temperature=0.7, top_k=0, top_p=0.9), threads=2, gpu_layers=12, kv="q8",
    )  # fmt: skip
    made.set_branch(
        [message("u", "user", "Which?"), message("a", "assistant", "The **second** one.\n\n- so\n- it is", stats=stats)]
    )
    return made


def item(view: ConversationView, name: str) -> MessageItem:
    made = view.item(name)
    assert made is not None
    return made


def choose(shown: MessageItem, name: str) -> None:
    menu = shown.menu()
    action = next(one for one in menu.actions() if one.data() == name)
    action.trigger()
    menu.close()


def test_plain_text_has_no_marks(view: ConversationView) -> None:
    choose(item(view, "a"), "copy_text")
    assert QApplication.clipboard().text() == "The second one.\n- so\n- it is"


def test_a_selection_or_everything_is_quoted(view: ConversationView, qtbot: QtBot) -> None:
    shown = item(view, "a")
    with qtbot.waitSignal(view.quote_requested) as quoted:
        choose(shown, "quote")
    assert quoted.args == ["The second one.\n- so\n- it is"]
    cursor = shown.body.document().find("second")
    shown.body.setTextCursor(cursor)
    with qtbot.waitSignal(view.quote_requested) as quoted:
        choose(shown, "quote")
    assert quoted.args == ["second"]


def test_an_answer_is_edited_in_place(view: ConversationView, qtbot: QtBot) -> None:
    shown = item(view, "a")
    choose(shown, "edit_reply")
    editor = shown.editor()
    assert editor is not None
    assert editor.save.text() == "Save"
    editor.input.setPlainText("The first one.")
    with qtbot.waitSignal(view.reply_edited) as edited:
        editor.save.click()
    assert edited.args == ["a", "The first one."]
    choose(shown, "edit_reply")
    with qtbot.assertNotEmitted(view.reply_edited):
        editor.save.click()  # nothing was changed


def test_a_question_is_not_an_answer_to_edit(view: ConversationView) -> None:
    menu = item(view, "u").menu()
    assert "edit_reply" not in [one.data() for one in menu.actions()]
    menu.close()


def test_deleting_is_asked_of_the_screen(view: ConversationView, qtbot: QtBot) -> None:
    with qtbot.waitSignal(view.delete_requested) as wish:
        choose(item(view, "u"), "delete")
    assert wish.args == ["u"]


def test_details_tell_all_figures(view: ConversationView) -> None:
    lines = details_of(item(view, "a").message, "Qwen")
    text = "\n".join(lines)
    for part in (
        "Model: Qwen",
        "24 tok/s",
        "Seed 7",
        "12 tokens of prompt",
        "Thought for 3.0 s",
        "Temperature 0.7, top-p 0.9, min-p 0.05",
        "2 threads, 12 layers on the graphics processor, conversation kept with 8 bits",
    ):
        assert part in text
    menu = item(view, "a").menu()
    below = [one for one in menu.findChildren(QMenu) if one.actions()]
    assert any("Seed 7" in one.text() for one in below[0].actions())
    below[0].actions()[-1].trigger()
    assert "Seed 7" in QApplication.clipboard().text()
    menu.close()


def test_the_view_stays_where_it_is_when_a_turn_goes(qtbot: QtBot) -> None:
    view = ConversationView()
    qtbot.addWidget(view)
    view.resize(800, 600)
    view.show()
    messages = [message(str(i), "assistant" if i % 2 else "user", f"Text {i}\n\n" * 8) for i in range(40)]
    view.set_branch(messages)
    view.scroll_to_message("20")
    place = view.place()[0]
    view.set_branch(messages[:10] + messages[12:], stay=True)
    assert view.place()[0] == place
    assert not view.is_following()
    view.set_branch(messages[:20] + messages[22:], stay=True)  # what was in sight is gone
    assert view.place()[0][0] == "19"
    view.scroll_to_end()
    view.set_branch(messages, stay=True)
    assert view.is_following()


@pytest.mark.parametrize(
    ("text", "runs", "shaded"),
    [
        ("abcdef", [2, 3, 1], ["cde"]),
        ("abcdef", [0, 2, 1, 1, 2], ["ab", "d"]),
        ("before abcdef", [2, 3, 1], ["cde"]),  # continued: the runs are of its end
        ("a\U0001f600b\U0001f600\U0001f600c", [2, 2, 2], ["b\U0001f600"]),
        ("abc", [2, 3, 1], []),
        ("abc", [], []),
        ("", [0, 0], []),
    ],
)
def test_what_was_guessed_is_shaded(qtbot: QtBot, text: str, runs: list[int], shaded: list[str]) -> None:
    stats = TurnStats(completion_tokens=9, passes=4, drafted=8, accepted=5, speedup=1.5, guessed=runs)
    dialog = GuessedDialog(None, message("a", "assistant", text, stats=stats))
    qtbot.addWidget(dialog)
    assert [mark.cursor.selectedText() for mark in dialog.text.extraSelections()] == shaded
    assert dialog.text.accessibleDescription() == "2.2 tokens a pass · 62 % of guesses right · 1.5 × plain"
    units = text.encode("utf-16-le")
    spans = guessed_spans(text, runs)
    assert [units[2 * begin : 2 * end].decode("utf-16-le") for begin, end in spans] == shaded


def test_only_answers_with_guesses_can_show_them(view: ConversationView, qtbot: QtBot) -> None:
    def entries(shown: MessageItem) -> list[str]:
        menu = shown.menu()
        found = [action.text() for action in menu.actions()]
        menu.close()
        return found

    assert "Show what was guessed" not in entries(item(view, "a"))
    stats = TurnStats(completion_tokens=40, passes=9, drafted=20, accepted=12, guessed=[4, 8])
    view.replace_message(message("a", "assistant", "The **second** one.", stats=stats))
    assert "Show what was guessed" in entries(item(view, "a"))
