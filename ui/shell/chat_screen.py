"""The chat: messages above, the composer below, both wired to the session."""

from __future__ import annotations

from msgspec import structs
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from backend.api.schemas import Message, TurnDelta
from ui.bridge.engine_link import EngineLink
from ui.chat import words
from ui.chat.composer import Composer, local_files
from ui.chat.conversation_view import ConversationView
from ui.chat.queue_bar import QueueBar
from ui.chat.search_marks import words_of
from ui.shell.attachments import ChatFiles
from ui.shell.chat_prompts import ChatPrompts
from ui.shell.next_questions import NextQuestions
from ui.theme import metrics, theme_changed
from ui.viewmodels.attaching import PendingFile
from ui.viewmodels.chat_session import ChatSession
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import error_words
from ui.widgets.announce import announce, spoken
from ui.widgets.dialogs import ConfirmDialog

__all__ = ["ChatScreen"]

#: Typing pauses for this long before what is typed is kept: a write costs the engine 0.1 ms.
_DRAFT_MS = 800


class ChatScreen(QWidget):
    """Shows the open conversation of a `ChatSession` and sends what is written."""

    def __init__(
        self, chat: ChatSession, link: EngineLink, models: ModelSession, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._chat = chat
        self._drafts: dict[str, str] = {}  # conversation id -> what was typed and not sent
        #: conversation id -> what is sent after the answer being written
        self._queues: dict[str, list[tuple[str, list[PendingFile]]]] = {}
        self._match = ("", "")  # a message that is to be shown when its conversation is, and the words to mark
        self._shown_id = ""
        self.view = ConversationView()
        self.composer = Composer()
        self.queue = QueueBar()
        self.files = ChatFiles(link, chat, models, self.composer, self.view, self)
        self.prompts = ChatPrompts(link, chat, self.composer, self)
        self.next_questions = NextQuestions(link, chat, self.composer, self)
        self.setAcceptDrops(True)
        self._given: dict[str, tuple[object, ...]] = {}  # message id -> what the view was given of it
        foot = QHBoxLayout()
        bar = self.view.scroll_area().verticalScrollBar().sizeHint().width()
        foot.setSpacing(0)
        foot.setContentsMargins(metrics.xl, metrics.xs, metrics.xl, metrics.s)
        foot.addStretch(1)
        write = QVBoxLayout()
        write.setSpacing(0)
        write.addWidget(self.queue)
        write.addWidget(self.next_questions.bar)
        write.addWidget(self.composer)
        foot.addLayout(write, 1000)
        foot.addStretch(1)
        foot.addSpacing(bar)  # in line with the text above, which has a scroll bar beside it
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.view, 1)
        column.addLayout(foot)

        self._draft_pause = QTimer(self)
        self._draft_pause.setSingleShot(True)
        self._draft_pause.setInterval(_DRAFT_MS)
        self._draft_pause.timeout.connect(self.keep_draft)
        self.composer.input.textChanged.connect(self._draft_pause.start)
        self.composer.send_requested.connect(self._send)
        self.composer.stop_requested.connect(chat.stop)
        self.composer.queue_requested.connect(self._enqueue)
        self.queue.edit_requested.connect(self._take_back)
        self.queue.remove_requested.connect(self._drop_queued)
        self.view.regenerate_requested.connect(chat.regenerate)
        self.view.edit_submitted.connect(chat.edit)
        self.view.branch_requested.connect(chat.step_branch)
        self.view.continue_requested.connect(chat.continue_answer)
        self.view.prompt_chosen.connect(self._take_prompt)
        self.view.reply_edited.connect(chat.edit_reply)
        self.view.delete_requested.connect(self._delete_turn)
        self.view.quote_requested.connect(self.quote)
        chat.created.connect(self._created)
        chat.opened.connect(self._opened)
        chat.branch_changed.connect(self._show_branch)
        chat.text_arrived.connect(self._text_arrived)
        chat.progress.connect(self.view.set_progress)
        chat.message_finished.connect(self._finished)
        chat.busy_changed.connect(self._busy_changed)
        chat.text_returned.connect(self._give_back)
        chat.vanished.connect(self._move_on)
        self.view.gap_found.connect(self._mend)
        theme_changed.connect(self._fit)
        self._fit()
        self._show_branch()

    def focus_composer(self) -> None:
        """Put the cursor where a message is typed."""
        self.composer.setFocus(Qt.FocusReason.ShortcutFocusReason)

    def edit_message(self, message_id: str) -> None:
        """Open a user's turn for editing."""
        self.view.scroll_to_message(message_id)
        item = self.view.item(message_id)
        if item is not None:
            item.start_edit()

    def keep_draft(self) -> None:
        """Keep what is typed with the conversation that it is typed for."""
        self._draft_pause.stop()
        if self._shown_id:
            self._chat.keep_draft(self._shown_id, self.composer.text())

    def keep_texts(self) -> str:
        """Before the window goes: all that was written and not sent becomes drafts. Gives that of the new chat."""
        self._draft_pause.stop()
        self._chat.take_back()
        texts = {**self._drafts, self._shown_id: self.composer.text()}
        for key, waiting in self._queues.items():
            known = self._chat.list.get(key)
            typed = texts.get(key, known.draft if known is not None else "")
            written = [text for text, _files in waiting]
            texts[key] = "\n\n".join([*written, typed] if typed.strip() else written)
            self.files.attaching.put_back(key, [file for _text, files in waiting for file in files])
        self._queues.clear()
        self._show_queue()
        if texts[self._shown_id] != self.composer.text():
            self.composer.set_text(texts[self._shown_id])
        for key, text in texts.items():
            if key != self._shown_id:
                self._drafts[key] = text
            if key:
                self._chat.keep_draft(key, text)
        return texts.get("", "")

    def show_match(self, message_id: str, query: str) -> None:
        """Bring a message that a search found into view, its words marked; ("", "") takes the marks away."""
        self._match = (message_id, query)
        self._try_match()

    def _try_match(self) -> None:
        message_id, query = self._match
        self.view.mark_words(message_id, words_of(query))
        if message_id and self._chat.show_message(message_id):
            self._match = ("", "")
            QTimer.singleShot(0, self, lambda: self.view.scroll_to_message(message_id))

    def _fit(self) -> None:
        self.composer.setMaximumWidth(metrics.measure_width())
        self.queue.setMaximumWidth(metrics.measure_width())
        self.next_questions.bar.setMaximumWidth(metrics.measure_width())

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if local_files(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        files = local_files(event.mimeData())
        if files:
            event.acceptProposedAction()
            self.files.attaching.add_paths(files)
            self.focus_composer()

    # Messages that wait for the answer

    def _enqueue(self, text: str) -> None:
        self._queues.setdefault(self._chat.open_id, []).append((text, self.files.attaching.take()))
        self.composer.clear()
        self._show_queue()

    def _take_back(self, place: int) -> None:
        waiting = self._queues.get(self._chat.open_id, [])
        if place < len(waiting):
            text, files = waiting.pop(place)
            self._give_back(text)
            self.files.attaching.give_back([file.held.id for file in files if file.held is not None])
            self._show_queue()
            self.focus_composer()

    def _drop_queued(self, place: int) -> None:
        waiting = self._queues.get(self._chat.open_id, [])
        if place < len(waiting):
            del waiting[place]
            self._show_queue()

    def _show_queue(self) -> None:
        waiting = self._queues.get(self._chat.open_id, [])
        self.queue.set_texts(
            [" ".join([*(f"[{file.name}]" for file in files), text]).strip() for text, files in waiting]
        )

    def _busy_changed(self, busy: bool) -> None:
        self.composer.set_busy(busy)
        if not busy:
            QTimer.singleShot(0, self, self._send_next)

    def _send_next(self) -> None:
        """Send what waits, after an answer that came to its end. After Stop or an error it waits to be looked at."""
        waiting = self._queues.get(self._chat.open_id)
        answer = self._chat.message("", "assistant")
        if waiting and not self._chat.busy and answer is not None and answer.status == "complete":
            text, files = waiting[0]
            if self._chat.send(text, [file.held for file in files if file.held is not None]):
                del waiting[0]
            self._show_queue()

    def _send(self, text: str) -> None:
        held = [file.held for file in self.files.attaching.files() if file.held is not None]
        if self._chat.send(text, held):
            self.files.attaching.take()
            self.composer.clear()

    def quote(self, text: str) -> None:
        """Put words in front of what is typed, as a quotation."""
        quoted = "\n".join(f"> {line}".rstrip() for line in text.strip("\n").split("\n"))
        typed = self.composer.text()
        before = f"{typed.rstrip()}\n\n" if typed.strip() else ""
        self.composer.set_text(f"{before}{quoted}\n\n")
        self.focus_composer()

    def _delete_turn(self, message_id: str) -> None:
        title = self.tr("Delete this question and its answer?")
        text = self.tr("They leave this conversation for good. What came after stays.")
        dialog = ConfirmDialog(self.window(), title, text, action=self.tr("Delete"))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self._chat.delete_turn(message_id))
        dialog.open()

    def _take_prompt(self, text: str) -> None:
        typed = self.composer.text()
        self.composer.set_text(f"{typed.rstrip()}\n\n{text}" if typed.strip() else text)
        self.focus_composer()

    def _give_back(self, text: str) -> None:
        typed = self.composer.text()
        if typed != text and not typed.startswith(f"{text}\n\n"):  # else it never left
            self.composer.set_text(f"{text}\n\n{typed}" if typed.strip() else text)

    def _created(self, conversation_id: str) -> None:
        """The new chat has become a conversation: what waits and what is typed in it stay in it."""
        if self._shown_id:
            return
        if waiting := self._queues.pop("", []):
            self._queues.setdefault(conversation_id, []).extend(waiting)
        self._shown_id = conversation_id
        self.files.attaching.chat_created(conversation_id)
        self._draft_pause.start()

    def _move_on(self) -> None:
        """The conversation is gone: what was typed and what waited go on in a new chat."""
        gone, typed = self._shown_id, self.composer.text()
        waited = [text for text, _files in self._queues.pop(gone, [])]
        self._chat.new_chat()
        self._drafts.pop(gone, None)
        texts = [text for text in (*waited, typed) if text.strip()]
        if texts:
            self._give_back("\n\n".join(texts))

    def _opened(self) -> None:
        typed = self.composer.text()
        if self._shown_id != self._chat.open_id:
            self._drafts[self._shown_id] = typed
            self.keep_draft()
            self._shown_id = self._chat.open_id
            self.files.attaching.show_chat(self._shown_id)
            draft = self._drafts.pop(self._shown_id, self._chat.conversation.draft)
            if draft != typed:
                self.composer.set_text(draft)
        self._given.clear()
        self._show_branch()
        self.composer.set_busy(self._chat.busy)
        self._show_queue()
        if self._match[0]:
            self._try_match()
        if not self._chat.busy:
            QTimer.singleShot(0, self, self._send_next)  # the answer may have ended while another chat was shown

    def _show_branch(self) -> None:
        """Give the view what has changed; all of it only when another branch is shown."""
        branch = [message for message in self._chat.branch() if message.role != "system"]
        self.composer.set_history([message.content for message in branch if message.role == "user"])
        siblings = self._chat.siblings()
        shown = self.view.message_ids()
        fresh = not self._given or shown != [message.id for message in branch[: len(shown)]]
        before, self._given = self._given, {message.id: self._digest(message) for message in branch}
        if fresh:
            self.view.set_branch([structs.replace(message) for message in branch], siblings, stay=bool(before))
            return
        for position, message in enumerate(branch):
            versions = siblings.get(message.id, (0, 1))
            # copies: the session goes on to write into its own
            if position >= len(shown):
                self.view.append_message(structs.replace(message), versions)
                continue
            if before.get(message.id) != self._given[message.id]:
                self.view.replace_message(structs.replace(message))
            self.view.set_versions(message.id, *versions)

    @staticmethod
    def _digest(message: Message) -> tuple[object, ...]:
        # the length of a streaming text is the view's own business: it arrives piece by piece
        length = -1 if message.status == "streaming" else len(message.content)
        return (message.status, length, message.stats, message.error, len(message.attachments))

    def _text_arrived(self, delta: TurnDelta) -> None:
        told = words.guesses(delta.passes, delta.drafted, delta.accepted, delta.speedup)
        self.view.append_text(delta.message_id, delta.offset, delta.text, delta.tokens, delta.tok_s, told)

    def _finished(self, message: Message) -> None:
        self._given[message.id] = self._digest(message)
        self.view.finish_message(structs.replace(message))
        error = message.error
        if error is not None:
            words = error_words(error)
            announce(self.view, words, urgent=True)
        else:
            announce(self.view, self.tr("Answer: {0}").format(spoken(message.content)))

    def _mend(self, message_id: str) -> None:
        message = self._chat.message(message_id, "assistant")
        if message is not None:
            self.view.replace_message(structs.replace(message))
