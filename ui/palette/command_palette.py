"""The palette itself: a field and a list over the window, opened by one key and worked by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QLineEdit,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from ui.palette.entries import Entry
from ui.shell.popover import Popover
from ui.theme import color, icon, metrics
from ui.widgets import text_label
from ui.widgets.announce import announce
from ui.widgets.labels import set_tone, text_direction

__all__ = ["CommandPalette"]

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
_WIDTH, _ROW, _ROWS = 560, 34, 9
_ENTRY = Qt.ItemDataRole.UserRole + 1

Find = Callable[[str], Sequence[Entry]]


class _Entries(QAbstractListModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.entries: list[Entry] = []

    def show(self, entries: Sequence[Entry]) -> None:
        self.beginResetModel()
        self.entries = list(entries)
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.entries)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid() or not 0 <= index.row() < len(self.entries):
            return None
        entry = self.entries[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return entry.text
            case Qt.ItemDataRole.AccessibleTextRole:
                return ", ".join(part for part in (entry.text, entry.hint, entry.why) if part)
            case Qt.ItemDataRole.ToolTipRole:
                return entry.why or None
        return entry if role == _ENTRY else None


class _Delegate(QStyledItemDelegate):
    """Icon, text, and at the end the shortcut, or why it cannot be chosen now."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(metrics.px(_WIDTH) // 2, metrics.px(_ROW))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry = index.data(_ENTRY)
        if not isinstance(entry, Entry):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        card = option.rect.adjusted(metrics.xs, 1, -metrics.xs, -1)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("accent_soft"))
            painter.drawRoundedRect(card, metrics.radius_control, metrics.radius_control)
        way = option.direction
        inner = card.adjusted(metrics.s, 0, -metrics.s, 0)
        mark = QRect(inner.left(), inner.center().y() - metrics.icon // 2, metrics.icon, metrics.icon)
        if entry.icon:
            icon(entry.icon, "muted").paint(painter, QStyle.visualRect(way, inner, mark))
        text = inner.adjusted(metrics.icon + metrics.s, 0, 0, 0)
        painter.setFont(metrics.font("control"))
        name = min(painter.fontMetrics().horizontalAdvance(entry.text) + 2, text.width())
        self._write(
            painter, way, inner, QRect(text.left(), text.top(), name, text.height()), entry.text, bool(entry.why)
        )
        painter.setFont(metrics.font("secondary"))
        rest = text.adjusted(name + metrics.m, 0, 0, 0)
        hint = entry.why or entry.hint
        wide = min(painter.fontMetrics().horizontalAdvance(hint) + 2, max(0, rest.width()))
        self._write(painter, way, inner, QRect(rest.right() - wide + 1, rest.top(), wide, rest.height()), hint, True)
        painter.restore()

    @staticmethod
    def _write(painter: QPainter, way: Qt.LayoutDirection, area: QRect, place: QRect, text: str, muted: bool) -> None:
        painter.setPen(color("muted" if muted else "text"))
        side = QStyle.visualAlignment(way, Qt.AlignmentFlag.AlignLeft)
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, place.width())
        painter.setLayoutDirection(text_direction(shown))
        flags = side | Qt.AlignmentFlag.AlignAbsolute | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QStyle.visualRect(way, area, place), int(flags), shown)


class CommandPalette(Popover):
    """Type a few letters, choose with the arrows and Enter; Esc goes back to where the focus was.

    Signals:
        chosen(str): the key of what was chosen; it is run right after.
    """

    chosen = Signal(str)

    def __init__(self, find: Find, window: QWidget) -> None:
        super().__init__(window)
        self._find = find
        self.setAccessibleName(self.tr("All commands"))
        self.field = QLineEdit()
        self.field.setPlaceholderText(self.tr("What do you want to do?"))
        self.field.setAccessibleName(self.tr("Search commands, chats and models"))
        self.field.setMaxLength(100)
        self.field.textChanged.connect(self._typed)
        self.field.installEventFilter(self)
        self._entries = _Entries(self)
        self.list = QListView()
        self.list.setProperty("list", "side")
        self.list.setModel(self._entries)
        self.list.setItemDelegate(_Delegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the field keeps it; the arrows work there
        self.list.setAccessibleName(self.tr("What was found"))
        self.list.clicked.connect(self._choose)
        self.none = text_label("", "muted", wrap=True)
        self.none.setContentsMargins(metrics.s, metrics.xs, metrics.s, metrics.s)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.s, metrics.s, metrics.s, metrics.s)
        column.setSpacing(metrics.s)
        column.addWidget(self.field)
        column.addWidget(self.list)
        column.addWidget(self.none)

    def open(self) -> None:
        """Show it at the top of the window, empty."""
        self.field.clear()
        self._typed("")
        self.open_under(self._host)
        self.field.setFocus(Qt.FocusReason.PopupFocusReason)

    def texts(self) -> list[str]:
        """What is listed, in its order."""
        return [entry.text for entry in self._entries.entries]

    def place(self) -> None:
        """At the top, in the middle, inside the window."""
        self.setFixedWidth(min(metrics.px(_WIDTH), self._host.width() - 2 * metrics.s))
        rows = min(max(1, len(self._entries.entries)), _ROWS)
        room = self._host.height() - metrics.px(140)
        self.list.setFixedHeight(max(metrics.px(_ROW), min(rows * metrics.px(_ROW) + 2, room)))
        self.adjustSize()
        self.move((self._host.width() - self.width()) // 2, metrics.px(56))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {
                Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: _ROWS, Qt.Key.Key_PageUp: -_ROWS,
            }.get(Qt.Key(event.key()))  # fmt: skip
            if step is not None:
                self._step(step)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._choose(self.list.currentIndex())
                return True
            if event.key() in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
                self.close_popover()  # the focus goes back to where it was
                return True
        return super().eventFilter(watched, event)

    def _typed(self, text: str) -> None:
        found = list(self._find(text))
        self._entries.show(found)
        self.list.setVisible(bool(found))
        set_tone(self.none, "muted")
        self.none.setText("" if found else self.tr("Nothing fits. Try fewer letters."))
        self.none.setVisible(not found)
        if found:
            self._mark(0)
        else:
            announce(self.field, self.none.text())
        if self.isVisible():
            self.place()

    def _step(self, step: int) -> None:
        number = len(self._entries.entries)
        if number:
            here = self.list.currentIndex().row()
            there = (here + step) % number if abs(step) == 1 else min(max(here + step, 0), number - 1)
            self._mark(there)
            announce(self.field, str(self._entries.index(there).data(Qt.ItemDataRole.AccessibleTextRole)))

    def _mark(self, row: int) -> None:
        index = self._entries.index(row)
        self.list.setCurrentIndex(index)
        self.list.scrollTo(index)

    def _choose(self, index: QModelIndex) -> None:
        entry = index.data(_ENTRY) if index.isValid() else None
        if not isinstance(entry, Entry):
            return
        if entry.why:
            self.none.setText(entry.why)
            set_tone(self.none, "warn")
            self.none.show()
            announce(self.field, entry.why)
            self.place()
            return
        self.close_popover()
        self.chosen.emit(entry.key)
        entry.run()
