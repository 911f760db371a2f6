"""The bar over the chat: its title, the model that answers, and the way to the side bars and the menu."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from ui.actions import Actions
from ui.library.model_button import ModelButton
from ui.shell.title import EditableTitle
from ui.theme import metrics
from ui.viewmodels.model_session import ModelSession
from ui.widgets import IconButton, rule

__all__ = ["TopBar"]


class TopBar(QWidget):
    """Title, model, buttons.

    Signals:
        renamed(str): the title was edited.
        menu_requested: the menu of everything else.
    """

    renamed = Signal(str)
    menu_requested = Signal()

    def __init__(self, actions: Actions, models: ModelSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = EditableTitle()
        self.title.renamed.connect(self.renamed)
        self.model = ModelButton(models)
        self.sidebar = self._button(actions, "view.sidebar")
        self.new = self._button(actions, "chat.new")
        self.hardware = self._button(actions, "view.hardware")
        self.inspector = self._button(actions, "view.inspector")
        self.menu = IconButton("more", self.tr("Menu"))
        self.menu.clicked.connect(self.menu_requested)
        row = QHBoxLayout()
        row.setContentsMargins(metrics.m, metrics.s, metrics.m, metrics.s)
        row.setSpacing(metrics.xs)
        row.addWidget(self.sidebar)
        row.addWidget(self.new)
        row.addSpacing(metrics.xs)
        row.addWidget(self.title, 1)
        row.addWidget(self.model)
        row.addWidget(self.hardware)
        row.addWidget(self.inspector)
        row.addWidget(self.menu)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(rule())

    @staticmethod
    def _button(actions: Actions, command_id: str) -> IconButton:
        command, action = actions.commands[command_id], actions[command_id]
        button = IconButton(command.icon, command.text, shortcut=actions.shortcut(command_id))
        button.setCheckable(command.checkable)
        button.clicked.connect(lambda _checked=False: action.trigger())

        def follow(button: IconButton = button, action: QAction = action) -> None:
            button.setEnabled(action.isEnabled())
            button.setChecked(action.isChecked())

        action.changed.connect(follow)
        return button
