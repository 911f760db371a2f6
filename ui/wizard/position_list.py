"""What this machine can hold, drawn: a row a level, with its memory against the machine's, its speed, its quality."""

from __future__ import annotations

from PySide6.QtCore import QAbstractListModel, QModelIndex, QObject, QPersistentModelIndex, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QBrush, QFont, QPainter, QPen
from PySide6.QtWidgets import QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from backend.api.compression import CompressionPlan, Position
from ui.theme import Role, color, icon, metrics, theme_changed
from ui.viewmodels.compression_words import (
    duration,
    level_code,
    level_name,
    limit_words,
    loss_words,
    quality_words,
    speed,
    verdict_words,
)
from ui.viewmodels.words import size
from ui.widgets.labels import text_direction

__all__ = ["PositionList", "PositionListModel", "draw_line", "recommended"]

Index = QModelIndex | QPersistentModelIndex
POSITION = Qt.ItemDataRole.UserRole + 1
_NO_PARENT = QModelIndex()
_VERDICTS: dict[str, tuple[str, Role]] = {"fits": ("check", "ok"), "if": ("warning", "warn"), "no": ("close", "danger")}
#: growth of perplexity up to which a build is recommended for its size
_GOOD = 0.1


def recommended(positions: list[Position]) -> int:
    """The smallest that fits and is hardly weaker; else the best that fits, or would if; -1 where nothing does."""
    for number, one in enumerate(positions):
        if one.verdict == "fits" and one.loss_high is not None and one.loss_high <= _GOOD:
            return number
    for verdict in ("fits", "if"):
        fitting = [number for number, one in enumerate(positions) if one.verdict == verdict]
        if fitting:
            return fitting[-1]
    return -1


class PositionListModel(QAbstractListModel):
    """The positions of a plan. All can be chosen, also those that do not fit: their reason can then be read."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.plan: CompressionPlan | None = None
        self.best = -1

    def set_plan(self, plan: CompressionPlan | None) -> None:
        """Another plan."""
        self.beginResetModel()
        self.plan = plan
        self.best = recommended(plan.positions) if plan is not None else -1
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        """How many positions."""
        return 0 if parent.isValid() or self.plan is None else len(self.plan.positions)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """The name, or for a screen reader all that is drawn."""
        if self.plan is None or not index.isValid() or not 0 <= index.row() < len(self.plan.positions):
            return None
        position = self.plan.positions[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return level_name(position.level)
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            lines = self.words(position, index.row() == self.best)
            return ". ".join(lines) if role == Qt.ItemDataRole.AccessibleTextRole else "\n".join(lines)
        return position if role == POSITION else None

    def words(self, position: Position, best: bool) -> list[str]:
        """All that a row says."""
        made = self.tr("made in {0}").format(duration(position.seconds)) if position.seconds else ""
        sizes = self.tr("{0} on the disk, {1} of memory to run").format(size(position.bytes), size(position.memory))
        lines = [
            f"{level_name(position.level)} ({level_code(position.level)})",
            self.tr("Recommended") if best else "",
            verdict_words(position),
            limit_words(position),
            sizes if position.bytes else "",
            speed(position.tok_s),
            made,
            quality_words(position.loss_high) if position.error is None else "",
            loss_words(position) if position.error is None else "",
        ]
        return [line.removesuffix(".") for line in lines if line]


class _Delegate(QStyledItemDelegate):
    """Left the name and the expected quality, in the middle the memory as a bar, right size, speed and time."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(metrics.px(280), 3 * self._line() + metrics.px(22))

    @staticmethod
    def _line() -> int:
        return metrics.px(19)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        position = index.data(POSITION)
        model = index.model()
        if not isinstance(position, Position) or not isinstance(model, PositionListModel) or model.plan is None:
            return
        state = option.state
        chosen = bool(state & option.state.State_Selected)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setLayoutDirection(option.direction)
        card = QRect(option.rect).adjusted(1, metrics.px(3), -1, -metrics.px(3))
        painter.setPen(QPen(color("accent" if chosen else "line"), metrics.focus_width if chosen else 1))
        painter.setBrush(color("accent_soft" if chosen else "surface"))
        painter.drawRoundedRect(QRectF(card).adjusted(1, 1, -1, -1), metrics.radius_card, metrics.radius_card)
        inner = card.adjusted(metrics.m, metrics.px(6), -metrics.m, -metrics.px(6))
        line = self._line()
        rows = [QRect(inner.left(), inner.top() + number * line, inner.width(), line) for number in range(3)]
        self._heading(painter, rows[0], position, index.row() == model.best, option)
        self._facts(painter, rows[1], position, option)
        self._bar(painter, rows[2], position, model.plan, option)
        painter.restore()

    def _heading(
        self, painter: QPainter, row: QRect, position: Position, best: bool, option: QStyleOptionViewItem
    ) -> None:
        name, role = _VERDICTS[position.verdict]
        word = verdict_words(position)
        painter.setFont(metrics.font("secondary"))
        width = painter.fontMetrics().horizontalAdvance(word) + metrics.icon + metrics.s
        place = _side(row, width, option, end=True)
        mark = _side(place, metrics.icon, option)
        icon(name, role).paint(painter, mark)
        painter.setPen(color(role))
        draw_line(painter, _side(place, place.width() - metrics.icon - metrics.xs, option, end=True), word, end=False)
        rest = _side(row, row.width() - width - metrics.m, option)
        bold = QFont(metrics.font("control"))
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(color("text" if position.verdict != "no" else "muted"))
        title = level_name(position.level)
        used = painter.fontMetrics().horizontalAdvance(title) + metrics.s
        draw_line(painter, rest, title)
        rest = _side(rest, max(rest.width() - used, 0), option, end=True)
        painter.setFont(metrics.font("secondary"))
        painter.setPen(color("muted"))
        code = level_code(position.level)
        if position.bits:
            code = self.tr("{0}, {1} bits").format(code, f"{position.bits:.1f}")
        used = painter.fontMetrics().horizontalAdvance(code) + metrics.s
        draw_line(painter, rest, code)
        if best and rest.width() > used:
            painter.setPen(color("accent"))
            draw_line(painter, _side(rest, rest.width() - used, option, end=True), "· " + self.tr("Recommended"))

    def _facts(self, painter: QPainter, row: QRect, position: Position, option: QStyleOptionViewItem) -> None:
        painter.setFont(metrics.font("secondary"))
        reason = limit_words(position)
        if reason:
            painter.setPen(color("text"))
            draw_line(painter, row, reason)
            return
        facts = (
            size(position.bytes),
            speed(position.tok_s),
            self.tr("made in {0}").format(duration(position.seconds)) if position.seconds else "",
        )
        expected = self.tr("{0} (expected)").format(quality_words(position.loss_high))
        fm = painter.fontMetrics()
        room = row.width() - fm.horizontalAdvance(expected) - metrics.m - 4
        shown = [fact for fact in facts if fact]
        # The quality comes first: where there is no room, time and speed are left to the tool tip.
        while len(shown) > 1 and fm.horizontalAdvance(" · ".join(shown)) > room:
            shown.pop()
        right = " · ".join(shown)
        width = min(fm.horizontalAdvance(right) + 2, row.width())
        painter.setPen(color("muted"))
        draw_line(painter, _side(row, width, option, end=True), right)
        painter.setPen(color("text"))
        draw_line(painter, _side(row, max(row.width() - width - metrics.m, 0), option), expected)

    def _bar(
        self, painter: QPainter, row: QRect, position: Position, plan: CompressionPlan, option: QStyleOptionViewItem
    ) -> None:
        """Its memory along the machine's: what is free is paper, what others have is hatched."""
        painter.setFont(metrics.font("secondary"))
        words = self.tr("{0} of memory").format(size(position.memory)) if position.memory else ""
        widest = painter.fontMetrics().horizontalAdvance(self.tr("{0} of memory").format("88.8 GB")) + metrics.s
        painter.setPen(color("muted"))
        draw_line(painter, _side(row, widest, option, end=True), words, end=True)
        track = _side(row, max(row.width() - widest - metrics.s, 10), option)
        thick = metrics.px(8)
        area = QRectF(track.left(), track.center().y() - thick / 2, track.width(), thick)
        total = max(plan.memory_total, 1)
        free = min(plan.memory_free / total, 1.0)
        need = position.memory / total
        right = option.direction == Qt.LayoutDirection.RightToLeft

        def part(start: float, end: float) -> QRectF:
            left = area.right() - area.width() * end if right else area.left() + area.width() * start
            return QRectF(left, area.top(), area.width() * (end - start), area.height())

        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color("line"))
        painter.drawRect(part(0.0, free))
        painter.setBrush(QBrush(color("muted"), Qt.BrushStyle.BDiagPattern))
        painter.drawRect(part(free, 1.0))
        if position.memory:
            role: Role = _VERDICTS[position.verdict][1]
            painter.setBrush(color("accent" if position.verdict == "fits" else role))
            painter.drawRect(part(0.0, min(need, 1.0)))


def _side(row: QRect, width: int, option: QStyleOptionViewItem, *, end: bool = False) -> QRect:
    """A part of a row at its beginning or its end, as the window's direction puts it."""
    right = end != (option.direction == Qt.LayoutDirection.RightToLeft)
    left = row.right() - width + 1 if right else row.left()
    return QRect(left, row.top(), width, row.height())


def draw_line(painter: QPainter, area: QRect, text: str, *, end: bool = False) -> None:
    """One line at the beginning of an area, or at its end; it runs as its own first letter says."""
    window = painter.layoutDirection()
    right = end != (window == Qt.LayoutDirection.RightToLeft)
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, area.width())
    painter.setLayoutDirection(text_direction(shown))
    painter.drawText(area, int(side | Qt.AlignmentFlag.AlignAbsolute | Qt.AlignmentFlag.AlignVCenter), shown)
    painter.setLayoutDirection(window)


class PositionList(QListView):
    """As tall as its rows; arrow keys choose."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.positions = PositionListModel(self)
        self.setModel(self.positions)
        self.setItemDelegate(_Delegate(self))
        self.setProperty("list", "side")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName(self.tr("Sizes that this model can be made in"))
        theme_changed.connect(self._resize)

    def set_plan(self, plan: CompressionPlan | None) -> None:
        """Another plan; the recommended position is chosen."""
        self.positions.set_plan(plan)
        self._resize()
        if self.positions.rowCount():
            self.setCurrentIndex(self.positions.index(max(self.positions.best, 0)))

    def position(self) -> Position | None:
        """The chosen one."""
        found = self.currentIndex().data(POSITION) if self.currentIndex().isValid() else None
        return found if isinstance(found, Position) else None

    def _resize(self) -> None:
        rows = self.positions.rowCount()
        self.setFixedHeight(rows * self.sizeHintForRow(0) + 2 if rows else 0)
