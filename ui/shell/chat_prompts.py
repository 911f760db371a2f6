"""Prompts in the chat: `/` or the button opens them over the composer, the chosen one goes into it."""

from __future__ import annotations

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from backend.api.schemas import Prompt
from ui.bridge.engine_link import EngineLink
from ui.chat.composer import Composer
from ui.prompts.fill_dialog import FillDialog
from ui.prompts.library_dialog import LibraryDialog
from ui.prompts.prompt_popover import PromptPopover
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.prompt_library import PromptLibrary, places
from ui.widgets import show_toast

__all__ = ["ChatPrompts"]


class ChatPrompts(QObject):
    """Ties the library of prompts to a composer."""

    def __init__(self, link: EngineLink, chat: ChatSession, composer: Composer, screen: QWidget) -> None:
        super().__init__(screen)
        self._composer, self._screen = composer, screen
        self._typed_slash = False
        self.library = PromptLibrary(link, self)
        self.library.problem.connect(chat.problem)
        self.library.said.connect(lambda text: show_toast(screen.window(), text))
        self.popover: PromptPopover | None = None
        composer.prompts_requested.connect(self.open)
        composer.input.slash_typed.connect(lambda: self.open(slash=True))

    def open(self, *, slash: bool = False) -> None:
        """Show the prompts; with `slash`, Esc gives the slash back to the text."""
        if self.popover is None:
            self.popover = PromptPopover(self.library, self._screen.window())
            self.popover.chosen.connect(self.use)
            self.popover.given_up.connect(self._given_up)
            self.popover.manage_requested.connect(self.manage)
        self._typed_slash = slash
        self.popover.open_over(self._composer)

    def use(self, prompt: Prompt) -> None:
        """Put a prompt into the composer, after asking for its places."""
        if places(prompt.text):
            dialog = FillDialog(self._screen.window(), prompt)
            dialog.filled.connect(self._insert)
            dialog.open()
        else:
            self._insert(prompt.text)

    def manage(self) -> LibraryDialog:
        """Open the library."""
        dialog = LibraryDialog(self.library, self._screen.window())
        dialog.open()
        return dialog

    def _insert(self, text: str) -> None:
        self._composer.input.insertPlainText(text)
        self._composer.input.ensureCursorVisible()
        self._composer.setFocus()

    def _given_up(self, typed: str) -> None:
        """A path or a command was meant, and no prompt."""
        if self._typed_slash:
            self._insert("/" + typed)
