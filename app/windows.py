"""The windows of one program: all on one engine, each with its own chat; the program ends with the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, QPoint, Qt
from PySide6.QtWidgets import QApplication

from ui.main_window import MainWindow

__all__ = ["Windows"]

_STEP = 32  # pixels that a further window stands lower and to the side
#: What belongs to one window; every other setting is the same in all of them.
_OWN = frozenset(
    {
        "window_geometry", "last_conversation", "sidebar_visible", "inspector_visible", "new_chat_draft",
        "unsent_files",
    }
)  # fmt: skip


class Windows(QObject):
    """Makes windows and keeps them in step.

    A window that was closed is kept and comes back as the next new one: what is connected to the engine for a whole
    life needs no taking apart, and a second window is there in 5 ms.

    Args:
        make: builds a window, given what it calls with settings that changed, and whether there is one already.
        save: keeps settings.
    """

    def __init__(
        self,
        make: Callable[[Callable[[dict[str, Any]], None], bool], MainWindow],
        save: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__()
        self._make, self._save = make, save
        self.all: list[MainWindow] = []

    def first(self) -> MainWindow:
        """The window that the program starts with."""
        return self._add()

    def shown(self) -> list[MainWindow]:
        """The windows that are open."""
        return [window for window in self.all if window.isVisible()]

    def front(self) -> MainWindow:
        """The window that has the keyboard, else any that is open, else the first."""
        active = QApplication.activeWindow()
        return next((one for one in self.shown() if one is active), (self.shown() or self.all)[0])

    def open(self) -> MainWindow:
        """Another window with a new chat, beside the one in front."""
        before = self.front()
        window = next((one for one in self.all if not one.isVisible()), None) or self._add()
        window.link.look_again()  # what happened before it was there
        window.chat.new_chat()
        window.show_chat()
        window.resize(before.size())
        window.move(before.pos() + QPoint(_STEP, _STEP))
        self.raise_window(window)
        return window

    def raise_window(self, window: MainWindow | None = None) -> None:
        """Brings a window, or the one that was used last, in front of the others."""
        window = window or self.front()
        window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized | Qt.WindowState.WindowActive)
        window.show()
        window.raise_()
        window.activateWindow()

    def hide(self) -> None:
        """Takes all of them from the screen at once."""
        for window in self.all:
            window.hide()

    def _add(self) -> MainWindow:
        window: MainWindow
        window = self._make(lambda values: self._changed(window, values), bool(self.all))
        window.window_requested.connect(self.open)
        window.chat.mended.connect(lambda conversation_id: self._mended(window, conversation_id))
        self.all.append(window)
        return window

    def _changed(self, source: MainWindow, values: dict[str, Any]) -> None:
        self._save(values)
        shared = {name: value for name, value in values.items() if name not in _OWN}
        for window in self.all:
            if window is not source and shared:
                window.adopt(shared)

    def _mended(self, source: MainWindow, conversation_id: str) -> None:
        for window in self.all:
            if window is not source:
                window.chat.read_again(conversation_id)
