"""Keeps the conversations on screen in step with the engine: what it says, and what happens when it goes away."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from backend.api.schemas import (
    BackendStatus,
    Conversation,
    ConversationDetail,
    ErrorInfo,
    Message,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
)
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.conversation_list import ConversationListModel
from ui.viewmodels.conversation_state import ConversationState

__all__ = ["ChatFollower"]


class ChatFollower(QObject):
    """The list of conversations, the open one, and every one in which an answer is being written.

    Their states are followed also while another conversation is shown, so that opening one again shows it at once.
    """

    opened = Signal()  # another conversation, or a new chat, is shown
    created = Signal(str)  # the new chat that is shown has become this conversation; `opened` follows
    branch_changed = Signal()  # messages of the open conversation came, went or changed places
    text_arrived = Signal(object)  # TurnDelta of the open conversation
    progress = Signal(str, int, int)  # message id, tokens read, tokens in all (0: waiting its turn)
    message_finished = Signal(object)  # Message of the open conversation
    busy_changed = Signal(bool)  # an answer is being written in the open conversation, or waits to be
    details_changed = Signal()  # title, system prompt, sampling or policy of the open conversation
    vanished = Signal()  # the open conversation was removed for good, elsewhere or with the trash
    problem = Signal(object)  # ErrorInfo
    interrupted = Signal(str)  # message id: the engine died while writing it

    def __init__(self, link: EngineLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self.list = ConversationListModel(self)
        self.state: ConversationState | None = None
        self._kept: dict[str, ConversationState] = {}
        self._partial: set[str] = set()  # kept, but older messages have not been read
        self._live: dict[str, str] = {}  # message id -> conversation id
        self._over: set[str] = set()  # answers that ended, perhaps before their request returned
        self._sending: str | None = None  # conversation for which a turn is being asked, "" for a new one
        self._busy = False
        self._opening = ""
        self._reading: set[str] = set()
        self._again: set[str] = set()  # of these, asked for once more: what is on its way may be older than a change
        link.attached.connect(self._attached)
        link.state_changed.connect(self._link_changed)
        link.turn_started.connect(self._turn_started)
        link.turn_progress.connect(self._turn_progress)
        link.text_arrived.connect(self._text_arrived)
        link.turn_ended.connect(self._turn_ended)
        link.conversation_changed.connect(self._conversation_changed)

    @property
    def open_id(self) -> str:
        """The open conversation, "" in a new chat."""
        return self.state.id if self.state is not None else ""

    @property
    def streaming_id(self) -> str | None:
        """The message that is being written in the open conversation."""
        answer = self.state.streaming() if self.state is not None else None
        return answer.id if answer is not None else None

    @property
    def busy(self) -> bool:
        """Whether an answer is being written or waited for in the open conversation."""
        return self._sending == self.open_id or self.streaming_id is not None

    @property
    def live_conversations(self) -> set[str]:
        """Conversations in which an answer is being written."""
        return set(self._live.values())

    def refresh_list(self) -> None:
        """Read the conversations again."""
        self._link.run(
            lambda engine: engine.conversations(), success=self.list.set_conversations, failure=self.problem.emit
        )

    def read_again(self, conversation_id: str) -> None:
        """Read a conversation that was changed elsewhere, if it is at hand here."""
        if conversation_id in self._kept:
            self._read(conversation_id)

    # Reading one conversation

    def _read(self, conversation_id: str) -> None:
        """Ask for a conversation, once at a time."""
        if conversation_id in self._reading:
            self._again.add(conversation_id)
            return
        self._reading.add(conversation_id)

        def failed(error: ErrorInfo) -> None:
            self._reading.discard(conversation_id)
            self._again.discard(conversation_id)
            if self._opening == conversation_id:
                self._opening = ""
                self._cannot_open(conversation_id, error)
            elif error.code == "not_found" and conversation_id == self.open_id:
                self.list.remove(conversation_id)
                self.vanished.emit()

        self._link.run(lambda engine: engine.conversation(conversation_id), success=self._have_read, failure=failed)

    def _cannot_open(self, conversation_id: str, error: ErrorInfo) -> None:
        if error.code == "not_found":
            self.list.remove(conversation_id)
        self.problem.emit(error)

    def _have_read(self, detail: ConversationDetail) -> None:
        conversation_id = detail.conversation.id
        self._reading.discard(conversation_id)
        if conversation_id in self._again:
            self._again.discard(conversation_id)
            self._read(conversation_id)
        if any(message.status == "streaming" and message.id in self._over for message in detail.messages):
            self._read(conversation_id)  # its end was told while this was on its way
            return
        self._partial.discard(conversation_id)
        state = self._kept.get(conversation_id)
        if state is None:
            state = ConversationState(detail.conversation, detail.messages)
        else:
            state.refresh(detail)
        for message in detail.messages:
            if message.status == "streaming":
                self._live[message.id] = conversation_id
            else:
                self._live.pop(message.id, None)
        wanted = self._opening == conversation_id or self.open_id == conversation_id
        self._mark_live()
        if not wanted:
            return
        self._kept[conversation_id] = state
        if state is self.state:
            self.branch_changed.emit()
            self.details_changed.emit()
            self._update_busy()
        else:
            self.state = state
            self._show()

    def _have_created(self, conversation: Conversation) -> None:
        """Show a conversation that was made a moment ago and has no messages yet."""
        self.state = self._kept[conversation.id] = ConversationState(conversation)
        self.created.emit(conversation.id)
        self._show()

    def _show(self) -> None:
        """Tell the views that another conversation is open, and forget states that nothing needs."""
        self._opening = ""
        needed = self.live_conversations | {self.open_id}
        for key in set(self._kept) - needed:
            del self._kept[key]
        self.opened.emit()
        self._update_busy()

    # Events of answers

    def _turn_started(self, event: TurnStarted) -> None:
        self._over.discard(event.assistant.id)
        self._put_turn(event.conversation_id, event.user, event.assistant)

    def _put_turn(self, conversation_id: str, user: Message | None, assistant: Message) -> None:
        """Take in a turn's two messages; they come with the event and again with the request's answer."""
        if assistant.id in self._over:
            return
        self._live[assistant.id] = conversation_id
        self._mark_live()
        state = self._kept.get(conversation_id)
        if state is None:
            state = ConversationState(self.list.get(conversation_id) or Conversation(id=conversation_id))
            self._kept[conversation_id] = state
            self._partial.add(conversation_id)
        if user is not None:
            state.put(user)
        known = state.get(assistant.id)
        if known is not None and known.status == "streaming" and len(known.content) >= len(assistant.content):
            assistant = known
        state.put(assistant)
        state.show(assistant.id)
        if state is self.state:
            self.branch_changed.emit()
            self._update_busy()

    def _turn_progress(self, event: TurnProgress) -> None:
        if event.conversation_id == self.open_id:
            self.progress.emit(event.message_id, event.done, event.total)

    def _text_arrived(self, delta: TurnDelta) -> None:
        state = self._kept.get(delta.conversation_id)
        if state is None or delta.message_id in self._over:
            return
        if not state.extend(delta):
            self._read(delta.conversation_id)  # something was missed: the store knows it
        elif state is self.state:
            self.text_arrived.emit(delta)

    def _turn_ended(self, event: TurnEnded) -> None:
        message = event.message
        self._over.add(message.id)
        self._live.pop(message.id, None)
        self._mark_live()
        state = self._kept.get(event.conversation_id)
        if state is None:
            return
        state.put(message)
        if state is self.state:
            self.message_finished.emit(message)
            self._update_busy()
        elif event.conversation_id not in self.live_conversations:
            del self._kept[event.conversation_id]
            self._partial.discard(event.conversation_id)

    # Events of conversations and of the engine itself

    def _conversation_changed(self, conversation: Conversation) -> None:
        self.list.put(conversation)
        state = self._kept.get(conversation.id)
        if state is None:
            return
        if conversation.deleted_at is not None:
            self._kept.pop(conversation.id)
            if state is self.state:
                self.state = None
                self._show()
            return
        head = state.head_id
        state.conversation = conversation
        if state.head_id != head and conversation.head_id is not None and state.get(conversation.head_id) is None:
            state.show(head or conversation.head_id)  # it speaks of a message that has not reached us yet
        if state is self.state:
            self.details_changed.emit()
            if state.head_id != head:
                self.branch_changed.emit()

    def _attached(self, _status: BackendStatus) -> None:
        self.refresh_list()
        self._reading.clear()
        self._again.clear()
        self._over.clear()
        for conversation_id in {*self._kept, *([self._opening] if self._opening else [])}:
            self._read(conversation_id)

    def _link_changed(self, _state: str, _sentence: str) -> None:
        if self._link.alive:
            return
        self._reading.clear()
        self._again.clear()
        self._live.clear()
        for state in self._kept.values():
            hit = state.interrupt()
            if state is self.state and hit:
                self.branch_changed.emit()
                self.interrupted.emit(hit[-1].id)
        self._mark_live()
        self._update_busy()

    def _mark_live(self) -> None:
        self.list.set_streaming(self.live_conversations)

    def _update_busy(self) -> None:
        if self.busy != self._busy:
            self._busy = self.busy
            self.busy_changed.emit(self._busy)
