"""What the menu of a message does."""

from __future__ import annotations

import re

import pytest
from PySide6.QtGui import QTextDocument
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from backend.api.schemas import Sampling, TurnStats
from tests.ui.chat.support import message
from ui.chat.conversation_view import ConversationView
from ui.chat.guessed import guessed_spans, shades_in
from ui.chat.markdown import MarkdownDocument
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


def shaded(shown: MessageItem) -> list[str]:
    return [mark.cursor.selectedText() for mark in shown.body.extraSelections()]  # type: ignore[attr-defined]


def runs_of(text: str, *guessed: str) -> list[int]:
    """Runs in which these parts of the text, in their order, were guessed."""
    runs, at = [], 0
    for part in guessed:
        begin = text.index(part, at)
        runs += [begin - at, len(part)]
        at = begin + len(part)
    return [*runs, len(text) - at]


@pytest.mark.parametrize(
    ("text", "runs", "spans"),
    [
        ("abcdef", [2, 3, 1], ["cde"]),
        ("abcdef", [0, 2, 1, 1, 2], ["ab", "d"]),
        ("before abcdef", [2, 3, 1], ["cde"]),  # continued: the runs are of its end
        ("abc", [2, 3, 1], []),
        ("abc", [], []),
        ("", [0, 0], []),
    ],
)
def test_runs_are_counted_from_the_end(text: str, runs: list[int], spans: list[str]) -> None:
    assert [text[begin:end] for begin, end in guessed_spans(text, runs)] == spans


CODE = "Take `both` at **once**, then:\n\n"
CODE += "```python\nfor a in both:\n    use(a)\n```\n\n- one a\n- two [link](http://x.y/a/b) b\n"


@pytest.mark.parametrize(
    ("text", "guessed", "shown"),
    [
        ("one two three four", ["two three"], ["two three"]),
        ("the cat, the dog, the cow", [" dog, the"], ["dog, the"]),
        ("a \U0001f600b\U0001f600 c", ["\U0001f600 c"], ["\U0001f600 c"]),
        ("unforgettable", ["forget", "le"], ["forget", "le"]),  # tokens are parts of words
        (CODE, ["`both` at **on"], ["both at on"]),
        (CODE, ["both:\n    use"], ["both:", "use"]),  # a line of code is a block of its own
        (CODE, ["one a\n- two", "b) b"], ["one a", "two", "b"]),
        ("<think>\nthe cat sat\n</think>\nthe cat ran", ["cat sat", "cat"], ["cat"]),
        ("Say $x^2$ and $y^2$ now", ["and", "now"], ["and", "now"]),
        ("| a | b |\n|---|---|\n| 1 | 22 |\n", ["22"], ["22"]),
    ],
)
def test_what_was_guessed_is_shaded_in_the_message(
    view: ConversationView, text: str, guessed: list[str], shown: list[str]
) -> None:
    stats = TurnStats(
        completion_tokens=9, passes=4, drafted=8, accepted=5, speedup=1.5, guessed=runs_of(text, *guessed)
    )
    view.replace_message(message("a", "assistant", text, stats=stats))
    answer = item(view, "a")
    assert shaded(answer) == [], "not before it is asked for"
    choose(answer, "shade")
    assert shaded(answer) == shown
    told = "Shaded text was guessed and found right: 2.2 tokens a pass · 62 % of guesses right · 1.5 × plain"
    assert answer.body.accessibleDescription() == told
    answer.restyle()
    assert shaded(answer) == shown
    answer.body.mark_words(["zzz"])
    assert shaded(answer) == shown, "a search takes nothing away"
    choose(answer, "shade")
    assert shaded(answer) == []
    assert answer.body.accessibleDescription() == ""


def test_an_answer_that_is_written_again_is_shaded_as_it_is_then(view: ConversationView) -> None:
    stats = TurnStats(completion_tokens=9, guessed=runs_of("one two three", "two"))
    view.replace_message(message("a", "assistant", "one two three", stats=stats))
    choose(item(view, "a"), "shade")
    again = TurnStats(completion_tokens=9, guessed=runs_of("four five six", "six"))
    view.replace_message(message("a", "assistant", "four five six", stats=again))
    assert shaded(item(view, "a")) == ["six"]
    view.replace_message(message("a", "assistant", "seven", stats=TurnStats(completion_tokens=1)))
    assert shaded(item(view, "a")) == []
    assert not item(view, "a").is_shaded()


def test_what_only_the_screen_has_does_not_lead_astray(qtbot: QtBot) -> None:
    """Of a long text every tenth word was guessed; behind a code block, whose name is no part of its code, too."""
    body = "".join(f"word{i % 7} is {i} and so on.\n\n```text\nis word {i}\n```\n\n" for i in range(300))
    document = MarkdownDocument(QTextDocument())
    document.set_source(body)
    begins = [m.start() for m in re.finditer(r"is \d+ and", body)]
    marks = shades_in(document.document, body, [(at, at + len("is")) for at in begins])
    places = [mark.cursor.selectionStart() for mark in marks]  # type: ignore[attr-defined]
    texts = [document.document.findBlock(place).text() for place in places]
    assert len(places) == 300
    assert texts == [f"word{i % 7} is {i} and so on." for i in range(300)]


def test_only_answers_with_guesses_can_show_them(view: ConversationView, qtbot: QtBot) -> None:
    def entries(shown: MessageItem) -> list[str]:
        menu = shown.menu()
        found = [action.text() for action in menu.actions()]
        menu.close()
        return found

    assert "Shade what was guessed" not in entries(item(view, "a"))
    stats = TurnStats(completion_tokens=40, passes=9, drafted=20, accepted=12, guessed=[4, 8])
    view.replace_message(message("a", "assistant", "The **second** one.", stats=stats))
    assert "Shade what was guessed" in entries(item(view, "a"))
