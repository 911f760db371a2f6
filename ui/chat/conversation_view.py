"""The conversation: a column of messages that follows an answer as it streams."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QScrollArea, QWidget

from backend.api.schemas import Message
from ui.chat import words
from ui.chat.column import Entry, MessageColumn
from ui.chat.empty import EmptyState
from ui.chat.message_item import MessageItem
from ui.theme import metrics
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


class ConversationView(MessageColumn):
    """Shows one branch of a conversation.

    Signals (ids are message ids):
        regenerate_requested(id): another answer in place of this one.
        edit_submitted(id, text): a user's turn with a new text.
        branch_requested(id, step): another version, step -1 or +1.
        continue_requested(id): go on with a stopped or interrupted answer.
        reply_edited(id, text): an answer in other words, to be kept beside the first.
        quote_requested(str): words to be answered to. delete_requested(id): the turn of a message shall go.
        wrap_requested(bool): long lines of code shall be broken, or go on, everywhere.
        file_opened(Attachment): a file of a message was clicked. picture_wanted(id): `set_picture` follows.
        prompt_chosen(str): an example of the empty state.
        gap_found(id): text is missing before a piece that arrived; the whole message is wanted (`replace_message`).
    """

    gap_found = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._flush_cost = 0.0  # of the last painting, seconds
        self._flushed_at = 0.0
        self._flush_timer = QTimer(self)
        self._flush_timer.setSingleShot(True)
        self._flush_timer.timeout.connect(self.flush)

    # what the shell calls

    def set_branch(
        self,
        messages: Sequence[Message],
        siblings: Mapping[str, tuple[int, int]] | None = None,
        *,
        stay: bool = False,
    ) -> None:
        """Shows these messages, root first; `siblings`: id -> (index from 0, how many), for those with versions.

        The view goes to the end; with `stay`, where it is not there already, it stays with the message that it shows.
        System messages are not shown.
        """
        place = self.place() if stay and not self._follow else None
        self.clear()
        for message in messages:
            if message.role != "system":
                self._add(message, (siblings or {}).get(message.id, (0, 1)))
        self._mark_cut()
        self._follow = True
        self._show_empty()
        self._place_all()
        self._go_to_end()
        if place is not None:
            self.go_to_place(place)
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

    def append_text(
        self, message_id: str, offset: int, text: str, tokens: int = 0, tok_s: float = 0.0, told: str = ""
    ) -> None:
        """More of a streaming answer: `text` begins at code point `offset`. Painted at most 25 times a second.

        `told` stands behind the rate.

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
        entry.figures = " · ".join(filter(None, (words.live_rate(tokens, tok_s), told)))
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

    def scroll_to_message(self, message_id: str) -> None:
        """Brings a message to the top of the view."""
        index = self._by_id.get(message_id)
        if index is not None:
            self._follow = False
            self._set_value(self._entries[index].top - metrics.l)
            self._build_visible()
            self._set_value(self._entries[index].top - metrics.l)

    def mark_words(self, message_id: str, words: Sequence[str]) -> None:
        """Marks words in one message, and takes all marks before away; ("", ()) only does that."""
        self._marked = (message_id, tuple(words))
        for entry in self._entries:
            if entry.item is not None:
                self._mark_item(entry)

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
    def _flush_entry(entry: Entry, now: float) -> None:
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
