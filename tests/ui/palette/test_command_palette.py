"""The palette: what it finds, in which order, and that the keyboard alone is enough for it."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop, shown_window
from ui.main_window import MainWindow
from ui.palette.command_palette import CommandPalette
from ui.palette.fuzzy import fold, score
from ui.palette.shortcuts import ShortcutsDialog
from ui.theme import apply_theme


def opened(window: MainWindow) -> CommandPalette:
    window.commands["view.palette"].trigger()
    (palette,) = window.findChildren(CommandPalette)
    assert palette.isVisible()
    return palette


def press(palette: CommandPalette, key: Qt.Key) -> None:
    QTest.keyClick(palette.field, key)


@pytest.mark.parametrize(
    ("query", "better", "worse"),
    [
        ("new", "New chat", "Continue the answer"),
        ("nc", "New chat", "Unload the model since"),
        ("mod sm", "Make a model smaller", "Unload the model"),
        ("copy", "Copy the last answer", "Choose a copper pan yearly"),
        ("uber", "Über Birnen", "Number"),
        ("dark", "Dark colours", "Delete a row, keep"),
    ],
)
def test_the_nearer_text_scores_higher(query: str, better: str, worse: str) -> None:
    assert score(query, fold(better)) > score(query, fold(worse))


def test_letters_in_another_order_are_not_found() -> None:
    assert score("zoom", fold("Make a model smaller")) == 0
    assert score("tahc", fold("chat")) == 0


def test_every_command_is_offered_with_its_keys(window: MainWindow) -> None:
    palette = opened(window)
    offered = set(palette.texts())
    missing = {one.title for one in window.commands.commands.values() if one.id != "view.palette"} - offered
    assert not missing
    index = palette.list.model().index(palette.texts().index("New chat"), 0)
    keys = QKeySequence("Ctrl+N").toString(QKeySequence.SequenceFormat.NativeText)
    assert index.data(Qt.ItemDataRole.AccessibleTextRole) == f"New chat, {keys}"


def test_every_action_of_the_window_is_in_the_one_table(window: MainWindow) -> None:
    window._show_menu()
    assert window._menu is not None
    menus = [window._menu, *(action.menu() for action in window._menu.actions() if action.menu())]
    known = set(window.commands)  # type: ignore[call-overload]
    stray = [
        action.text() for menu in menus for action in menu.actions()
        if not action.isSeparator() and not action.menu() and action not in known
    ]  # fmt: skip
    assert not stray
    with_keys = [one for one in window.findChildren(QAction) if one.shortcut().toString() and one not in known]
    assert not [one.text() for one in with_keys]
    window._menu.close()


def test_no_shortcut_is_given_twice(window: MainWindow) -> None:
    keys = [key for one in window.commands.commands.values() for key in one.shortcuts]
    assert sorted(keys) == sorted(set(keys))


def test_commands_of_a_kind_stand_together_and_say_which(window: MainWindow) -> None:
    groups = [one.group for one in window.commands.commands.values()]
    assert all(groups)
    assert len([1 for place, name in enumerate(groups) if not place or groups[place - 1] != name]) == len(set(groups))


def test_typing_and_enter_run_a_command_and_the_focus_goes_back(window: MainWindow, loop: Loop) -> None:
    window.chat_screen.focus_composer()
    before = QApplication.focusWidget()
    palette = opened(window)
    assert palette.field.hasFocus()
    palette.field.setText("hide conv")
    assert palette.texts()[0] == "Show or hide the conversations"
    shown = window.panes.shown("left")
    press(palette, Qt.Key.Key_Return)
    assert window.panes.shown("left") is not shown
    assert palette.isHidden()
    assert QApplication.focusWidget() is before


def test_escape_and_tab_leave_without_doing_anything(window: MainWindow) -> None:
    window.chat_screen.focus_composer()
    before = QApplication.focusWidget()
    for key in (Qt.Key.Key_Escape, Qt.Key.Key_Tab):
        palette = opened(window)
        press(palette, key)
        assert palette.isHidden()
        assert QApplication.focusWidget() is before


def test_what_was_used_last_stands_first(window: MainWindow) -> None:
    palette = opened(window)
    palette.field.setText("hardware")
    press(palette, Qt.Key.Key_Return)
    palette = opened(window)
    assert palette.texts()[0] == "Hardware"
    assert palette.texts()[1] == "New chat"
    assert palette._entries.entries[-1].why  # what cannot be done now stands at the end
    press(palette, Qt.Key.Key_Escape)


def test_what_was_used_last_is_known_in_the_next_window(loop: Loop, qapp: QApplication) -> None:
    kept: dict[str, object] = {}
    with shown_window(loop, 1000, 700, save=kept.update) as first:
        palette = opened(first)
        for words in ("high contrast", "dark colours", "high contrast"):
            palette.field.setText(words)
            press(palette, Qt.Key.Key_Return)
            palette = opened(first)
        press(palette, Qt.Key.Key_Escape)
    assert str(kept["recent_commands"]).splitlines() == ["theme.contrast", "theme.dark"]
    apply_theme(qapp, "light", high_contrast=False)
    with shown_window(loop, 1000, 700, settings=dict(kept)) as second:
        assert opened(second).texts()[:2] == ["High contrast", "Dark colours"]


def test_what_cannot_be_done_now_says_why_and_is_not_done(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    palette = opened(window)
    palette.field.setText("rename the")
    assert palette.texts()[0] == "Rename the chat"
    press(palette, Qt.Key.Key_Return)
    assert palette.isVisible()
    assert palette.none.text() == "No conversation is open."
    assert not palette.none.isHidden()
    spoken = palette.list.currentIndex().data(Qt.ItemDataRole.AccessibleTextRole)
    assert spoken.endswith("No conversation is open.")


def test_every_command_that_is_ever_switched_off_has_a_reason(window: MainWindow) -> None:
    for command_id, command in window.commands.commands.items():
        window.commands.enable(False, command_id)
        assert window.commands.why_not(command_id).endswith("."), command_id
        if command.group not in ("Appearance", "Program"):
            assert command.needs, command_id


def test_chats_and_models_are_found(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    palette = opened(window)
    palette.field.setText("uber birn")
    assert palette.texts()[0] == "Über Birnen"
    press(palette, Qt.Key.Key_Return)
    loop.until(lambda: window.chat.conversation.title == "Über Birnen")
    palette = opened(window)
    palette.field.setText("gemma")
    assert palette.texts()[0].lower().startswith("gemma")
    press(palette, Qt.Key.Key_Return)
    loop.until(lambda: fake.called("load_model"))


def test_the_arrows_go_round(window: MainWindow) -> None:
    palette = opened(window)
    number = len(palette.texts())
    press(palette, Qt.Key.Key_Up)
    assert palette.list.currentIndex().row() == number - 1
    press(palette, Qt.Key.Key_Down)
    assert palette.list.currentIndex().row() == 0
    press(palette, Qt.Key.Key_PageDown)
    assert palette.list.currentIndex().row() == 9


def test_nothing_found_says_so(window: MainWindow) -> None:
    palette = opened(window)
    palette.field.setText("qqqqzzz")
    assert palette.texts() == []
    assert palette.none.text() == "Nothing fits. Try fewer letters."
    press(palette, Qt.Key.Key_Return)
    assert palette.isVisible()


def test_the_same_key_closes_it(window: MainWindow) -> None:
    palette = opened(window)
    window.commands["view.palette"].trigger()
    assert palette.isHidden()


def test_the_list_of_shortcuts_has_every_key(window: MainWindow) -> None:
    window.commands["app.shortcuts"].trigger()
    (dialog,) = window.findChildren(ShortcutsDialog)
    words = dict(dialog.rows)
    for command in window.commands.commands.values():
        if command.shortcuts:
            keys = QKeySequence(command.shortcuts[0]).toString(QKeySequence.SequenceFormat.NativeText)
            assert words[command.title].startswith(keys)
    dialog.close_button.click()
    assert not dialog.isVisible()


def test_pin_archive_and_the_places(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    key = next(iter(fake.details))
    window.open_conversation(key)
    loop.until(lambda: window.chat.open_id == key)
    window.commands["chat.pin"].trigger()
    loop.until(lambda: fake.details[key].conversation.pinned)
    loop.until(lambda: window.chat.list.get(key).pinned)  # type: ignore[union-attr]
    window.commands["chat.pin"].trigger()
    loop.until(lambda: not fake.details[key].conversation.pinned)
    window.commands["chat.archive"].trigger()
    loop.until(lambda: fake.details[key].conversation.archived)
    window.commands["chat.archived"].trigger()
    assert window.chat.list.place == "archive"
    window.commands["chat.trash"].trigger()
    assert window.chat.list.place == "trash"
