"""The conversation: a column of messages that is built where it is seen and follows an answer as it streams."""

from __future__ import annotations

import bisect
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QApplication, QFrame, QScrollArea, QVBoxLayout, QWidget

from backend.api.schemas import Message
from ui.chat import words
from ui.chat.empty import EmptyState
from ui.chat.markdown import warm_up
from ui.chat.message_item import MessageItem
from ui.theme import color, metrics, theme_changed
from ui.widgets.buttons import HoverButton

__all__ = ["ConversationView"]

#: Time between two paintings of a streaming answer. 40 ms are 25 a second: more cannot be read, and each one takes
#: from the cores that compute the answer.
_FLUSH_MS: Final = 40
_FLUSH_MAX_MS: Final = 500
#: Painting may take this share of the time; a dear message is painted less often.
_SHARE: Final = 0.08
#: Live figures change four times a second at most: faster cannot be read.
_FIGURES_S: Final = 0.25
#: After the window is shown and before anyone can have typed a question.
_WARM_UP_MS: Final = 300
#: Messages kept as widgets beyond those in sight.
_MAX_ALIVE: Final = 40
_IDLE_SLICE_S: Final = 0.010


@dataclass(slots=True)
class _Entry:
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


class ConversationView(QWidget):
    """Shows one branch of a conversation.

    Signals (ids are message ids):
        regenerate_requested(id): another answer in place of this one.
        edit_submitted(id, text): a user's turn with a new text.
        branch_requested(id, step): another version, step -1 or +1.
        continue_requested(id): go on with a stopped or interrupted answer.
        prompt_chosen(str): an example of the empty state.
        gap_found(id): text is missing before a piece that arrived; the whole message is wanted (`replace_message`).
    """

    regenerate_requested = Signal(str)
    edit_submitted = Signal(str, str)
    branch_requested = Signal(str, int)
    continue_requested = Signal(str)
    prompt_chosen = Signal(str)
    gap_found = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._entries: list[_Entry] = []
        self._by_id: dict[str, int] = {}
        self._models: dict[str, str] = {}
        self._follow = True
        self._moving = False
        self._flush_cost = 0.0  # of the last painting, seconds
        self._flushed_at = 0.0

        self._scroll = _Scroll(self)
        self._canvas = _Canvas()
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

        self._flush_timer = QTimer(self)
        self._flush_timer.setSingleShot(True)
        self._flush_timer.timeout.connect(self.flush)
        self._idle_timer = QTimer(self)
        self._idle_timer.setSingleShot(True)
        self._idle_timer.timeout.connect(self._idle)
        bar = self._scroll.verticalScrollBar()
        bar.valueChanged.connect(self._scrolled)
        bar.rangeChanged.connect(self._range_changed)
        self._scroll.viewport().installEventFilter(self)
        theme_changed.connect(self._restyle)
        self._show_empty()

    # what the shell calls

    def set_branch(self, messages: Sequence[Message], siblings: Mapping[str, tuple[int, int]] | None = None) -> None:
        """Shows these messages, root first; `siblings`: id -> (index from 0, how many), for those with versions.

        The view goes to the end. System messages are not shown.
        """
        self.clear()
        for message in messages:
            if message.role != "system":
                self._add(message, (siblings or {}).get(message.id, (0, 1)))
        self._mark_cut()
        self._follow = True
        self._show_empty()
        self._place_all()
        self._go_to_end()
        self._build_visible()
        self._idle_timer.start(0)

    def append_message(self, message: Message, versions: tuple[int, int] = (0, 1)) -> None:
        """Adds a message at the end; a known id is replaced."""
        if message.id in self._by_id:
            self.replace_message(message)
            return
        if message.role == "system":
            return
        if message.role == "user":
            self._follow = True  # what one has just written is what one wants to see
        self._add(message, versions)
        self._refresh_last()
        self._show_empty()
        self._place_all()
        self._build_visible()
        self._keep_end()

    def append_text(self, message_id: str, offset: int, text: str, tokens: int = 0, tok_s: float = 0.0) -> None:
        """More of a streaming answer: `text` begins at code point `offset`. Painted at most 25 times a second.

        Text that is there already is skipped. Where text is missing, nothing is added and `gap_found` is emitted.
        """
        entry = self._entry(message_id)
        if entry is None:
            return
        if offset > entry.shown:
            self.gap_found.emit(message_id)
            return
        fresh = text[entry.shown - offset :]
        if fresh:
            entry.pending.append(fresh)
            entry.shown += len(fresh)
        entry.figures = words.live_rate(tokens, tok_s)
        self._schedule_flush()

    def set_progress(self, message_id: str, done: int, total: int) -> None:
        """The prompt is being read: `done` of `total` tokens. total 0: it waits for its turn."""
        entry = self._entry(message_id)
        if entry is not None:
            entry.figures = words.reading(done, total)
            self._schedule_flush()

    def finish_message(self, message: Message) -> None:
        """The message as it is stored in the end."""
        self.replace_message(message)
        self._mark_cut()
        self._place_all()
        self._keep_end()

    def replace_message(self, message: Message) -> None:
        """The message has another content or state."""
        entry = self._entry(message.id)
        if entry is None:
            return
        if entry.item is not None and entry.pending:
            entry.item.append("".join(entry.pending))
        entry.pending.clear()
        entry.figures = None
        entry.message = message
        entry.shown = len(message.content)
        if entry.item is not None:
            entry.item.set_message(message)
        else:
            entry.height = self._estimate(message)
            self._place_all()
        self._keep_end()

    def set_versions(self, message_id: str, index: int, total: int) -> None:
        """Which of its siblings a message is; `index` counts from 0."""
        entry = self._entry(message_id)
        if entry is not None:
            entry.versions = (index, total)
            if entry.item is not None:
                entry.item.set_versions(index, total)

    def set_model_names(self, names: Mapping[str, str]) -> None:
        """Model id -> the name to show beside "Nutshell"."""
        self._models = dict(names)
        for entry in self._entries:
            if entry.item is not None:
                entry.item.set_model_name(self._model_name(entry.message))

    def clear(self) -> None:
        """Shows nothing but the empty state."""
        self._flush_timer.stop()
        self._idle_timer.stop()
        for entry in self._entries:
            self._drop(entry)
        self._entries.clear()
        self._by_id.clear()
        self._place_all()
        self._show_empty()

    def scroll_to_end(self) -> None:
        """Goes to the newest text and follows it from now on."""
        self._follow = True
        self._go_to_end()
        self._build_visible()
        self._go_to_end()
        self._latest.hide()

    def scroll_to_message(self, message_id: str) -> None:
        """Brings a message to the top of the view."""
        index = self._by_id.get(message_id)
        if index is not None:
            self._follow = False
            self._set_value(self._entries[index].top - metrics.l)
            self._build_visible()
            self._set_value(self._entries[index].top - metrics.l)

    def message_ids(self) -> list[str]:
        """The ids shown, root first."""
        return [entry.message.id for entry in self._entries]

    def item(self, message_id: str) -> MessageItem | None:
        """The widget of a message, built if it is not there yet."""
        index = self._by_id.get(message_id)
        if index is None:
            return None
        entry = self._entries[index]
        if entry.item is None:
            self._build_some([index], deadline=None)
        return entry.item

    def is_following(self) -> bool:
        """Whether the view stays with the newest text."""
        return self._follow

    def latest_button(self) -> HoverButton:
        """The button back to the newest text; shown while the view does not follow."""
        return self._latest

    def empty_state(self) -> EmptyState:
        """What is shown while there is no message."""
        return self._empty

    def scroll_area(self) -> QScrollArea:
        """The scrolling part."""
        return self._scroll

    # entries

    def _entry(self, message_id: str) -> _Entry | None:
        index = self._by_id.get(message_id)
        return None if index is None else self._entries[index]

    def _add(self, message: Message, versions: tuple[int, int]) -> None:
        self._by_id[message.id] = len(self._entries)
        entry = _Entry(message, self._estimate(message), versions=versions)
        entry.shown = len(message.content)
        self._entries.append(entry)

    def _refresh_last(self) -> None:
        for i, entry in enumerate(self._entries):
            if entry.item is not None:
                entry.item.set_last(i == len(self._entries) - 1)

    def _model_name(self, message: Message) -> str:
        return self._models.get(message.model or "", "") if message.role == "assistant" else ""

    def _mark_cut(self) -> None:
        """The line that says where the window was cut, for the newest answer only."""
        above = ""
        text = ""
        for entry in reversed(self._entries):
            if entry.message.role == "assistant":
                stats = entry.message.stats
                if stats is not None and stats.cut is not None and stats.cut.dropped:
                    text = words.cut_line(stats.cut.policy, len(stats.cut.dropped))
                    above = stats.cut.first_kept or self._after(stats.cut.dropped[-1])
                break
        for entry in self._entries:
            entry.cut = text if entry.message.id == above else ""
            if entry.item is not None:
                entry.item.set_cut(entry.cut)
                entry.height = entry.item.arrange(self._column_width())

    def _after(self, message_id: str) -> str:
        index = self._by_id.get(message_id, -2) + 1
        return self._entries[index].message.id if 0 <= index < len(self._entries) else ""

    # streaming

    def _schedule_flush(self) -> None:
        interval = max(_FLUSH_MS, min(_FLUSH_MAX_MS, round(self._flush_cost * 1000 / _SHARE)))
        since = round((time.perf_counter() - self._flushed_at) * 1000)
        wait = max(0, interval - since)
        if not self._flush_timer.isActive() or self._flush_timer.remainingTime() > wait:
            self._flush_timer.start(wait)

    def flush(self) -> None:
        """Paints what has arrived since the last time; called by a timer."""
        started = time.perf_counter()
        waiting = False
        for entry in self._entries:
            if entry.pending or entry.figures is not None:
                self._flush_entry(entry, started)
                waiting = waiting or entry.figures is not None
        self._flushed_at = time.perf_counter()
        self._flush_cost = self._flushed_at - started
        if waiting:
            self._flush_timer.start(round(_FIGURES_S * 1000))

    @staticmethod
    def _flush_entry(entry: _Entry, now: float) -> None:
        text = "".join(entry.pending)
        entry.pending.clear()
        if entry.item is None:
            entry.message.content += text
            entry.figures = None
            return
        if text:
            entry.item.append(text)
        # With the first text the words about reading go at once.
        due = not text or now - entry.figures_at > _FIGURES_S or not entry.writing
        if entry.figures is not None and due:
            entry.item.set_figures(entry.figures)
            entry.figures = None
            entry.figures_at = now
        entry.writing = bool(text) or entry.writing

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
        item.branch.connect(lambda step: self.branch_requested.emit(message_id, step))
        item.reveal_requested.connect(lambda rect: self._reveal(message_id, rect))
        item.show()

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

    def _busy(self, entry: _Entry, item: MessageItem) -> bool:
        focus = QApplication.focusWidget()
        return (
            entry.message.status == "streaming"
            or item.is_editing()
            or item.body.textCursor().hasSelection()
            or (focus is not None and item.isAncestorOf(focus))
        )

    def _drop(self, entry: _Entry) -> None:
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


class _Canvas(QWidget):
    """Where the messages lie. It fills itself and says so: what is opaque is scrolled by moving pixels, not painted."""

    def __init__(self) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAttribute(Qt.WidgetAttribute.WA_StaticContents)

    def paintEvent(self, event: QPaintEvent) -> None:
        QPainter(self).fillRect(event.rect(), color("window"))


class _Scroll(QScrollArea):
    """Scrolls by the keyboard also when a message inside has the focus."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidgetResizable(False)
        self.verticalScrollBar().setSingleStep(metrics.px(40))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        bar = self.verticalScrollBar()
        if event.key() == Qt.Key.Key_Home:
            bar.setValue(0)
        elif event.key() == Qt.Key.Key_End:
            bar.setValue(bar.maximum())
        else:
            super().keyPressEvent(event)
