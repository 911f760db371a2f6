"""What a window does besides chatting: another window, paper, the logs, and what to say when something goes wrong."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from ui.actions import Command
from ui.logs.log_page import About, LogPage

if TYPE_CHECKING:
    from ui.main_window import MainWindow

__all__ = ["Housekeeping"]


def _say(text: str) -> str:
    return QCoreApplication.translate("housekeeping", text)


class Housekeeping:
    """The functions behind `commands`, for one window; `about` is None where the program knows no logs."""

    def __init__(self, window: MainWindow, about: About | None) -> None:
        self._window, self._about = window, about
        self._page: LogPage | None = None

    def commands(self) -> tuple[Command, ...]:
        """Its own part of the table of commands."""
        program, view, chats = _say("Program"), _say("View"), _say("Conversations")
        no_chat, no_logs = _say("No conversation is open, or the engine is not running."), _say("There are no logs.")
        return (
            Command("window.new", _say("New window"), self.new_window, ("Ctrl+Shift+N",), group=program),
            Command("chat.print", _say("Print…"), self.print_chat, ("Ctrl+P",), group=chats, needs=no_chat,
                    long=_say("Print the chat")),
            Command("view.logs", _say("Logs"), self.toggle_logs, group=view, needs=no_logs),
            Command("app.diagnostics", _say("Copy diagnostics"), self.copy_diagnostics, group=program, needs=no_logs),
            Command("answer.follow_ups", _say("Suggest what to ask next"), self.follow_ups, checkable=True,
                    group=program),
            Command("app.notify", _say("Tell me when a long answer is ready"), self.notify, checkable=True,
                    group=program),
        )  # fmt: skip

    @property
    def knows_logs(self) -> bool:
        """Whether there are logs to show."""
        return self._about is not None

    def new_window(self) -> None:
        """Ask for another window on the same engine."""
        self._window.window_requested.emit()

    def print_chat(self) -> None:
        """Show the open conversation as it will look on paper."""
        window = self._window
        conversation = window.chat.conversation
        title = conversation.title or window.tr("New chat")
        if conversation.id:
            window.link.run(
                lambda engine: engine.export_conversation(conversation.id, "html"),
                success=partial(self._preview, title),
                failure=window.chat.problem.emit,
            )

    def _preview(self, title: str, page: str) -> None:
        from ui.shell.printing import preview  # 20 ms and 2 MB that a start does without

        preview(self._window, page, title)

    def follow_ups(self) -> None:
        """Switch suggestions after an answer on or off."""
        self._window.keep(follow_ups=self._window.commands["answer.follow_ups"].isChecked())
        self._window.chat_screen.next_questions.set_enabled(self._window.commands["answer.follow_ups"].isChecked())

    def notify(self) -> None:
        """Switch the notifications on or off."""
        self._window.keep(notify=self._window.commands["app.notify"].isChecked())

    def toggle_logs(self) -> None:
        """Show the logs, or the chat again."""
        window = self._window
        if self._page is not None and window.pages.currentWidget() is self._page:
            window.show_chat()
        elif (page := self.logs()) is not None:
            window.show_page(page)

    def copy_diagnostics(self) -> None:
        """Copy what can be shown to others."""
        if (page := self.logs()) is not None:
            page.copy_diagnostics()

    def logs(self) -> LogPage | None:
        """The page of logs, built when it is first wanted."""
        if self._page is None and self._about is not None:
            self._page = LogPage(self._about, self._window.link)
            self._page.close_requested.connect(self._window.show_chat)
            self._page.copied.connect(self._window.toast)
            self._window.pages.addWidget(self._page)
        return self._page
