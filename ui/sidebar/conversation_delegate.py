"""How a row of the conversation list is drawn and renamed."""

from __future__ import annotations

import re

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QPainter, QPen
from PySide6.QtWidgets import QLineEdit, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from ui.theme import color, metrics, pixmap
from ui.viewmodels.conversation_list import ConversationRole
from ui.widgets.labels import text_direction

__all__ = ["ConversationDelegate"]

Index = QModelIndex | QPersistentModelIndex
MATCH_START, MATCH_END = "\u2068", "\u2069"


class ConversationDelegate(QStyledItemDelegate):
    """Headings small and muted; titles in one line; a dot on a conversation that is answering; a snippet when found.

    `current` is the id of the open conversation: its row stays marked, also while the keyboard is elsewhere.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current = ""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        if index.data(ConversationRole.IS_HEADER):
            return QSize(0, metrics.px(30))
        return QSize(0, metrics.px(50 if index.data(ConversationRole.SNIPPET) else 34))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRect(option.rect)
        if index.data(ConversationRole.IS_HEADER):
            area.adjust(metrics.l, metrics.s, -metrics.l, 0)
            painter.setFont(metrics.font("secondary"))
            painter.setPen(color("muted"))
            if index.data(ConversationRole.FOLDER):
                self._paint_fold(painter, option, area, folded=bool(index.data(ConversationRole.FOLDED)))
            painter.drawText(area, self._align(option), str(index.data()))
        else:
            self._paint_row(painter, option, index, area)
        painter.restore()

    def _paint_row(self, painter: QPainter, option: QStyleOptionViewItem, index: Index, area: QRect) -> None:
        opened = index.data(ConversationRole.ID) == self.current
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
        focused = bool(option.state & QStyle.StateFlag.State_HasFocus and option.state & QStyle.StateFlag.State_Active)
        card = area.adjusted(metrics.s, 1, -metrics.s, -1)
        if opened or hovered or focused or chosen:
            inset = metrics.focus_width / 2 if focused else 0
            painter.setPen(QPen(color("accent"), metrics.focus_width) if focused else Qt.PenStyle.NoPen)
            painter.setBrush(color("accent_soft" if opened or chosen else "raised"))
            box = card.toRectF().adjusted(inset, inset, -inset, -inset)
            painter.drawRoundedRect(box, metrics.radius_control, metrics.radius_control)
        text = card.adjusted(metrics.s, 0, -metrics.s, 0)
        if index.data(ConversationRole.STREAMING):
            dot = metrics.s
            right = option.direction == Qt.LayoutDirection.RightToLeft
            x = text.left() if right else text.right() - dot
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("accent"))
            painter.drawEllipse(x, card.center().y() - dot // 2 + 1, dot, dot)
            text.adjust(dot + metrics.xs if right else 0, 0, 0 if right else -dot - metrics.s, 0)
        if index.data(ConversationRole.PINNED):
            side = metrics.px(14)
            right = option.direction == Qt.LayoutDirection.RightToLeft
            x = text.left() if right else text.right() - side
            painter.drawPixmap(
                QPoint(x, text.center().y() - side // 2 + 1), pixmap("pin", "muted", self._ratio(option), size=side)
            )
            text.adjust(side + metrics.xs if right else 0, 0, 0 if right else -side - metrics.xs, 0)
        snippet = str(index.data(ConversationRole.SNIPPET) or "")
        if snippet:
            lines = text.adjusted(0, metrics.xs, 0, -metrics.xs)
            text = QRect(lines.left(), lines.top(), lines.width(), lines.height() // 2)
            painter.setFont(metrics.font("secondary"))
            painter.setPen(color("muted"))
            below = QRect(lines.left(), text.bottom(), lines.width(), lines.height() // 2)
            self._paint_snippet(painter, option, below, " ".join(snippet.split()))
        painter.setFont(metrics.font("control"))
        painter.setPen(color("text"))
        title = painter.fontMetrics().elidedText(str(index.data()), Qt.TextElideMode.ElideRight, text.width())
        painter.drawText(text, self._align(option), title)

    @staticmethod
    def _ratio(option: QStyleOptionViewItem) -> float:
        widget = option.widget
        return widget.devicePixelRatioF() if widget is not None else 1.0

    def _paint_fold(self, painter: QPainter, option: QStyleOptionViewItem, area: QRect, *, folded: bool) -> None:
        """A small arrow before a folder's name, which moves aside for it."""
        right = option.direction == Qt.LayoutDirection.RightToLeft
        side = metrics.px(14)
        x = area.right() - side + metrics.xs if right else area.left() - metrics.xs
        arrow = pixmap("chevron-right" if folded else "chevron-down", "muted", self._ratio(option), size=side)
        painter.drawPixmap(QPoint(x, area.center().y() - side // 2 + 1), arrow)
        step = side
        area.adjust(0 if right else step, 0, -step if right else 0, 0)

    def _paint_snippet(self, painter: QPainter, option: QStyleOptionViewItem, area: QRect, snippet: str) -> None:
        """One line that begins near the first match, with the matches underlined."""
        measure = painter.fontMetrics()
        before = snippet.find(MATCH_START)
        lead = snippet[:before]
        # The match is in sight: of what stands before it, a third of the line.
        while before > 0 and measure.horizontalAdvance(lead) > area.width() // 3 and " " in lead:
            lead = lead.partition(" ")[2]
        snippet = (("…" if before > len(lead) else "") + lead + snippet[before:]) if before >= 0 else snippet
        plain = snippet.replace(MATCH_START, "").replace(MATCH_END, "")
        shown = measure.elidedText(plain, Qt.TextElideMode.ElideRight, area.width())
        if option.direction != Qt.LayoutDirection.RightToLeft and text_direction(plain) == option.direction:
            at = 0
            for number, piece in enumerate(re.split(f"[{MATCH_START}{MATCH_END}]", snippet)):
                end = min(at + len(piece), len(shown))
                if number % 2 and end > at:
                    left = measure.horizontalAdvance(shown[:at])
                    width = measure.horizontalAdvance(shown[:end]) - left
                    below = area.center().y() + measure.height() // 2
                    painter.fillRect(area.left() + left, below, width, 2, color("accent"))
                at += len(piece)
        painter.drawText(area, self._align(option), shown)

    # Renaming in place

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        editor = QLineEdit(parent)
        editor.setMaxLength(200)
        editor.setAccessibleName(self.tr("Title"))
        return editor

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        editor.setGeometry(QRect(option.rect).adjusted(metrics.s, 0, -metrics.s, 0))

    @staticmethod
    def _align(option: QStyleOptionViewItem) -> Qt.AlignmentFlag:
        right = option.direction == Qt.LayoutDirection.RightToLeft
        # Absolute: a title in the other direction still starts where the other rows start.
        side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
        return side | Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignAbsolute
