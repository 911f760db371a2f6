"""The menus of the list at the side: on conversations in use, put away or thrown away, and on folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QMenu, QWidget

from ui.actions import Actions
from ui.theme import bind_icon
from ui.viewmodels.chat_session import ChatSession
from ui.widgets.dialogs import ConfirmDialog, NameDialog

__all__ = ["ask_to_empty", "conversation_menu", "folder_menu", "place_menu"]


def _say(text: str) -> str:
    return QCoreApplication.translate("ListMenu", text)


def _menu(parent: QWidget) -> QMenu:
    menu = QMenu(parent)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    return menu


def conversation_menu(
    parent: QWidget,
    chat: ChatSession,
    actions: Actions,
    chosen: Sequence[str],
    export: Callable[[list[str], str], object],
) -> QMenu:
    """What can be done with the chosen conversations where they are; `export` takes them and a format."""
    menu, organiser, place = _menu(parent), chat.organiser, chat.list.place
    ids = list(chosen)
    if place == "trash":
        restore = menu.addAction(_say("Restore"), lambda: organiser.restore(ids))
        bind_icon(restore, "undo", "muted")
        return menu
    if place == "archive":
        back = menu.addAction(_say("Move back to the list"), lambda: organiser.change(ids, archived=False))
        bind_icon(back, "undo", "muted")
        actions.fill(menu, "-", "chat.delete")
        return menu
    if len(ids) == 1:
        actions.fill(menu, "chat.rename")
    known = [one for one in map(chat.list.get, ids) if one is not None]
    pinned = all(one.pinned for one in known)
    pin = menu.addAction(_say("Unpin") if pinned else _say("Pin"), lambda: organiser.change(ids, pinned=not pinned))
    bind_icon(pin, "pin", "muted")
    _add_folders(menu, parent, chat, ids)
    archive = menu.addAction(_say("Archive"), lambda: organiser.change(ids, archived=True))
    bind_icon(archive, "archive", "muted")
    below = menu.addMenu(_say("Export"))
    bind_icon(below.menuAction(), "download", "muted")
    for file_format, words in (
        ("markdown", _say("Markdown…")), ("html", _say("Web page…")), ("pdf", _say("PDF…")), ("json", _say("JSON…")),
    ):  # fmt: skip
        below.addAction(words, partial(export, ids, file_format))
    actions.fill(menu, "-", "chat.delete")
    return menu


def _add_folders(menu: QMenu, parent: QWidget, chat: ChatSession, ids: list[str]) -> None:
    organiser = chat.organiser
    below = menu.addMenu(_say("Move to folder"))
    bind_icon(below.menuAction(), "folder", "muted")
    for folder in chat.list.folders():
        name = folder.name.replace("&", "&&")
        below.addAction(name, partial(organiser.change, ids, folder_id=folder.id))
    if chat.list.folders():
        below.addAction(_say("No folder"), lambda: organiser.change(ids, folder_id=None))
        below.addSeparator()
    below.addAction(_say("New folder…"), lambda: _ask_folder(parent, chat, ids))


def _ask_folder(parent: QWidget, chat: ChatSession, ids: Sequence[str] = ()) -> None:
    dialog = NameDialog(parent.window(), _say("New folder"), label=_say("Name"), action=_say("Create"))
    dialog.named.connect(lambda name: chat.organiser.new_folder(name, ids))
    dialog.open()


def folder_menu(parent: QWidget, chat: ChatSession, folder_id: str, rename: Callable[[], object]) -> QMenu:
    """What can be done with a folder; `rename` begins to edit its heading."""
    menu = _menu(parent)
    change = menu.addAction(_say("Rename"), rename)
    bind_icon(change, "edit", "muted")
    gone = menu.addAction(
        _say("Remove folder, keep its conversations"), lambda: chat.organiser.delete_folder(folder_id)
    )
    bind_icon(gone, "trash", "muted")
    return menu


def place_menu(parent: QWidget, chat: ChatSession, import_file: Callable[[], object]) -> QMenu:
    """Where else conversations are, and what can be made there."""
    menu = _menu(parent)
    archive = menu.addAction(_say("Archive"), lambda: chat.organiser.show("archive"))
    bind_icon(archive, "archive", "muted")
    trash = menu.addAction(_say("Trash"), lambda: chat.organiser.show("trash"))
    bind_icon(trash, "trash", "muted")
    menu.addSeparator()
    folder = menu.addAction(_say("New folder…"), lambda: _ask_folder(parent, chat))
    bind_icon(folder, "folder", "muted")
    taken = menu.addAction(_say("Import conversations…"), import_file)
    bind_icon(taken, "file", "muted")
    return menu


def ask_to_empty(parent: QWidget, chat: ChatSession) -> ConfirmDialog:
    """Asks before what is in the trash is removed for good."""
    dialog = ConfirmDialog(
        parent.window(),
        _say("Empty the trash?"),
        _say("The conversations in it are removed for good. This cannot be undone."),
        action=_say("Empty"),
    )
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.accepted.connect(chat.organiser.empty_trash)
    dialog.open()
    return dialog
