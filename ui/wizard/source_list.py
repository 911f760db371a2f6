"""The models of this machine as rows to choose from: name, size, and why one cannot be chosen."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from backend.api.compression import CompressionSource
from ui.theme import color, icon, metrics
from ui.viewmodels.compression_words import source_note
from ui.viewmodels.model_list import model_details
from ui.viewmodels.words import model_name
from ui.wizard.position_list import draw_line

__all__ = ["SOURCE", "SourceDelegate", "SourceListModel"]

Index = QModelIndex | QPersistentModelIndex
SOURCE, NOTE, DETAILS = (Qt.ItemDataRole.UserRole + number for number in (1, 2, 3))
_NO_PARENT = QModelIndex()


class SourceListModel(QAbstractListModel):
    """Those that can be made smaller first, the largest on top: they gain most."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._sources: list[CompressionSource] = []

    def set_sources(self, sources: Iterable[CompressionSource]) -> None:
        """Replace them all, if they changed: the choice stays otherwise."""
        fresh = sorted(sources, key=lambda one: (bool(one.reason), one.rounded, -one.entry.bytes))
        if fresh != self._sources:
            self.beginResetModel()
            self._sources = fresh
            self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        """How many models."""
        return 0 if parent.isValid() else len(self._sources)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Name, details and note."""
        if not index.isValid() or not 0 <= index.row() < len(self._sources):
            return None
        source = self._sources[index.row()]
        name, note = model_name(source.entry.name), source_note(source)
        details = "" if source.reason == "damaged" else model_details(source.entry)
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return name
            case Qt.ItemDataRole.AccessibleTextRole:
                return ", ".join(part for part in (name, details, note) if part)
            case Qt.ItemDataRole.ToolTipRole:
                return "\n".join(part for part in (name, source.entry.path, note) if part)
            case _ if role == SOURCE:
                return source
            case _ if role == NOTE:
                return note
            case _ if role == DETAILS:
                return details
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Only what can be made smaller can be chosen."""
        if not index.isValid() or self._sources[index.row()].reason:
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


class SourceDelegate(QStyledItemDelegate):
    """Two lines: the name, then size and note."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(metrics.px(200), metrics.px(50))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        state = option.state
        enabled = bool(index.flags() & Qt.ItemFlag.ItemIsSelectable)
        chosen = bool(state & option.state.State_Selected) and enabled
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        card = QRect(option.rect).adjusted(1, 1, -1, -1)
        if chosen or (state & option.state.State_MouseOver and enabled):
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("accent_soft" if chosen else "raised"))
            painter.drawRoundedRect(card, metrics.radius_control, metrics.radius_control)
        painter.setLayoutDirection(option.direction)
        text = card.adjusted(metrics.m, metrics.px(5), -metrics.m, -metrics.px(5))
        if chosen:
            right = option.direction == Qt.LayoutDirection.RightToLeft
            place = QRect(text.left() if right else text.right() - metrics.icon, 0, metrics.icon, metrics.icon)
            place.moveTop(card.center().y() - metrics.icon // 2)
            icon("check", "accent").paint(painter, place)
        room = metrics.icon + metrics.s
        text.adjust(room if option.direction == Qt.LayoutDirection.RightToLeft else 0, 0, 0, 0)
        text.setWidth(text.width() - (0 if option.direction == Qt.LayoutDirection.RightToLeft else room))
        half = text.height() // 2
        upper, lower = QRect(text), QRect(text)
        upper.setHeight(half)
        lower.setTop(text.top() + half)
        painter.setFont(metrics.font("control"))
        painter.setPen(color("text" if enabled else "muted"))
        name = painter.fontMetrics().elidedText(str(index.data()), Qt.TextElideMode.ElideMiddle, text.width())
        draw_line(painter, upper, name)
        painter.setFont(metrics.font("secondary"))
        painter.setPen(color("muted"))
        line = " · ".join(part for part in (str(index.data(DETAILS)), str(index.data(NOTE))) if part)
        draw_line(painter, lower, line)
        painter.restore()
