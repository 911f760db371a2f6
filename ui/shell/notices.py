"""What the window has to say, in one bar: the newest thing first, the others behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject

from backend.api.schemas import ErrorInfo
from ui.viewmodels.words import error_words
from ui.widgets.notice import Level, NoticeBar

__all__ = ["Notices"]


@dataclass(frozen=True)
class _Item:
    text: str
    level: Level
    action: str
    run: Callable[[], object] | None
    details: str


class Notices(QObject):
    """Named notices over one `NoticeBar`: a name is shown once, replaced or withdrawn by its name."""

    def __init__(self, bar: NoticeBar) -> None:
        super().__init__(bar)
        self._bar = bar
        self._items: dict[str, _Item] = {}
        bar.action_triggered.connect(self._act)
        bar.dismissed.connect(self._dismiss)

    def show(
        self,
        name: str,
        text: str,
        *,
        level: Level = "info",
        action: str = "",
        run: Callable[[], object] | None = None,
        details: str = "",
    ) -> None:
        """Put a notice in front. Its action withdraws it and calls `run`."""
        self._items.pop(name, None)
        self._items[name] = _Item(text, level, action, run, details)
        self._refresh()

    def error(self, name: str, error: ErrorInfo) -> None:
        """Put an error in front: what, why and remedy as sentences, the rest to fold open."""
        text = error_words(error)
        self.show(name, text, level="error", details=error.details)

    def withdraw(self, name: str) -> None:
        """Take a notice away."""
        if self._items.pop(name, None) is not None:
            self._refresh()

    def shown(self) -> str:
        """The name of the notice in front, "" without any."""
        return next(reversed(self._items), "")

    def _refresh(self) -> None:
        if not self._items:
            self._bar.set_notice("")
            return
        item = self._items[self.shown()]
        self._bar.set_notice(item.text, level=item.level, action=item.action, details=item.details)

    def _act(self) -> None:
        item = self._items.pop(self.shown(), None)
        self._refresh()
        if item is not None and item.run is not None:
            item.run()

    def _dismiss(self) -> None:
        self._items.pop(self.shown(), None)
        self._refresh()
