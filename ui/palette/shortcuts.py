"""The list of all keyboard shortcuts, made from the table of commands."""

from __future__ import annotations

from itertools import groupby

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QFrame, QGridLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from ui.actions import Actions, shown_keys
from ui.theme import metrics
from ui.widgets import text_label

__all__ = ["ShortcutsDialog"]


class ShortcutsDialog(QDialog):
    """Every command that has keys, under its heading, and the keys of the composer and the list."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Keyboard shortcuts"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(metrics.xl, metrics.l, metrics.xl, metrics.l)
        grid.setHorizontalSpacing(metrics.xl)
        grid.setVerticalSpacing(metrics.xs)
        grid.setColumnStretch(0, 1)
        self.rows: list[tuple[str, str]] = []
        self._grid = grid
        with_keys = [command for command in actions.commands.values() if command.shortcuts]
        for group, commands in groupby(with_keys, key=lambda one: one.group):
            self._heading(group)
            for command in commands:
                self._row(command.title, self.tr(" or ").join(map(shown_keys, command.shortcuts)))
        self._heading(self.tr("While writing"))
        for words, keys in (
            (self.tr("Send"), "Return"),
            (self.tr("New line"), "Shift+Return"),
            (self.tr("The message before, in an empty field"), "Up"),
        ):
            self._row(words, shown_keys(keys))
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setAccessibleName(self.tr("Keyboard shortcuts"))
        self.area.setWidget(inner)
        self.close_button = QPushButton(self.tr("Close"))
        self.close_button.setDefault(True)
        self.close_button.clicked.connect(self.accept)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, metrics.l, metrics.l)
        column.addWidget(self.area, 1)
        column.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignRight)
        screen = QGuiApplication.primaryScreen().availableGeometry()
        wide = inner.sizeHint().width() + 2 * metrics.xl
        self.resize(min(wide, screen.width()), min(metrics.px(620), screen.height()))

    def _heading(self, text: str) -> None:
        label = text_label(text, "heading")
        label.setContentsMargins(0, metrics.m if self._grid.rowCount() > 1 else 0, 0, metrics.xs)
        self._grid.addWidget(label, self._grid.rowCount(), 0, 1, 2)

    def _row(self, words: str, keys: str) -> None:
        row = self._grid.rowCount()
        self._grid.addWidget(text_label(words), row, 0)
        self._grid.addWidget(text_label(keys, "muted"), row, 1)
        self.rows.append((words, keys))
