"""On every screen and in every state: what can be worked has a name and a role, and Tab reaches it and comes back."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QLineEdit,
    QPushButton,
    QSlider,
    QToolButton,
    QWidget,
)

from tests.ui.access.screens import SCENES, interactive, path, screen
from tests.ui.shell.support import Loop
from ui.main_window import MainWindow

#: Over the window until it is answered or left: Tab closes the palette, and its own tests say so.
_OWN = ("palette_",)
_MOST = 400


Role = QAccessible.Role
_ROLES = {
    QPushButton: {Role.Button, Role.CheckBox, Role.ButtonMenu},
    QToolButton: {Role.Button, Role.CheckBox, Role.ButtonMenu},
    QCheckBox: {Role.CheckBox},
    QSlider: {Role.Slider},
    QLineEdit: {Role.EditableText},
}


def check_names(window: MainWindow) -> None:
    """A name and a role for everything that can be worked."""
    widgets = interactive(window)
    assert widgets
    nameless, wrong = [], []
    for widget in widgets:
        told = QAccessible.queryAccessibleInterface(widget)
        assert told is not None, path(widget)
        assert told.isValid(), path(widget)
        if not told.text(QAccessible.Text.Name).strip():
            nameless.append(path(widget))
        for kind, roles in _ROLES.items():
            if isinstance(widget, kind) and told.role() not in roles:
                wrong.append((path(widget), told.role()))
        if told.role() in (Role.NoRole, Role.Client):
            wrong.append((path(widget), told.role()))
    assert not nameless
    assert not wrong


def reachable(window: MainWindow) -> set[QWidget]:
    """What Tab has to reach: shown, not switched off, made to be worked; of choices that exclude each other, one."""
    found = {
        widget
        for widget in interactive(window)
        if widget.isEnabled() and takes_tab(widget) and not other_choice(widget)
    }
    assert found
    return found


def takes_tab(widget: QWidget) -> bool:
    return bool(widget.focusPolicy().value & Qt.FocusPolicy.TabFocus.value)


def other_choice(widget: QWidget) -> bool:
    """Whether the arrows lead to it, from the choice of its group that is made."""
    if not isinstance(widget, QAbstractButton) or widget.isChecked():
        return False
    group = widget.group()
    return widget.autoExclusive() or (bool(group) and group.exclusive())


def tabbed(start: QWidget, key: Qt.Key, modifier: Qt.KeyboardModifier) -> list[QWidget]:
    """Where the key leads, until it is back at the start."""
    seen = [start]
    for _ in range(_MOST):
        here = QApplication.focusWidget()
        assert here is not None, f"after {path(seen[-1])} nothing has the focus"
        QTest.keyClick(here, key, modifier)
        there = QApplication.focusWidget()
        assert there is not None, f"after {path(here)} nothing has the focus"
        assert there is not here, f"{path(here)} keeps the focus"
        if there is start:
            return seen
        assert there not in seen, f"{path(here)} leads back to {path(there)}, not to the start"
        assert there.isVisible(), f"{path(here)} leads to {path(there)}, which is not shown"
        seen.append(there)
    raise AssertionError("Tab does not come back")


@pytest.mark.parametrize("name", SCENES)
def test_names_roles_and_the_way_of_tab(name: str, loop: Loop, qapp: QApplication) -> None:
    with screen(name, loop, qapp) as window:
        check_names(window)
        if name.startswith(_OWN):
            return
        window.activateWindow()
        loop.until(window.isActiveWindow)
        wanted = reachable(window)
        start = QApplication.focusWidget()
        if start not in wanted:
            start = window.top_bar.menu
        assert start is not None
        for key, modifier in (
            (Qt.Key.Key_Backtab, Qt.KeyboardModifier.ShiftModifier),
            (Qt.Key.Key_Tab, Qt.KeyboardModifier.NoModifier),  # the last, so that Shift is not kept for the next test
        ):
            start.setFocus(Qt.FocusReason.TabFocusReason)
            seen = tabbed(start, key, modifier)
            # a step may scroll, so that what was there for those who look elsewhere has gone
            missed = [path(widget) for widget in wanted - set(seen) if widget.isVisible() and widget.isEnabled()]
            assert not missed


def test_the_order_is_that_of_the_eye(loop: Loop, qapp: QApplication) -> None:
    """Conversations, the bar at the top, the messages, the field, and then how the chat is answered."""
    with screen("chat", loop, qapp) as window:
        window.activateWindow()
        loop.until(window.isActiveWindow)
        window.sidebar.new.setFocus(Qt.FocusReason.TabFocusReason)
        seen = tabbed(window.sidebar.new, Qt.Key.Key_Tab, Qt.KeyboardModifier.NoModifier)
        parts = [window.sidebar, window.top_bar, window.chat_screen.view, window.chat_screen.composer, window.inspector]
        places = [part for widget in seen for part in parts if part.isAncestorOf(widget)]
        order = [part for number, part in enumerate(places) if not number or places[number - 1] is not part]
        assert order == parts
