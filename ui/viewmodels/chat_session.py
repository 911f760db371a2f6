"""What the user does in the chat, as requests to the engine."""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from PySide6.QtCore import QObject, Signal

from backend.api.schemas import (
    ContextPolicy,
    Conversation,
    ConversationUpdate,
    ErrorInfo,
    Sampling,
    SearchHit,
)
from ui.bridge.engine_link import EngineLink
from ui.viewmodels.chat_turns import WAITING_ID, ChatTurns
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.organising import Organiser

__all__ = ["WAITING_ID", "ChatSession"]


class ChatSession(ChatTurns):
    """`ChatTurns` with what a person does to conversations: open, rename, find, set up, delete, bring back."""

    deleted = Signal(object)  # Conversation: it can be restored

    def __init__(self, link: EngineLink, models: ModelSession, parent: QObject | None = None) -> None:
        super().__init__(link, models, parent)
        self._search = ""
        self.list.rename_requested.connect(self.rename)
        self.organiser = Organiser(link, self.list, self)
        self.organiser.problem.connect(self.problem)

    # Conversations

    def new_chat(self) -> None:
        """Show an empty chat. It becomes a conversation with its first message."""
        self._return_waiting()
        self.state = None
        self.draft = Conversation(id="", context_policy=self.draft.context_policy)
        self._show()

    def open(self, conversation_id: str) -> None:
        """Show a conversation: at once when its state is at hand, else when it has been read."""
        if conversation_id == self.open_id:
            self._opening = ""
            return
        self._return_waiting()
        kept = self._kept.get(conversation_id)
        if kept is not None and conversation_id not in self._partial:
            self.state = kept
            self._show()
        else:
            self._opening = conversation_id
        if self._link.ready:  # else it is read when the engine is there
            self._read(conversation_id)

    def rename(self, conversation_id: str, title: str) -> None:
        """Give a conversation another title."""
        title = " ".join(title.split())
        if title and conversation_id:
            self._link.run(
                lambda engine: engine.update_conversation(conversation_id, ConversationUpdate(title=title)),
                success=self._conversation_changed,
                failure=self._not_changed,
            )

    def delete(self, conversation_id: str) -> None:
        """Put a conversation into the trash; `deleted` offers the way back."""

        def gone(conversation: Conversation) -> None:
            self._conversation_changed(conversation)
            self.list.remove(conversation.id)
            self.deleted.emit(conversation)

        if conversation_id:
            self._link.run(
                lambda engine: engine.delete_conversation(conversation_id), success=gone, failure=self.problem.emit
            )

    def restore(self, conversation_id: str) -> None:
        """Take a conversation out of the trash and show it."""

        def restored(conversation: Conversation) -> None:
            self._conversation_changed(conversation)
            self.open(conversation.id)

        self._link.run(
            lambda engine: engine.restore_conversation(conversation_id), success=restored, failure=self.problem.emit
        )

    def configure(
        self,
        *,
        system_prompt: str | UnsetType = UNSET,
        sampling: Sampling | UnsetType | None = UNSET,
        context_policy: ContextPolicy | UnsetType = UNSET,
    ) -> None:
        """Change how the open conversation (or the next new one) is answered, from the next turn on."""
        conversation = self.conversation
        if not isinstance(system_prompt, UnsetType):
            conversation.system_prompt = system_prompt
        if not isinstance(sampling, UnsetType):
            conversation.sampling = sampling
        if not isinstance(context_policy, UnsetType):
            conversation.context_policy = context_policy
        self._save(ConversationUpdate(system_prompt=system_prompt, sampling=sampling, context_policy=context_policy))

    def search(self, text: str) -> None:
        """Filter the list by titles at once, and by what the engine finds inside messages when it answers."""
        self._search = wanted = text.strip()
        self.list.set_filter(wanted)

        def found(hits: list[SearchHit]) -> None:
            if wanted == self._search:
                self.list.set_filter(wanted, hits)

        if len(wanted) >= 2 and self._link.ready:
            self._link.run(lambda engine: engine.search(wanted), success=found, quiet=True)

    def _not_changed(self, error: ErrorInfo) -> None:
        self.problem.emit(error)
        self.refresh_list()
