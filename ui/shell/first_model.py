"""The way to a first model in one window: its page, and what leads there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from backend.api.downloads import Download
from ui.actions import Command
from ui.recommend.recommend_page import RecommendPage
from ui.viewmodels.recommend_session import RecommendSession

if TYPE_CHECKING:
    from ui.main_window import MainWindow

__all__ = ["FirstModel"]


def _say(text: str) -> str:
    return QCoreApplication.translate("first_model", text)


class FirstModel:
    """Belongs to one window; the page is built when it is first wanted."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self.session = RecommendSession(window.link, window.downloads, window.models, window)
        self.page: RecommendPage | None = None

    def commands(self) -> tuple[Command, ...]:
        """Its own part of the table of commands."""
        return (
            Command(
                "model.recommend", _say("Find a model for this machine…"), self.toggle, ("Ctrl+Shift+G",), "search",
                group=_say("Models"), needs=_say("The engine is not running."),
            ),
        )  # fmt: skip

    def connect(self) -> None:
        """Ties it to the rest of the window, once that stands."""
        window = self._window
        empty = window.chat_screen.view.empty_state()
        empty.recommend_requested.connect(self.show)
        window.models.list.modelReset.connect(self._models_listed)
        self.session.kept.connect(lambda text: window.keep(recommending=text))
        self.session.restore(str(window.setting("recommending") or ""))

    def toggle(self) -> None:
        """Show the page, or the chat again."""
        if self.shown:
            self._window.show_chat()
        else:
            self.show()

    @property
    def shown(self) -> bool:
        """Whether its page is the one on the screen."""
        return self.page is not None and self._window.pages.currentWidget() is self.page

    def brings(self, one: Download) -> bool:
        """Whether a download is that of the model which was picked here."""
        mine = self.session.download
        return mine is not None and mine.id == one.id

    def show(self) -> None:
        """Where it was left."""
        if self.page is None:
            self.page = RecommendPage(self.session)
            self.page.close_requested.connect(self._window.show_chat)
            self.page.chat_requested.connect(self._chat)
            self.page.compress_requested.connect(self._window.show_wizard)
        self._window.show_page(self.page)

    def _chat(self) -> None:
        self._window.show_chat()
        self._window.commands["chat.new"].trigger()

    def _models_listed(self) -> None:
        entries = self._window.models.list.entries()
        alone = bool(entries) and all(entry.source == "builtin" for entry in entries)
        self._window.chat_screen.view.empty_state().set_beginner(alone)
