"""Every command of the window in one table: id, text, shortcut, function. Menus and buttons take theirs from here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from ui.theme import bind_icon

__all__ = ["Actions", "Command", "CommandTarget", "command_table", "shown_keys"]

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
    def show_presets(self) -> None: ...
    def save_as_preset(self) -> None: ...
    def zoom_in(self) -> None: ...
    def zoom_out(self) -> None: ...
    def zoom_reset(self) -> None: ...
    def theme_system(self) -> None: ...
    def theme_light(self) -> None: ...
    def theme_dark(self) -> None: ...
    def theme_contrast(self) -> None: ...
    def less_motion(self) -> None: ...
    def wrap_code(self) -> None: ...
    def focus_search(self) -> None: ...
    def focus_composer(self) -> None: ...
    def attach_files(self) -> None: ...
    def insert_prompt(self) -> None: ...
    def pin_conversation(self) -> None: ...
    def archive_conversation(self) -> None: ...
    def show_archive(self) -> None: ...
    def show_trash(self) -> None: ...
    def show_palette(self) -> None: ...
    def show_shortcuts(self) -> None: ...
    def quit(self) -> None: ...


@dataclass(frozen=True)
class Command:
    """One thing that a person can make the window do.

    Attributes:
        id: stable name, for a palette and for saved shortcuts.
        shortcuts: portable text; the first is shown.
        scope: "list": the shortcut works in the list of conversations only, because it is a key of text fields too.
        checkable: it switches something; the window keeps its state right.
        group: the heading that it stands under in the list of shortcuts.
        long: its text where nothing around it says what it is about; "" where `text` does.
        needs: why it cannot be chosen while it is switched off.
    """

    id: str
    text: str
    run: Callable[[], None]
    shortcuts: tuple[str, ...] = ()
    icon: str = ""
    scope: Scope = "window"
    checkable: bool = False
    group: str = ""
    long: str = ""
    needs: str = ""

    @property
    def title(self) -> str:
        """The text for lists of all commands, without the dots that promise a question."""
        return (self.long or self.text).rstrip("…")


def shown_keys(keys: str) -> str:
    """A shortcut as this system writes it."""
    return QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText)


def _tr(text: str) -> str:
    return QCoreApplication.translate("actions", text)


def command_table(target: CommandTarget) -> tuple[Command, ...]:
    """All commands, bound to what they do."""
    return (
        *_chat_commands(target), *_answer_commands(target), *_model_commands(target), *_view_commands(target),
        *_look_commands(target), *_program_commands(target),
    )  # fmt: skip


def _chat_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("Conversations"), needs=_tr("No conversation is open."))
    engine = _tr("The engine is not running.")
    return (
        make("chat.new", _tr("New chat"), do.new_chat, ("Ctrl+N",), "plus"),
        make("chat.rename", _tr("Rename"), do.rename_conversation, ("F2",), "edit", long=_tr("Rename the chat")),
        make(
            "chat.delete",
            _tr("Delete"),
            do.delete_conversation,
            ("Del",),
            "trash",
            scope="list",
            long=_tr("Delete the chat"),
        ),
        make("chat.pin", _tr("Pin or unpin the chat"), do.pin_conversation, (), "pin"),
        make("chat.archive", _tr("Archive the chat"), do.archive_conversation, (), "archive"),
        make(
            "chat.export",
            _tr("Export as Markdown…"),
            do.export_conversation,
            ("Ctrl+Shift+S",),
            "download",
            long=_tr("Export the chat as Markdown"),
        ),
        make(
            "chat.import",
            _tr("Import conversations…"),
            do.import_conversations,
            (),
            "file",
            needs=engine,
        ),
        make("chat.next", _tr("Next chat"), do.next_conversation, ("Ctrl+PgDown", "Ctrl+Tab")),
        make("chat.previous", _tr("Previous chat"), do.previous_conversation, ("Ctrl+PgUp", "Ctrl+Shift+Tab")),
        make("focus.search", _tr("Search conversations"), do.focus_search, ("Ctrl+Shift+F",), "search"),
        make("chat.archived", _tr("Show the archive"), do.show_archive, (), "archive"),
        make("chat.trash", _tr("Show the trash"), do.show_trash, (), "trash", needs=engine),
    )


def _answer_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("Messages"), needs=_tr("There is no answer yet, or one is being written."))
    return (
        make("focus.composer", _tr("Write a message"), do.focus_composer, ("Ctrl+J",), "chat"),
        make("message.attach", _tr("Attach files…"), do.attach_files, ("Ctrl+Shift+A",), "paperclip"),
        make("message.prompts", _tr("Insert a prompt…"), do.insert_prompt, ("Ctrl+Shift+L",), "menu"),
        make("answer.stop", _tr("Stop answering"), do.stop, ("Esc",), "stop"),
        make("answer.regenerate", _tr("Answer again"), do.regenerate, ("Ctrl+R",), "retry"),
        make("answer.continue", _tr("Continue the answer"), do.continue_answer, ("Ctrl+Shift+Return",), "continue"),
        make("answer.copy", _tr("Copy the last answer"), do.copy_last_answer, ("Ctrl+Shift+C",), "copy"),
        make(
            "message.edit",
            _tr("Edit the last message"),
            do.edit_last_message,
            ("Ctrl+Shift+E",),
            "edit",
            needs=_tr("There is no message to change, or no model is ready."),
        ),
    )


def _model_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("Models"), needs=_tr("The engine is not running."))
    return (
        make("model.choose", _tr("Choose a model"), do.choose_model, ("Ctrl+L",), "model"),
        make("model.open", _tr("Open a model file…"), do.open_model_file, ("Ctrl+O",), "folder"),
        make("model.get", _tr("Get a model…"), do.get_model, ("Ctrl+G",), "download"),
        make("model.compress", _tr("Make a model smaller…"), do.compress_model, ("Ctrl+Shift+M",), "compress"),
        make(
            "model.unload",
            _tr("Unload the model"),
            do.unload_model,
            (),
            "eject",
            needs=_tr("No model is loaded."),
        ),
        make(
            "model.serve",
            _tr("Offer to other programs"),
            do.serve_model,
            checkable=True,
            long=_tr("Offer the model to other programs"),
        ),
    )


def _view_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("View"), needs=_tr("The engine is not running."))
    return (
        make("view.palette", _tr("All commands…"), do.show_palette, ("Ctrl+K", "Ctrl+Shift+P"), "search"),
        make(
            "view.sidebar",
            _tr("Conversations"),
            do.toggle_sidebar,
            ("Ctrl+B",),
            "sidebar",
            checkable=True,
            long=_tr("Show or hide the conversations"),
        ),
        make(
            "view.inspector",
            _tr("Inspector"),
            do.toggle_inspector,
            ("Ctrl+I",),
            "inspector",
            checkable=True,
            long=_tr("Show or hide the inspector"),
        ),
        make(
            "view.presets",
            _tr("Presets"),
            do.show_presets,
            ("Ctrl+Shift+B",),
            "user",
            long=_tr("Presets: assistants of your own"),
        ),
        make(
            "preset.save",
            _tr("Save as a preset…"),
            do.save_as_preset,
            (),
            "plus",
            long=_tr("Save how this chat is answered as a preset"),
        ),
        make("view.hardware", _tr("Hardware"), do.toggle_hardware, ("Ctrl+Shift+H",), "hardware", checkable=True),
        make(
            "view.network",
            _tr("Network"),
            do.show_network,
            (),
            "external",
            long=_tr("Network: what leaves this machine"),
        ),
    )


def _look_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("Appearance"))
    return (
        make("view.zoom_in", _tr("Larger text"), do.zoom_in, ("Ctrl++", "Ctrl+="), "plus"),
        make("view.zoom_out", _tr("Smaller text"), do.zoom_out, ("Ctrl+-",), "minus"),
        make("view.zoom_reset", _tr("Normal text size"), do.zoom_reset, ("Ctrl+0",)),
        make(
            "theme.system",
            _tr("As the system"),
            do.theme_system,
            checkable=True,
            long=_tr("Light or dark as the system is"),
        ),
        make("theme.light", _tr("Light"), do.theme_light, (), "sun", checkable=True, long=_tr("Light colours")),
        make("theme.dark", _tr("Dark"), do.theme_dark, (), "moon", checkable=True, long=_tr("Dark colours")),
        make("theme.contrast", _tr("High contrast"), do.theme_contrast, checkable=True),
        make("theme.motion", _tr("No motion"), do.less_motion, checkable=True),
        make(
            "view.wrap_code",
            _tr("Wrap code"),
            do.wrap_code,
            (),
            "wrap",
            checkable=True,
            long=_tr("Wrap long lines of code"),
        ),
    )


def _program_commands(do: CommandTarget) -> tuple[Command, ...]:
    make = partial(Command, group=_tr("Program"))
    return (
        make("app.shortcuts", _tr("Keyboard shortcuts…"), do.show_shortcuts, ("F1",), "info"),
        make("app.quit", _tr("Quit"), do.quit, ("Ctrl+Q",)),
    )


class Actions:
    """The commands as Qt actions of a window, so that their shortcuts work everywhere in it."""

    def __init__(self, window: QWidget, commands: Iterable[Command]) -> None:
        listed = list(commands)
        groups = list(dict.fromkeys(command.group for command in listed))
        # those of a kind stand together, wherever they come from
        self.commands = {one.id: one for one in sorted(listed, key=lambda one: groups.index(one.group))}
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

    def why_not(self, command_id: str) -> str:
        """Why a command cannot be chosen now; "" where it can."""
        if self._actions[command_id].isEnabled():
            return ""
        return self.commands[command_id].needs or _tr("It cannot be used now.")

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
