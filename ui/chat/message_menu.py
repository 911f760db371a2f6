"""What can be done with one message beyond what its line of actions shows."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QApplication, QMenu, QWidget

from backend.api.schemas import Message
from ui.chat import words
from ui.theme import bind_icon

__all__ = ["ENTRIES", "details_of", "message_menu"]

#: name -> icon; the names are those of `MessageItem`'s actions
ENTRIES = {
    "copy_text": "copy", "quote": "chat", "edit_reply": "edit", "details": "info", "delete": "trash",
}  # fmt: skip


def _say(text: str) -> str:
    return QCoreApplication.translate("MessageMenu", text)


def message_menu(parent: QWidget, message: Message, model_name: str, *, selection: bool, shaded: bool = False) -> QMenu:
    """A menu; the `data` of each entry is its name in `ENTRIES`, or "shade". It deletes itself when it is closed.

    Args:
        parent: of the menu.
        message: what it is for.
        model_name: that wrote it.
        selection: whether something is selected in the message.
        shaded: whether what was guessed is shaded in it.
    """
    menu = QMenu(parent)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def entry(name: str, text: str) -> None:
        action = menu.addAction(text)
        action.setData(name)
        bind_icon(action, ENTRIES[name], "muted")

    entry("copy_text", _say("Copy as plain text"))
    entry("quote", _say("Quote the selection") if selection else _say("Quote"))
    if message.role == "assistant":
        entry("edit_reply", _say("Edit the answer"))
    details = menu.addMenu(_say("Details"))
    bind_icon(details.menuAction(), ENTRIES["details"], "muted")
    lines = details_of(message, model_name)
    for line in lines:
        details.addAction(line).setData("")
    details.addSeparator()
    details.addAction(_say("Copy these details")).triggered.connect(
        lambda: QApplication.clipboard().setText("\n".join(lines))
    )
    if message.stats is not None and message.stats.guessed:
        shade = menu.addAction(_say("Shade what was guessed"))
        shade.setData("shade")
        shade.setCheckable(True)
        shade.setChecked(shaded)
    menu.addSeparator()
    entry("delete", _say("Delete question and answer"))
    return menu


def details_of(message: Message, model_name: str) -> list[str]:
    """When a message was written, by what, and every figure of it, one a line."""
    lines = []
    if message.created_at > 0:
        lines.append(datetime.fromtimestamp(message.created_at).strftime("%Y-%m-%d %H:%M:%S"))
    if message.role == "assistant" and (model_name or message.model):
        lines.append(_say("Model: {0}").format(words.plain_name(model_name or message.model or "")))
    stats = message.stats
    if stats is not None and stats.completion_tokens > 0:
        lines += words.stats_line(stats).split(" · ")
        lines += words.stats_details(stats).split("\n")
        if stats.thinking_s > 0:
            lines.append(_say("Thought for {0}").format(words.seconds(stats.thinking_s)))
    lines.append(_say("{0} characters").format(words.count(len(message.content))))
    return [line for line in lines if line]
