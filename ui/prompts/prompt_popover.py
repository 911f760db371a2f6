"""The prompts over the composer: type to filter, Enter to take one."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from backend.api.schemas import Prompt
from ui.shell.popover import Popover
from ui.theme import metrics
from ui.viewmodels.prompt_library import PromptLibrary
from ui.widgets.buttons import HoverButton
from ui.widgets.labels import rule, text_label

__all__ = ["PromptPopover"]

_WIDTH, _LEAST, _TALLEST = 420, 260, 260


class PromptPopover(Popover):
    """Signals:
    chosen(Prompt): one was taken. given_up(str): Esc; what was typed. manage_requested: the library is wanted.
    """

    chosen = Signal(object)
    given_up = Signal(str)
    manage_requested = Signal()

    def __init__(self, library: PromptLibrary, window: QWidget) -> None:
        super().__init__(window)
        self.setAccessibleName(self.tr("Prompts"))
        self._library = library
        self._anchor_above: QWidget | None = None
        self.filter = QLineEdit()
        self.filter.setPlaceholderText(self.tr("Find a prompt"))
        self.filter.setAccessibleName(self.tr("Find a prompt"))
        self.list = QListWidget()
        self.list.setProperty("list", "side")
        self.list.setAccessibleName(self.tr("Prompts"))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda _item: self._choose())
        self.empty = text_label("", "muted", wrap=True)
        self.empty.setContentsMargins(metrics.s, metrics.s, metrics.s, metrics.s)
        self.manage = HoverButton(self.tr("Write and change prompts…"), icon="edit")
        self.manage.setProperty("align", "start")
        self.manage.clicked.connect(self.close_popover)
        self.manage.clicked.connect(self.manage_requested)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xs, metrics.xs, metrics.xs, metrics.xs)
        column.setSpacing(metrics.xs)
        for widget in (self.filter, self.empty, self.list, rule(), self.manage):
            column.addWidget(widget)
        self.filter.textChanged.connect(self._show)
        self.filter.installEventFilter(self)
        library.changed.connect(self._show)

    def open_over(self, anchor: QWidget) -> None:
        """Show it above a widget, ready to type."""
        self._anchor_above = anchor
        self.filter.clear()
        self._library.refresh()
        self._show()
        self.open_under(anchor)
        self.filter.setFocus(Qt.FocusReason.PopupFocusReason)

    def place(self) -> None:
        """Its foot stands on the anchor."""
        anchor, window = self._anchor_above, self._host
        if anchor is None:
            return
        self.setFixedWidth(min(metrics.px(_WIDTH), max(anchor.width(), metrics.px(_LEAST))))
        self.adjustSize()
        corner = anchor.mapTo(window, QPoint(0, 0))
        if self.layoutDirection() == Qt.LayoutDirection.RightToLeft:
            corner.setX(corner.x() + anchor.width() - self.width())
        left = max(metrics.s, min(corner.x(), window.width() - self.width() - metrics.s))
        self.move(left, max(metrics.s, corner.y() - self.height() - metrics.xs))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and self.isVisible():
            if event.key() == Qt.Key.Key_Escape:
                typed = self.filter.text()
                self.close_popover()
                self.given_up.emit(typed)
                return True
            if watched is self.filter and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._choose()
                return True
            if watched is self.filter and event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
                step = 1 if event.key() == Qt.Key.Key_Down else -1
                self.list.setCurrentRow(max(0, min(self.list.count() - 1, self.list.currentRow() + step)))
                return True
        return super().eventFilter(watched, event)

    def _show(self) -> None:
        wanted = self.filter.text().casefold().split()
        self.list.clear()
        for prompt in self._library.prompts():
            inside = f"{prompt.name} {prompt.text}".casefold()
            if all(word in inside for word in wanted):
                item = QListWidgetItem(prompt.name)
                item.setToolTip(prompt.text[:600])
                item.setData(Qt.ItemDataRole.UserRole, prompt)
                self.list.addItem(item)
        self.list.setCurrentRow(0)
        found = self.list.count() > 0
        known = bool(self._library.prompts())
        self.list.setVisible(found)
        self.empty.setVisible(not found)
        self.empty.setText(
            self.tr("No prompt has these words.")
            if known
            else self.tr("Texts that you use again and again can be kept here, with {{places}} to fill in.")
        )
        row = max(self.list.sizeHintForRow(0), 1)
        self.list.setFixedHeight(min(row * max(1, self.list.count()) + 2, metrics.px(_TALLEST)))
        if self.isVisible():
            self.place()

    def _choose(self) -> None:
        item = self.list.currentItem()
        prompt = item.data(Qt.ItemDataRole.UserRole) if item is not None else None
        if isinstance(prompt, Prompt):
            self.close_popover()
            self.chosen.emit(prompt)
