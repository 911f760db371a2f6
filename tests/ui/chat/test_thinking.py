from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from backend.api.schemas import TurnStats
from tests.ui.chat.support import message
from ui.chat.conversation_view import ConversationView

WHOLE = "<think>\nFirst I look at **both**.\n\nThen I choose.\n</think>\n\nThe *second* one."


@pytest.fixture
def view(qtbot: QtBot) -> ConversationView:
    made = ConversationView()
    qtbot.addWidget(made)
    made.resize(800, 600)
    made.show()
    return made


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_thought_streams_into_its_fold_and_the_answer_below(view: ConversationView, step: int) -> None:
    view.append_message(message("a", "assistant", "", status="streaming"))
    item = view.item("a")
    assert item is not None
    heights = set()
    for i in range(0, len(WHOLE), step):
        view.append_text("a", i, WHOLE[i : i + step])
        view.flush()
        heights.add(item.height())
        assert "think" not in item.body.toPlainText()
        fold = item.thinking()
        if i + step == 30 and step == 3:
            assert fold is not None
            assert fold.button.text().startswith("Thinking")
            fold.button.click()
    fold = item.thinking()
    assert fold is not None
    view.finish_message(message("a", "assistant", WHOLE, stats=TurnStats(completion_tokens=9, thinking_s=12.4)))
    assert fold.button.text() == "Thought for 12 s"
    assert item.body.toPlainText() == "The second one."
    assert fold.text() == "First I look at **both**.\n\nThen I choose."
    if not fold.is_open():
        before = item.height()
        fold.button.click()
        assert item.height() > before
    assert fold.body is not None
    assert fold.body.toPlainText() == "First I look at both.\nThen I choose."
    assert item.content() == WHOLE


def test_an_answer_without_a_thought_has_no_fold(view: ConversationView) -> None:
    view.append_message(message("a", "assistant", "Use `<think>` for that."))
    view.append_message(message("u", "user", "<think>mine</think>"))
    for name in ("a", "u"):
        item = view.item(name)
        assert item is not None
        assert item.thinking() is None
    item = view.item("u")
    assert item is not None
    assert item.body.toPlainText() == "<think>mine</think>"


def test_an_empty_thought_is_not_shown(view: ConversationView) -> None:
    view.append_message(message("a", "assistant", "<think>\n\n</think>\n\nyes"))
    item = view.item("a")
    assert item is not None
    assert item.thinking() is None or item.thinking().isHidden()  # type: ignore[union-attr]
    assert item.body.toPlainText() == "yes"


def test_a_dropped_message_keeps_its_thought(view: ConversationView) -> None:
    view.append_message(message("a", "assistant", "", status="streaming"))
    assert view.item("a") is not None
    view.append_text("a", 0, WHOLE[:30])
    view.flush()
    entry = view._entries[0]
    view._drop(entry)
    assert entry.message.content == WHOLE[:30]


def test_code_in_a_thought_is_reached_by_tab_and_asks_for_wrapping(view: ConversationView) -> None:
    view.append_message(message("a", "assistant", "<think>\n```py\nx = 1\n```\n</think>\nDone."))
    item = view.item("a")
    assert item is not None
    fold = item.thinking()
    assert fold is not None
    fold.button.click()
    assert fold.body is not None
    names = [widget.accessibleName() for widget in item.focus_order()]
    assert names[:5] == [fold.button.text(), "Thoughts", "Wrap long lines", "Save code as a file…", "Copy code"]
    asked: list[bool] = []
    view.wrap_requested.connect(asked.append)
    fold.body.code_focus_order()[0].click()  # type: ignore[attr-defined]
    assert asked == [False]
