"""Every command of the window in one table: id, text, shortcut, function. Menus and buttons take theirs from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from ui.theme import bind_icon

__all__ = ["Actions", "Command", "CommandTarget", "command_table"]

Scope = Literal["window", "list"]


class CommandTarget(Protocol):
    """What the commands do; the main window has these."""

    def new_chat(self) -> None: ...
    def rename_conversation(self) -> None: ...
    def delete_conversation(self) -> None: ...
    def export_conversation(self) -> None: ...
    def import_conversations(self) -> None: ...
    def next_conversation(self) -> None: ...
    def previous_conversation(self) -> None: ...
    def stop(self) -> None: ...
    def regenerate(self) -> None: ...
    def continue_answer(self) -> None: ...
    def copy_last_answer(self) -> None: ...
    def edit_last_message(self) -> None: ...
    def choose_model(self) -> None: ...
    def open_model_file(self) -> None: ...
    def unload_model(self) -> None: ...
    def get_model(self) -> None: ...
    def compress_model(self) -> None: ...
    def serve_model(self) -> None: ...
    def toggle_sidebar(self) -> None: ...
    def toggle_inspector(self) -> None: ...
    def toggle_hardware(self) -> None: ...
    def show_network(self) -> None: ...
    def zoom_in(self) -> None: ...
    def zoom_out(self) -> None: ...
    def zoom_reset(self) -> None: ...
    def theme_system(self) -> None: ...
    def theme_light(self) -> None: ...
    def theme_dark(self) -> None: ...
    def focus_search(self) -> None: ...
    def focus_composer(self) -> None: ...
    def quit(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """One thing that a person can make the window do.

    Attributes:
        id: stable name, for a palette and for saved shortcuts.
        shortcuts: portable text; the first is shown.
        scope: "list": the shortcut works in the list of conversations only, because it is a key of text fields too.
        checkable: it switches something; the window keeps its state right.
    """

    id: str
    text: str
    run: Callable[[], None]
    shortcuts: tuple[str, ...] = ()
    icon: str = ""
    scope: Scope = "window"
    checkable: bool = False


def _tr(text: str) -> str:
    return QCoreApplication.translate("actions", text)


def command_table(target: CommandTarget) -> tuple[Command, ...]:
    """All commands, bound to what they do."""
    do = target
    return (
        Command("chat.new", _tr("New chat"), do.new_chat, ("Ctrl+N",), "plus"),
        Command("chat.rename", _tr("Rename"), do.rename_conversation, ("F2",), "edit"),
        Command("chat.delete", _tr("Delete"), do.delete_conversation, ("Del",), "trash", scope="list"),
        Command("chat.export", _tr("Export as Markdown…"), do.export_conversation, ("Ctrl+Shift+S",), "download"),
        Command("chat.import", _tr("Import conversations…"), do.import_conversations, (), "file"),
        Command("chat.next", _tr("Next chat"), do.next_conversation, ("Ctrl+PgDown", "Ctrl+Tab")),
        Command("chat.previous", _tr("Previous chat"), do.previous_conversation, ("Ctrl+PgUp", "Ctrl+Shift+Tab")),
        Command("answer.stop", _tr("Stop answering"), do.stop, ("Esc",), "stop"),
        Command("answer.regenerate", _tr("Answer again"), do.regenerate, ("Ctrl+R",), "retry"),
        Command("answer.continue", _tr("Continue the answer"), do.continue_answer, ("Ctrl+Shift+Return",), "continue"),
        Command("answer.copy", _tr("Copy the last answer"), do.copy_last_answer, ("Ctrl+Shift+C",), "copy"),
        Command("message.edit", _tr("Edit the last message"), do.edit_last_message, ("Ctrl+Shift+E",), "edit"),
        Command("model.choose", _tr("Choose a model"), do.choose_model, ("Ctrl+L",), "model"),
        Command("model.open", _tr("Open a model file…"), do.open_model_file, ("Ctrl+O",), "folder"),
        Command("model.get", _tr("Get a model…"), do.get_model, ("Ctrl+G",), "download"),
        Command("model.compress", _tr("Make a model smaller…"), do.compress_model, ("Ctrl+Shift+M",), "compress"),
        Command("model.unload", _tr("Unload the model"), do.unload_model, (), "eject"),
        Command("model.serve", _tr("Offer to other programs"), do.serve_model, checkable=True),
        Command("view.sidebar", _tr("Conversations"), do.toggle_sidebar, ("Ctrl+B",), "sidebar", checkable=True),
        Command("view.inspector", _tr("Inspector"), do.toggle_inspector, ("Ctrl+I",), "inspector", checkable=True),
        Command("view.hardware", _tr("Hardware"), do.toggle_hardware, ("Ctrl+Shift+H",), "hardware", checkable=True),
        Command("view.network", _tr("Network"), do.show_network, (), "external"),
        Command("view.zoom_in", _tr("Larger text"), do.zoom_in, ("Ctrl++", "Ctrl+="), "plus"),
        Command("view.zoom_out", _tr("Smaller text"), do.zoom_out, ("Ctrl+-",), "minus"),
        Command("view.zoom_reset", _tr("Normal text size"), do.zoom_reset, ("Ctrl+0",)),
        Command("theme.system", _tr("As the system"), do.theme_system, checkable=True),
        Command("theme.light", _tr("Light"), do.theme_light, (), "sun", checkable=True),
        Command("theme.dark", _tr("Dark"), do.theme_dark, (), "moon", checkable=True),
        Command("focus.search", _tr("Search conversations"), do.focus_search, ("Ctrl+K",), "search"),
        Command("focus.composer", _tr("Write a message"), do.focus_composer, ("Ctrl+J",), "chat"),
        Command("app.quit", _tr("Quit"), do.quit, ("Ctrl+Q",)),
    )


class Actions:
    """The commands as Qt actions of a window, so that their shortcuts work everywhere in it."""

    def __init__(self, window: QWidget, commands: Iterable[Command]) -> None:
        self.commands = {command.id: command for command in commands}
        self._actions: dict[str, QAction] = {}
        for command in self.commands.values():
            action = QAction(command.text, window)
            action.setObjectName(command.id)
            action.setShortcuts([QKeySequence(keys) for keys in command.shortcuts])
            action.setCheckable(command.checkable)
            action.triggered.connect(lambda _checked=False, run=command.run: run())
            if command.scope == "window":
                window.addAction(action)
            else:
                action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            self._actions[command.id] = action

    def __getitem__(self, command_id: str) -> QAction:
        return self._actions[command_id]

    def __iter__(self) -> Iterable[QAction]:
        return iter(self._actions.values())

    def shortcut(self, command_id: str) -> str:
        """The shown shortcut as portable text, "" without one."""
        shortcuts = self.commands[command_id].shortcuts
        return shortcuts[0] if shortcuts else ""

    def enable(self, enabled: bool, *command_ids: str) -> None:
        """Switch commands that make no sense now off, and on again."""
        for command_id in command_ids:
            self._actions[command_id].setEnabled(enabled)

    def menu(self, parent: QWidget, *command_ids: str) -> QMenu:
        """A menu of commands, with their icons; "-" draws a line."""
        menu = QMenu(parent)
        self.fill(menu, *command_ids)
        return menu

    def fill(self, menu: QMenu, *command_ids: str) -> None:
        """Append commands to a menu."""
        for command_id in command_ids:
            if command_id == "-":
                menu.addSeparator()
                continue
            action = self._actions[command_id]
            icon = self.commands[command_id].icon
            if icon and action.icon().isNull():
                bind_icon(action, icon, "muted")
            menu.addAction(action)
