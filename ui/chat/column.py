"""A column of messages that is built where it is seen: which widgets there are, and where they stand."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, QTimer, Signal
from PySide6.QtGui import QPixmap, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from backend.api.schemas import Message
from ui.chat.empty import EmptyState
from ui.chat.markdown import warm_up
from ui.chat.message_item import MessageItem
from ui.chat.scrolling import Canvas, ScrollArea
from ui.theme import metrics, theme_changed
from ui.widgets.buttons import HoverButton

__all__ = ["Entry", "MessageColumn"]

#: After the window is shown and before anyone can have typed a question.
_WARM_UP_MS: Final = 300
#: Messages kept as widgets beyond those in sight.
_MAX_ALIVE: Final = 40
_IDLE_SLICE_S: Final = 0.010
#: Pictures kept small, 100 KB each.
_MOST_PICTURES: Final = 60


@dataclass(slots=True)
class Entry:
    """A message, where it stands, and its widget where there is one."""

    message: Message
    height: int  # measured, or estimated while `item` was never built at this width
    top: int = 0
    item: MessageItem | None = None
    versions: tuple[int, int] = (0, 1)
    cut: str = ""
    pending: list[str] = field(default_factory=list)
    shown: int = 0  # code points handed to the item, pending ones included
    figures: str | None = None  # a live line that is not shown yet
    figures_at: float = 0.0
    writing: bool = False  # text has arrived since the message was added


class MessageColumn(QWidget):
    """The part of `ConversationView` that builds, measures, places and scrolls.

    Signals: see there.
    """

    regenerate_requested = Signal(str)
    edit_submitted = Signal(str, str)
    branch_requested = Signal(str, int)
    continue_requested = Signal(str)
    reply_edited = Signal(str, str)
    quote_requested = Signal(str)
    file_opened = Signal(object)
    picture_wanted = Signal(str)
    delete_requested = Signal(str)
    wrap_requested = Signal(bool)
    prompt_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: list[Entry] = []
        self._by_id: dict[str, int] = {}
        self._models: dict[str, str] = {}
        self._follow = True
        self._moving = False
        self._pictures: dict[str, QPixmap] = {}  # attachment id -> small
        self._marked: tuple[str, tuple[str, ...]] = ("", ())  # a message that was found, and the words in it

        self._scroll = ScrollArea(self)
        self._canvas = Canvas()
        self._scroll.setWidget(self._canvas)
        self._empty = EmptyState(self)
        self._empty.prompt_chosen.connect(self.prompt_chosen)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._scroll)
        self._latest = HoverButton(self.tr("Latest"), self, icon="arrow-down")
        self._latest.setProperty("kind", "")
        self._latest.setToolTip(self.tr("Go to the newest message"))
        self._latest.clicked.connect(self.scroll_to_end)
        self._latest.hide()

        self._idle_timer = QTimer(self)
        self._idle_timer.setSingleShot(True)
        self._idle_timer.timeout.connect(self._idle)
        bar = self._scroll.verticalScrollBar()
        bar.valueChanged.connect(self._scrolled)
        bar.rangeChanged.connect(self._range_changed)
        self._scroll.viewport().installEventFilter(self)
        theme_changed.connect(self._restyle)
        self._show_empty()

    def scroll_to_end(self) -> None:
        """Goes to the newest text and follows it from now on."""
        self._follow = True
        self._go_to_end()
        self._build_visible()
        self._go_to_end()
        self._latest.hide()

    def place(self) -> list[tuple[str, int]]:
        """Where the view is: the messages up to the first in sight, nearest first, and how far below their tops."""
        value = self._scroll.verticalScrollBar().value()
        first = self._visible().start
        return [(entry.message.id, value - entry.top) for entry in reversed(self._entries[: first + 1])]

    def go_to_place(self, place: list[tuple[str, int]]) -> None:
        """Back to a place, or to the message before it where that one is gone."""
        for message_id, offset in place:
            index = self._by_id.get(message_id)
            if index is not None:
                self._follow = False
                self._set_value(self._entries[index].top + offset)
                self._build_visible()
                self._set_value(self._entries[index].top + offset)
                return

    # entries

    def _entry(self, message_id: str) -> Entry | None:
        index = self._by_id.get(message_id)
        return None if index is None else self._entries[index]

    def _add(self, message: Message, versions: tuple[int, int]) -> None:
        self._by_id[message.id] = len(self._entries)
        entry = Entry(message, self._estimate(message), versions=versions)
        entry.shown = len(message.content)
        self._entries.append(entry)

    def _refresh_last(self) -> None:
        for i, entry in enumerate(self._entries):
            if entry.item is not None:
                entry.item.set_last(i == len(self._entries) - 1)

    def _model_name(self, message: Message) -> str:
        return self._models.get(message.model or "", "") if message.role == "assistant" else ""

    # geometry

    def _column_width(self) -> int:
        return max(120, min(metrics.measure_width(), self._scroll.viewport().width() - 2 * metrics.xl))

    def _estimate(self, message: Message) -> int:
        """A guess at a message's height that needs no layout."""
        per_line = max(20, self._column_width() // max(1, metrics.px(7)))
        lines = message.content.count("\n") + 1 + len(message.content) // per_line
        return min(2_000_000, lines * metrics.px(22) + metrics.px(70))

    def _place_all(self, start: int = 0) -> None:
        """Recomputes where each message from `start` on lies."""
        gap = metrics.m  # the line of actions under each message is space, too
        width = self._column_width()
        view = self._scroll.viewport().width()
        left = max(metrics.xl, (view - width) // 2)
        top = self._entries[start - 1].top + self._entries[start - 1].height + gap if start else gap
        for entry in self._entries[start:]:
            entry.top = top
            if entry.item is not None:
                bleed = entry.item.bleed()
                entry.item.setGeometry(left - bleed, top, width + 2 * bleed, entry.height)
            top += entry.height + gap
        size = QSize(view, top)
        if self._canvas.size() != size:
            self._canvas.resize(size)

    def _item_changed(self, message_id: str) -> None:
        index = self._by_id.get(message_id)
        if index is not None:
            self._measure(index)

    def _measure(self, index: int) -> None:
        """Takes over an item's height; what is in sight stays where it is."""
        entry = self._entries[index]
        if entry.item is None:
            return
        height = entry.item.arrange(self._column_width())
        change = height - entry.height
        if change == 0:
            return
        above = entry.top + entry.height <= self._scroll.verticalScrollBar().value()
        entry.height = height
        self._place_all(index)
        if self._follow:
            self._go_to_end()
        elif above:
            self._set_value(self._scroll.verticalScrollBar().value() + change)

    def _visible(self, screens: float = 0.0) -> range:
        """Indices of the messages in sight, and of those within so many screens of it."""
        if not self._entries:
            return range(0)
        height = self._scroll.viewport().height()
        low = self._scroll.verticalScrollBar().value() - int(screens * height)
        high = low + int((1 + 2 * screens) * height)
        first = max(0, bisect.bisect_right(self._entries, low, key=lambda e: e.top) - 1)
        last = bisect.bisect_left(self._entries, high, key=lambda e: e.top)
        return range(first, max(last, first + 1))

    # building

    def _build(self, index: int) -> None:
        entry = self._entries[index]
        width = self._column_width()
        item = MessageItem(self._canvas, entry.message, width=width, model_name=self._model_name(entry.message))
        entry.item = item
        message_id = entry.message.id
        item.set_versions(*entry.versions)
        item.set_last(index == len(self._entries) - 1)
        item.set_cut(entry.cut)
        entry.height = item.arrange(width)
        item.height_changed.connect(lambda: self._item_changed(message_id))
        item.action.connect(lambda name: self._act(message_id, name))
        item.edited.connect(lambda text: self.edit_submitted.emit(message_id, text))
        item.reply_edited.connect(lambda text: self.reply_edited.emit(message_id, text))
        item.quoted.connect(self.quote_requested)
        item.file_opened.connect(self.file_opened)
        item.wrap_requested.connect(self.wrap_requested)
        for file in entry.message.attachments:
            if file.mime.startswith("image/"):
                self._want_picture(item, file.id)
        item.branch.connect(lambda step: self.branch_requested.emit(message_id, step))
        item.reveal_requested.connect(lambda rect: self._reveal(message_id, rect))
        if message_id == self._marked[0]:
            self._mark_item(entry)
        item.show()

    def _want_picture(self, item: MessageItem, attachment_id: str) -> None:
        known = self._pictures.get(attachment_id)
        if known is not None:
            item.set_picture(attachment_id, known)
        else:
            self.picture_wanted.emit(attachment_id)

    def set_picture(self, attachment_id: str, picture: QPixmap) -> None:
        """What a picture that `picture_wanted` asked for looks like."""
        self._pictures[attachment_id] = picture
        for oldest in list(self._pictures)[:-_MOST_PICTURES]:
            del self._pictures[oldest]
        for entry in self._entries:
            if entry.item is not None:
                entry.item.set_picture(attachment_id, picture)

    def _mark_item(self, entry: Entry) -> None:
        if entry.item is not None:
            message_id, words = self._marked
            entry.item.body.mark_words(words if entry.message.id == message_id else ())

    def _build_visible(self) -> None:
        """Builds what is in sight; heights found on the way may bring more into sight."""
        for _ in range(8):
            missing = [i for i in self._visible() if self._entries[i].item is None]
            if not missing:
                break
            self._build_some(reversed(missing) if self._follow else iter(missing), deadline=None)
        self._thin_out()

    def _build_some(self, indices: Iterable[int], deadline: float | None) -> bool:
        built = False
        bar = self._scroll.verticalScrollBar()
        for index in indices:
            entry = self._entries[index]
            before, top = entry.height, entry.top
            self._build(index)
            built = True
            self._place_all(index)
            if self._follow:
                self._go_to_end()
            elif top + before <= bar.value():
                self._set_value(bar.value() + entry.height - before)
            if deadline is not None and time.perf_counter() > deadline:
                break
        if built:
            self._order_focus()
        return built

    def _idle(self) -> None:
        """Builds the neighbourhood of what is in sight, a slice at a time, so that scrolling finds it ready."""
        missing = [i for i in self._visible(1.5) if self._entries[i].item is None]
        if missing:
            self._build_some(missing, time.perf_counter() + _IDLE_SLICE_S)
            self._idle_timer.start(0)

    def _thin_out(self) -> None:
        alive = [i for i, entry in enumerate(self._entries) if entry.item is not None]
        if len(alive) <= _MAX_ALIVE:
            return
        near = self._visible(2.0)
        middle = (near.start + near.stop) // 2
        for index in sorted(alive, key=lambda i: -abs(i - middle))[: len(alive) - _MAX_ALIVE]:
            entry = self._entries[index]
            if index not in near and entry.item is not None and not self._busy(entry, entry.item):
                self._drop(entry)

    def _busy(self, entry: Entry, item: MessageItem) -> bool:
        focus = QApplication.focusWidget()
        return (
            entry.message.status == "streaming"
            or item.is_editing()
            or item.is_shaded()
            or item.body.textCursor().hasSelection()
            or (focus is not None and item.isAncestorOf(focus))
        )

    def _drop(self, entry: Entry) -> None:
        if entry.item is not None:
            if entry.message.status == "streaming":
                entry.message.content = entry.item.content() + "".join(entry.pending)
                entry.pending.clear()
            entry.item.hide()
            entry.item.deleteLater()
            entry.item = None

    def _order_focus(self) -> None:
        """Tab goes from message to message as they stand, though they are built in another order."""
        previous: QWidget | None = None
        for entry in self._entries:
            if entry.item is not None:
                for widget in entry.item.focus_order():
                    if previous is not None:
                        QWidget.setTabOrder(previous, widget)
                    previous = widget

    def _act(self, message_id: str, name: str) -> None:
        if name == "retry":
            self.regenerate_requested.emit(message_id)
        elif name == "continue":
            self.continue_requested.emit(message_id)
        elif name == "delete":
            self.delete_requested.emit(message_id)

    # scrolling

    def _set_value(self, value: int) -> None:
        self._moving = True
        self._scroll.verticalScrollBar().setValue(value)
        self._moving = False

    def _go_to_end(self) -> None:
        self._set_value(self._scroll.verticalScrollBar().maximum())

    def _keep_end(self) -> None:
        if self._follow:
            self._go_to_end()

    def _range_changed(self) -> None:
        bar = self._scroll.verticalScrollBar()
        bar.setEnabled(bar.maximum() > 0)  # its place is kept, so that the text does not shift when it is needed
        self._keep_end()

    def _scrolled(self, value: int) -> None:
        if not self._moving:
            self._follow = value >= self._scroll.verticalScrollBar().maximum() - metrics.s
        self._latest.setVisible(not self._follow and bool(self._entries))
        if not self._moving:
            self._build_visible()
            self._idle_timer.start(30)

    def _reveal(self, message_id: str, rect: QRectF) -> None:
        entry = self._entry(message_id)
        if entry is None:
            return
        top, bottom = entry.top + rect.top(), entry.top + rect.bottom()
        bar = self._scroll.verticalScrollBar()
        if top < bar.value():
            bar.setValue(int(top) - metrics.l)
        elif bottom > bar.value() + self._scroll.viewport().height():
            bar.setValue(int(bottom) - self._scroll.viewport().height() + metrics.l)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._relayout()
        return False

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        QTimer.singleShot(_WARM_UP_MS, self, warm_up)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._empty.setGeometry(self.rect().adjusted(metrics.xl, 0, -metrics.xl, 0))
        self._place_latest()

    def _place_latest(self) -> None:
        size = self._latest.sizeHint()
        self._latest.setGeometry(
            (self.width() - size.width()) // 2, self.height() - size.height() - metrics.m, size.width(), size.height()
        )
        self._latest.raise_()

    def _relayout(self) -> None:
        """The width changed: what is built is measured again; the first message in sight stays in sight."""
        seen = self._visible()
        anchor = self._entries[seen.start] if self._entries else None
        offset = self._scroll.verticalScrollBar().value() - anchor.top if anchor else 0
        width = self._column_width()
        for entry in self._entries:
            if entry.item is not None:
                entry.height = entry.item.arrange(width)
        self._place_all()
        if self._follow or anchor is None:
            self._go_to_end()
        else:
            self._set_value(anchor.top + offset)
        self._build_visible()

    def _restyle(self) -> None:
        for entry in self._entries:
            if entry.item is not None:
                entry.item.restyle()
            else:
                entry.height = self._estimate(entry.message)
        self._relayout()
        self._place_latest()

    def _show_empty(self) -> None:
        empty = not self._entries
        self._empty.setVisible(empty)
        self._scroll.setVisible(not empty)
        if empty:
            self._latest.hide()
