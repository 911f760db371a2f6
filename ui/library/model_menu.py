"""The menu of models: what is on this machine, by where it was found, and a way to open any other file."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QRect, QSize, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QPainter
from PySide6.QtWidgets import QListView, QStyledItemDelegate, QStyleOptionViewItem, QVBoxLayout, QWidget

from backend.api.schemas import ModelEntry
from ui.shell.popover import Popover
from ui.theme import color, icon, metrics
from ui.viewmodels.model_list import ModelListModel, ModelRole
from ui.widgets import HoverButton, rule, text_label

__all__ = ["ModelMenu"]

Index = QModelIndex | QPersistentModelIndex
_WIDTH, _TALLEST = 380, 460


class _ModelDelegate(QStyledItemDelegate):
    """Headings in muted small type; models with a second line, a tick on the loaded one, a warning on damaged ones."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(metrics.px(_WIDTH), metrics.px(30 if index.data(ModelRole.IS_HEADER) else 48))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRect(option.rect)
        if index.data(ModelRole.IS_HEADER):
            area.adjust(metrics.m, metrics.s, -metrics.m, 0)
            painter.setFont(metrics.font("secondary"))
            painter.setPen(color("muted"))
            painter.drawText(area, self._align(option), str(index.data()))
        else:
            self._paint_model(painter, option, index, area)
        painter.restore()

    def _paint_model(self, painter: QPainter, option: QStyleOptionViewItem, index: Index, area: QRect) -> None:
        state = option.state
        broken = bool(index.data(ModelRole.BROKEN))
        card = area.adjusted(metrics.xs, 1, -metrics.xs, -1)
        if state & option.state.State_Selected and not broken:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color("raised"))
            painter.drawRoundedRect(card, metrics.radius_control, metrics.radius_control)
        mark = "warning" if broken else "check" if index.data(ModelRole.LOADED) else ""
        text = card.adjusted(metrics.s, metrics.px(5), -metrics.s - (metrics.icon + metrics.s), -metrics.px(5))
        place = QRect(card.right() - metrics.s - metrics.icon, 0, metrics.icon, metrics.icon)
        place.moveTop(card.center().y() - metrics.icon // 2)
        if option.direction == Qt.LayoutDirection.RightToLeft:
            text.translate(metrics.icon + metrics.s, 0)
            place.moveLeft(card.left() + metrics.s)
        if mark:
            icon(mark, "warn" if broken else "accent").paint(painter, place)
        half = text.height() // 2
        painter.setFont(metrics.font("control"))
        painter.setPen(color("muted" if broken else "text"))
        name = painter.fontMetrics().elidedText(str(index.data()), Qt.TextElideMode.ElideMiddle, text.width())
        painter.drawText(QRect(text.left(), text.top(), text.width(), half), self._align(option), name)
        painter.setFont(metrics.font("secondary"))
        painter.setPen(color("muted"))
        details = str(index.data(ModelRole.DETAILS))
        details = painter.fontMetrics().elidedText(details, Qt.TextElideMode.ElideRight, text.width())
        painter.drawText(QRect(text.left(), text.top() + half, text.width(), half), self._align(option), details)

    @staticmethod
    def _align(option: QStyleOptionViewItem) -> Qt.AlignmentFlag:
        right = option.direction == Qt.LayoutDirection.RightToLeft
        return (Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignVCenter


class ModelMenu(Popover):
    """The list of models as a pop-over. Arrow keys and Enter choose, Esc closes.

    Signals:
        chosen(ModelEntry): a usable model.
    """

    chosen = Signal(object)

    def __init__(self, models: ModelListModel, commands: list[tuple[QAction, str]], window: QWidget) -> None:
        """`commands` stand under the list: actions with the names of their icons."""
        super().__init__(window)
        self.setAccessibleName(self.tr("Models on this machine"))
        self._models = models
        self.list = QListView()
        self.list.setProperty("list", "side")
        self.list.setModel(models)
        self.list.setItemDelegate(_ModelDelegate(self.list))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.setMouseTracking(True)
        self.list.setAccessibleName(self.tr("Models"))
        self.list.entered.connect(self._hovered)
        self.list.clicked.connect(self._choose)
        self.list.installEventFilter(self)
        self.empty = text_label(self.tr("No model files were found on this machine."), "muted", wrap=True)
        self.empty.setContentsMargins(metrics.m, metrics.m, metrics.m, metrics.m)
        column = QVBoxLayout(self)
        column.setContentsMargins(metrics.xs, metrics.xs, metrics.xs, metrics.xs)
        column.setSpacing(metrics.xs)
        column.addWidget(self.empty)
        column.addWidget(self.list)
        column.addWidget(rule())
        self.buttons: list[HoverButton] = []
        for action, icon_name in commands:
            button = HoverButton(action.text(), icon=icon_name)
            button.setProperty("align", "start")
            button.setEnabled(action.isEnabled())
            action.changed.connect(lambda button=button, action=action: button.setEnabled(action.isEnabled()))
            button.clicked.connect(self.close_popover)
            button.clicked.connect(action.trigger)
            column.addWidget(button)
            self.buttons.append(button)
        models.modelReset.connect(self._models_reset)

    def open_under(self, anchor: QWidget) -> None:
        """Show it, the loaded model chosen and the list in focus."""
        self._resize()
        self._select_loaded()
        super().open_under(anchor)
        self.list.setFocus(Qt.FocusReason.PopupFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.list and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._choose(self.list.currentIndex())
                return True
            return False
        return super().eventFilter(watched, event)

    def _resize(self) -> None:
        found = self._models.rowCount() > 0
        self.list.setVisible(found)
        self.empty.setVisible(not found)
        rows = sum(self.list.sizeHintForRow(row) for row in range(self._models.rowCount()))
        self.list.setFixedHeight(min(rows + 2, metrics.px(_TALLEST)))
        self.setFixedWidth(min(metrics.px(_WIDTH), self._host.width() - 2 * metrics.s))
        if self.isVisible():
            self.place()

    def _models_reset(self) -> None:
        self._resize()
        self._select_loaded()

    def _select_loaded(self) -> None:
        for row in range(self._models.rowCount()):
            index = self._models.index(row)
            if index.data(ModelRole.LOADED):
                self.list.setCurrentIndex(index)
                return
        self.list.clearSelection()

    def _hovered(self, index: QModelIndex) -> None:
        if index.flags() & Qt.ItemFlag.ItemIsSelectable:
            self.list.setCurrentIndex(index)

    def _choose(self, index: QModelIndex) -> None:
        entry = index.data(ModelRole.ENTRY) if index.isValid() else None
        if isinstance(entry, ModelEntry) and entry.error is None:
            self.close_popover()
            self.chosen.emit(entry)
