from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from backend.api.schemas import ContextCut, ErrorInfo, Message, TurnStats
from tests.ui.chat.support import message
from ui.chat.conversation_view import ConversationView
from ui.chat.message_item import MessageItem
from ui.theme import apply_theme

STATS = TurnStats(prompt_tokens=120, completion_tokens=300, ttft_s=0.41, tok_s=24.3, total_s=12.0, seed=7)


@pytest.fixture
def view(qtbot: QtBot) -> Iterator[ConversationView]:
    made = ConversationView()
    qtbot.addWidget(made)
    made.resize(800, 600)
    made.show()
    with qtbot.waitExposed(made):
        pass
    yield made
    made.clear()


def talk(turns: int, answer: str = "An answer. " * 30) -> list[Message]:
    found = []
    for number in range(turns):
        found.append(message(f"u{number}", "user", f"Question {number}?"))
        found.append(message(f"a{number}", "assistant", answer, stats=STATS))
    return found


def item(view: ConversationView, message_id: str) -> MessageItem:
    found = view.item(message_id)
    assert found is not None
    return found


def button(view: ConversationView, message_id: str, name: str) -> QWidget:
    found = item(view, message_id).row.button(name)
    assert found is not None
    return found


def at_end(view: ConversationView) -> bool:
    bar = view.scroll_area().verticalScrollBar()
    return bar.value() == bar.maximum()


# what is shown


def test_an_empty_conversation_greets_and_offers_prompts(view: ConversationView, qtbot: QtBot) -> None:
    assert view.empty_state().isVisible()
    assert len(view.empty_state().buttons) == 3
    with qtbot.waitSignal(view.prompt_chosen) as chosen:
        view.empty_state().buttons[0].click()
    assert chosen.args[0]
    view.append_message(message("u", "user", "hi"))
    assert not view.empty_state().isVisible()
    view.clear()
    assert view.empty_state().isVisible()


def test_a_branch_is_shown_at_its_end(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch([message("s", "system", "Be brief."), *talk(10)])
    assert view.message_ids()[0] == "u0"  # the system prompt is not a turn
    assert at_end(view)
    assert item(view, "a9").row.figures() == "24 tok/s · 0.4 s to first token"
    assert item(view, "u0").row.figures() == ""


def test_messages_stand_one_below_the_other(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(6))
    items = [item(view, message_id) for message_id in view.message_ids()]
    for above, below in pairwise(items):
        assert above.geometry().bottom() < below.geometry().top()
    assert len({i.width() for i in items}) == 1
    assert items[0].width() < 800


def test_the_measure_is_at_most_76_characters(view: ConversationView) -> None:
    view.resize(3000, 600)
    view.set_branch([message("a", "assistant", "the quick brown fox jumps over the lazy dog " * 10)])
    body = item(view, "a").body
    layout = body.document().begin().layout()
    assert max(layout.lineAt(i).textLength() for i in range(layout.lineCount() - 1)) <= 80
    assert layout.lineCount() > 4


@pytest.mark.parametrize("width", [200, 420, 700, 1600])
def test_nothing_sticks_out_at_any_width(view: ConversationView, width: int, qtbot: QtBot) -> None:
    view.set_branch([*talk(2, "w" * 300), message("f", "assistant", "", status="interrupted")])
    view.resize(width, 500)
    for message_id in view.message_ids():
        shown = item(view, message_id)
        assert shown.geometry().right() <= view.scroll_area().viewport().width()
        assert shown.body.geometry().right() <= shown.width()


def test_names_of_models(view: ConversationView) -> None:
    view.set_model_names({"m": "SmolLM2\u202e 135M"})
    view.set_branch(talk(1))
    assert item(view, "a0")._model.text() == "SmolLM2 135M"
    view.set_model_names({"m": "Other"})
    assert item(view, "a0")._model.text() == "Other"
    assert item(view, "u0")._model.text() == ""


# actions


def test_copy_takes_exactly_the_source(view: ConversationView) -> None:
    source = "# T\n\n\n* x\n\n```py\na\n```\n trailing  \n"
    view.set_branch([message("a", "assistant", source)])
    button(view, "a", "copy").click()  # type: ignore[attr-defined]
    assert QApplication.clipboard().text() == source


def test_retry_branch_and_continue(view: ConversationView, qtbot: QtBot) -> None:
    stopped = message("s", "assistant", "half an ans", status="stopped", stats=STATS)
    view.set_branch([message("u", "user", "q"), stopped], {"s": (1, 3)})
    with qtbot.waitSignal(view.regenerate_requested) as signal:
        button(view, "s", "retry").click()  # type: ignore[attr-defined]
    assert signal.args == ["s"]
    with qtbot.waitSignal(view.continue_requested) as signal:
        button(view, "s", "continue").click()  # type: ignore[attr-defined]
    assert signal.args == ["s"]
    before, after = item(view, "s").row.arrows()
    assert before is not None
    assert after is not None
    with qtbot.waitSignal(view.branch_requested) as signal:
        before.click()
    assert signal.args == ["s", -1]
    with qtbot.waitSignal(view.branch_requested) as signal:
        after.click()
    assert signal.args == ["s", 1]
    assert item(view, "s").row.figures().startswith("Stopped · ")
    view.set_versions("s", 2, 3)
    assert not after.isEnabled()


def test_a_complete_answer_cannot_be_continued(view: ConversationView) -> None:
    view.set_branch(talk(1))
    assert item(view, "a0").row.button("continue") is None
    assert item(view, "a0").row.button("edit") is None
    assert item(view, "u0").row.button("retry") is None


def test_an_answer_that_hit_its_limit_can_be_continued(view: ConversationView) -> None:
    stats = TurnStats(completion_tokens=10, finish_reason="length", tok_s=5)
    view.set_branch([message("a", "assistant", "long", stats=stats)])
    assert item(view, "a").row.button("continue") is not None
    assert "length limit" in item(view, "a").row.figures()


def test_edit_in_place(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(2))
    button(view, "u0", "edit").click()  # type: ignore[attr-defined]
    shown = item(view, "u0")
    editor = shown.editor()
    assert editor is not None
    assert shown.is_editing()
    assert editor.input.toPlainText() == "Question 0?"
    editor.input.setPlainText("   ")
    assert not editor.save.isEnabled()
    qtbot.keyClick(editor.input, Qt.Key.Key_Escape)
    assert not shown.is_editing()
    assert shown.body.isVisible()
    button(view, "u0", "edit").click()  # type: ignore[attr-defined]
    editor.input.setPlainText("Another question\n")
    with qtbot.waitSignal(view.edit_submitted) as signal:
        editor.save.click()
    assert signal.args == ["u0", "Another question"]


def test_editing_makes_room(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(3))
    before = item(view, "a1").y()
    button(view, "u1", "edit").click()  # type: ignore[attr-defined]
    editor = item(view, "u1").editor()
    assert editor is not None
    editor.input.setPlainText("\n" * 8)
    assert item(view, "a1").y() > before + 100
    assert editor.geometry().bottom() <= item(view, "u1").height()


def test_actions_show_on_hover_and_focus_and_always_on_the_last(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(2))
    copy = item(view, "a0").row.button("copy")
    last = item(view, "a1").row.button("copy")
    assert copy is not None
    assert last is not None
    assert last.revealed
    assert not copy.revealed
    QApplication.sendEvent(item(view, "a0"), QEvent(QEvent.Type.Leave))
    item(view, "a0").row.set_hovered(True)
    assert copy.revealed
    item(view, "a0").row.set_hovered(False)
    copy.setFocus(Qt.FocusReason.TabFocusReason)
    QApplication.sendEvent(copy, QFocusEvent(QEvent.Type.FocusIn, Qt.FocusReason.TabFocusReason))
    qtbot.waitUntil(lambda: copy.revealed)
    view.append_message(message("u9", "user", "more"))
    assert not last.revealed


def test_everything_is_reached_by_tab_in_order_and_has_a_name(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch([*talk(1, "x\n\n```py\na\n```"), message("s", "assistant", "half", status="stopped")])
    order = [w for message_id in view.message_ids() for w in item(view, message_id).focus_order() if w.isEnabled()]
    assert all(w.accessibleName() for w in order)
    order[0].setFocus(Qt.FocusReason.TabFocusReason)
    seen: list[QWidget] = []
    for _ in range(len(order) + 4):
        focus = QApplication.focusWidget()
        assert focus is not None
        if focus not in seen:
            seen.append(focus)
        qtbot.keyClick(focus, Qt.Key.Key_Tab)
    assert [w for w in seen if w in order] == [w for w in order if w.isVisible()]


# states


def test_an_interrupted_answer_says_so_and_goes_on(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch([message("a", "assistant", "half", status="interrupted")])
    notice = item(view, "a").notice()
    assert notice is not None
    assert notice.text() == "The engine stopped while answering. Your text is saved."
    assert notice.action_button().text() == "Continue the answer"
    with qtbot.waitSignal(view.continue_requested) as signal:
        notice.action_button().click()
    assert signal.args == ["a"]


def test_a_failed_answer_says_what_why_and_what_to_do(view: ConversationView, qtbot: QtBot) -> None:
    failed = message("a", "assistant", "", status="failed")
    failed.error = ErrorInfo(code="x", what="What.", why="Why.", remedy="Do.", details="raw\nlines")
    view.set_branch([message("u", "user", "q"), failed])
    shown = item(view, "a")
    notice = shown.notice()
    assert notice is not None
    assert notice.text() == "What. Why. Do."
    assert notice.details_text() == ""
    before = shown.height()
    notice.details_button().click()
    assert notice.details_text() == "raw\nlines"
    assert shown.height() > before + 50
    with qtbot.waitSignal(view.regenerate_requested):
        notice.action_button().click()


def test_the_cut_of_the_context_is_drawn_for_the_newest_answer(view: ConversationView) -> None:
    messages = talk(3)
    messages[3].stats = TurnStats(cut=ContextCut(policy="drop_oldest", dropped=["u0"], first_kept="a0"))
    messages[5].stats = TurnStats(cut=ContextCut(policy="drop_oldest", dropped=["u0", "a0"], first_kept="u1"))
    view.set_branch(messages)
    shown = [i for i in view.message_ids() if (cut := item(view, i)._cut) is not None and cut.text()]
    assert shown == ["u1"]
    line = item(view, "u1")._cut
    assert line is not None
    assert line.text() == "Earlier messages are not shown to the model from here up"
    messages[5].stats = TurnStats(cut=ContextCut(policy="drop_middle", dropped=["a0", "u1"], first_kept=None))
    view.finish_message(messages[5])
    moved = item(view, "a1")._cut
    assert moved is not None
    assert moved.text() == "2 messages above this line were not shown to the model"
    assert line.text() == ""


# streaming


def start(view: ConversationView) -> None:
    view.append_message(message("u", "user", "q"))
    view.append_message(message("a", "assistant", "", status="streaming"))


def test_progress_then_text_then_figures(view: ConversationView, qtbot: QtBot) -> None:
    start(view)
    shown = item(view, "a")
    view.set_progress("a", 0, 0)
    view.flush()
    assert shown.row.figures() == "Waiting for its turn"
    view.set_progress("a", 769, 1240)
    view.flush()
    assert shown.row.figures() == "Reading 1,240 tokens… 62 %"
    view.append_text("a", 0, "Hello *wor", 3, 0.0)
    view.append_text("a", 10, "ld*", 4, 23.6)
    qtbot.waitUntil(lambda: shown.body.toPlainText() == "Hello world")
    qtbot.waitUntil(lambda: shown.row.figures() == "24 tok/s")
    view.finish_message(message("a", "assistant", "Hello *world*", stats=STATS))
    assert shown.body.toPlainText() == "Hello world"
    assert shown.row.figures() == "24 tok/s · 0.4 s to first token"
    assert shown.row.button("retry") is not None


def test_pieces_that_overlap_are_mended_and_gaps_are_told(view: ConversationView, qtbot: QtBot) -> None:
    start(view)
    view.append_text("a", 0, "ab😀c")
    view.append_text("a", 2, "😀cd")  # the first two are there already
    view.append_text("a", 0, "ab")  # and all of this
    view.flush()
    assert item(view, "a").body.markdown_source() == "ab😀cd"
    with qtbot.waitSignal(view.gap_found) as gap:
        view.append_text("a", 9, "later")
    assert gap.args == ["a"]
    view.replace_message(message("a", "assistant", "ab😀cd and the rest", status="streaming"))
    view.append_text("a", 19 - 1, ".")
    view.flush()
    assert item(view, "a").body.markdown_source().startswith("ab😀cd and the rest")


def test_text_of_an_unknown_message_is_ignored(view: ConversationView) -> None:
    start(view)
    view.append_text("other", 0, "x")
    view.set_progress("other", 1, 2)
    view.finish_message(message("other", "assistant", "x"))
    assert view.message_ids() == ["u", "a"]


def test_an_answer_is_continued_where_it_stopped(view: ConversationView) -> None:
    view.set_branch([message("u", "user", "q"), message("a", "assistant", "half a sen", status="stopped")])
    view.append_message(message("a", "assistant", "half a sen", status="streaming"))
    view.append_text("a", 10, "tence.")
    view.flush()
    assert item(view, "a").body.toPlainText() == "half a sentence."
    assert item(view, "a").row.button("retry") is None


def test_paintings_are_coalesced(view: ConversationView, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    start(view)
    shown = item(view, "a")
    appended: list[str] = []
    monkeypatch.setattr(shown, "append", appended.append)
    for number in range(200):
        view.append_text("a", number, "x")
    qtbot.waitUntil(lambda: sum(map(len, appended)) == 200)
    assert len(appended) <= 3


# following


def test_it_follows_until_the_user_scrolls_up(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(8))
    start(view)
    view.append_text("a", 0, "line\n\n" * 40)
    view.flush()
    assert at_end(view)
    assert not view.latest_button().isVisible()
    bar = view.scroll_area().verticalScrollBar()
    bar.setValue(bar.maximum() - 300)
    assert not view.is_following()
    assert view.latest_button().isVisible()
    place = bar.value()
    view.append_text("a", 240, "line\n\n" * 40)
    view.flush()
    assert bar.value() == place
    view.latest_button().click()
    assert at_end(view)
    assert view.is_following()
    assert not view.latest_button().isVisible()


def test_scrolling_back_to_the_end_follows_again(view: ConversationView) -> None:
    view.set_branch(talk(8))
    bar = view.scroll_area().verticalScrollBar()
    bar.setValue(0)
    assert not view.is_following()
    bar.setValue(bar.maximum())
    assert view.is_following()


def test_what_is_in_sight_stays_when_messages_above_turn_out_higher(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(40, "line\n" * 3 + "| a |\n|---|\n" + "| b |\n" * 12))
    bar = view.scroll_area().verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    view.scroll_to_message("a20")
    shown = item(view, "a20")
    seen = shown.y() - bar.value()
    for number in range(20):
        view.item(f"a{number}")
    assert abs(shown.y() - bar.value() - seen) <= 1


def test_resizing_keeps_the_first_message_in_sight(view: ConversationView) -> None:
    view.set_branch(talk(30))
    view.scroll_to_message("u12")
    shown = item(view, "u12")
    seen = shown.y() - view.scroll_area().verticalScrollBar().value()
    view.resize(500, 600)
    shown = item(view, "u12")
    assert abs(shown.y() - view.scroll_area().verticalScrollBar().value() - seen) < 60


# many messages


def test_only_what_is_near_is_built(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(1000))
    qtbot.wait(100)  # the idle slices
    assert len(view.findChildren(MessageItem)) < 60
    bar = view.scroll_area().verticalScrollBar()
    for step in range(10):
        bar.setValue(bar.maximum() * step // 10)
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert len(view.findChildren(MessageItem)) < 80
    first = view._visible()
    assert all(view._entries[i].item is not None for i in first)


def test_a_streaming_answer_goes_on_out_of_sight(view: ConversationView, qtbot: QtBot) -> None:
    view.set_branch(talk(100))
    start(view)
    view.append_text("a", 0, "begin ")
    view.flush()
    view.scroll_area().verticalScrollBar().setValue(0)
    view.append_text("a", 6, "end")
    view.flush()
    view.scroll_to_end()
    assert item(view, "a").body.toPlainText() == "begin end"


def test_themes_and_zoom_change_while_it_is_open(view: ConversationView, qapp: QApplication) -> None:
    view.set_branch(talk(4))
    before = item(view, "a0").height()
    apply_theme(qapp, "dark", zoom=1.5)
    assert item(view, "a0").height() != before
    items = [item(view, message_id) for message_id in view.message_ids()]
    for above, below in pairwise(items):
        assert above.geometry().bottom() < below.geometry().top()
    assert at_end(view)
