"""What the palette offers: the commands of the window, its conversations, and the models on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from ui.actions import Actions, shown_keys
from ui.palette.fuzzy import fold, score
from ui.viewmodels.words import model_name

if TYPE_CHECKING:
    from ui.main_window import MainWindow

__all__ = ["Entry", "chat_entries", "command_entries", "find", "model_entries", "preset_entries"]

#: chats and models are offered from so many letters on, and at most so many of each
_LETTERS, _MOST = 2, 8
#: chats that are looked through at each key: 1,000 take 4 ms
_SEARCHED = 1000
#: never offered: what opens the palette itself
_NOT_HERE = frozenset({"view.palette"})


@dataclass(frozen=True)
class Entry:
    """One line of the palette.

    Attributes:
        key: stable, for what was used lately.
        hint: at the end of the line: the shortcut, or what kind of thing it is.
        why: why it cannot be chosen now; "" where it can.
    """

    key: str
    text: str
    hint: str
    icon: str
    run: Callable[[], object]
    why: str = ""
    group: str = ""


def _say(text: str) -> str:
    return QCoreApplication.translate("Palette", text)


def command_entries(actions: Actions) -> list[Entry]:
    """Every command, in the order of the table."""
    return [
        Entry(
            command.id,
            command.title,
            shown_keys(actions.shortcut(command.id)),
            command.icon,
            actions[command.id].trigger,
            actions.why_not(command.id),
            command.group,
        )
        for command in actions.commands.values()
        if command.id not in _NOT_HERE
    ]


def chat_entries(window: MainWindow) -> list[Entry]:
    """The conversations that are listed, newest first."""
    return [
        Entry(f"chat:{one.id}", one.title, _say("Chat"), "chat", partial(window.open_conversation, one.id))
        for one in window.chat.list.newest(_SEARCHED)
        if one.title
    ]


def model_entries(window: MainWindow) -> list[Entry]:
    """The models that can be loaded."""
    return [
        Entry(f"model:{one.id}", model_name(one.name), _say("Model"), "model", partial(window.models.load, one))
        for one in window.models.list.entries()
        if one.error is None
    ]


def preset_entries(window: MainWindow, start: Callable[[str], object]) -> list[Entry]:
    """A new chat with each preset."""
    return [
        Entry(f"preset:{one.id}", one.name, _say("New chat with this preset"), "user", partial(start, one.id))
        for one in window.presets.presets
    ]


def find(
    query: str, commands: Iterable[Entry], others: Sequence[Iterable[Entry]], recent: Sequence[str]
) -> list[Entry]:
    """What fits, best first. Without a query: what was used lately, then every command in its order.

    What cannot be chosen now stands behind what can.
    """
    wanted = fold(" ".join(query.split()))
    late = {key: len(recent) - place for place, key in enumerate(recent)}
    if not wanted:
        return sorted(commands, key=lambda one: (-late.get(one.key, 0), bool(one.why)))
    found: list[tuple[int, Entry]] = []
    for one in commands:
        points = max(score(wanted, fold(one.text)), score(wanted, fold(f"{one.group} {one.text}")) // 2)
        if points:
            found.append((points + min(late.get(one.key, 0), 3), one))
    if len(wanted) >= _LETTERS:
        for kind in others:
            hits = [(score(wanted, fold(one.text)) - 3, one) for one in kind]
            found += sorted((hit for hit in hits if hit[0] > 0), key=lambda hit: -hit[0])[:_MOST]
    top = max((points for points, _ in found), default=0)
    return [one for points, one in sorted(found, key=lambda hit: (bool(hit[1].why), -hit[0])) if points * 3 >= top]
