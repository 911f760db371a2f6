"""Asking and answering: what the user sends, takes back, asks again, and what waits for the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from PySide6.QtCore import QObject, Signal

from backend.api.schemas import (
    Attachment,
    Conversation,
    ConversationUpdate,
    ErrorInfo,
    HeldFile,
    Message,
    NewConversation,
    StartTurn,
    TurnTicket,
)
from ui.bridge.engine_client import EngineClient
from ui.bridge.engine_link import EngineLink
from ui.bridge.operation import Operation
from ui.viewmodels.chat_follower import ChatFollower
from ui.viewmodels.model_session import ModelSession
from ui.viewmodels.words import title_from

__all__ = ["WAITING_ID", "ChatTurns"]

#: id of the user's message that is shown while the engine or the model is still on its way
WAITING_ID = "waiting"


class ChatTurns(ChatFollower):
    """`ChatFollower` with the turns: write, stop, ask again, go on, step through versions."""

    about_to_ask = Signal()  # last chance to `configure` before a turn is asked for
    mended = Signal(str)  # conversation id: messages were changed or taken out; the engine tells this to nobody
    text_returned = Signal(str)  # a message that was not sent after all; it belongs back in the composer
    files_returned = Signal(list)  # ids of the held files of such a message

    def __init__(self, link: EngineLink, models: ModelSession, parent: QObject | None = None) -> None:
        super().__init__(link, parent)
        self._models = models
        #: what a new chat starts with
        self.draft = Conversation(id="")
        self._waiting: Message | None = None
        self._waiting_files: list[HeldFile] = []
        self._held: tuple[str, StartTurn] | None = None  # another turn that waits: in which conversation, and what
        self._saving: Operation[Conversation] | None = None
        models.changed.connect(self._models_changed)

    # What is shown

    @property
    def conversation(self) -> Conversation:
        """The open conversation, or the draft of a new one (its id is empty)."""
        return self.state.conversation if self.state is not None else self.draft

    @property
    def busy(self) -> bool:
        """As `ChatFollower.busy`, or while a message waits for the engine."""
        return super().busy or self.waiting

    @property
    def waiting(self) -> bool:
        """Whether a turn waits for the engine or the model."""
        return self._waiting is not None or (self._held is not None and self._held[0] == self.open_id)

    def branch(self) -> list[Message]:
        """The messages to show."""
        shown = self.state.branch() if self.state is not None else []
        return [*shown, self._waiting] if self._waiting is not None else shown

    def siblings(self) -> dict[str, tuple[int, int]]:
        """Message id -> (index from 0, count)."""
        return self.state.siblings() if self.state is not None else {}

    # Turns

    def send(self, text: str, files: Sequence[HeldFile] = ()) -> bool:
        """Send what the user wrote; while the engine or the model is on its way it is shown and sent afterwards.

        False: it was not taken, and belongs into the composer still. A text that was taken and could not be sent
        after all comes back with `text_returned`, and its files with `files_returned`.
        """
        if not (text.strip() or files) or self.busy:
            return False
        if self._models.can_answer:
            head = self.state.head_id if self.state is not None else None
            return self._start(StartTurn(parent_id=head, text=text, files=[file.id for file in files]))
        if self._models.will_answer:
            self._opening = ""  # it was written into what is shown, so that stays
            self._waiting = Message(
                id=WAITING_ID,
                conversation_id=self.open_id,
                parent_id=self.state.head_id if self.state is not None else None,
                role="user",
                content=text,
                created_at=time.time(),
                attachments=[
                    Attachment(id=file.id, message_id=WAITING_ID, name=file.name, mime=file.mime, size=file.size)
                    for file in files
                ],
            )
            self._waiting_files = list(files)
            self.branch_changed.emit()
            self._update_busy()
            return True
        self.problem.emit(self._no_model())
        return False

    def stop(self) -> None:
        """Stop the answer, keeping its text; or take back a message that still waits to be sent."""
        message_id = self.streaming_id
        if self.waiting:
            self._return_waiting()
            self.branch_changed.emit()
            self._update_busy()
        elif message_id is not None:
            self._link.run(lambda engine: engine.cancel_message(message_id), failure=self.problem.emit)

    def take_back(self) -> None:
        """Take back a message that still waits to be sent, if one does."""
        if self.waiting:
            self.stop()

    def regenerate(self, message_id: str = "") -> None:
        """Another answer beside the given one (default: the last)."""
        answer = self.message(message_id, "assistant")
        if answer is not None and answer.parent_id is not None:
            self._start(StartTurn(parent_id=answer.parent_id))

    def edit(self, message_id: str, text: str) -> None:
        """Ask again with other words: a new branch beside the edited message."""
        message = self.message(message_id, "user")
        if not text.strip():
            return
        files_of = message.id if message is not None and message.attachments else None
        if message is None or not self._start(StartTurn(parent_id=message.parent_id, text=text, files_of=files_of)):
            self.text_returned.emit(text)

    def edit_reply(self, message_id: str, text: str) -> None:
        """Keep an answer in other words, as another version of it; where it cannot be kept, the words come back."""
        message = self.message(message_id, "assistant")
        if message is not None and text.strip():
            self._mend(message.conversation_id, lambda engine: engine.add_version(message.id, text), text)
        elif text.strip():
            self.text_returned.emit(text)

    def delete_turn(self, message_id: str) -> None:
        """Take a question and its answers out of the conversation, or one of several answers."""
        message = self.state.get(message_id) if self.state is not None else None
        if message is not None and not self.busy:
            self._mend(message.conversation_id, lambda engine: engine.delete_turn(message.id))

    def _mend(
        self, conversation_id: str, request: Callable[[EngineClient], Coroutine[Any, Any, object]], text: str = ""
    ) -> None:
        def failed(error: ErrorInfo) -> None:
            if text:
                self.text_returned.emit(text)
            self.problem.emit(error)

        def done(_made: object) -> None:
            self._read(conversation_id)
            self.mended.emit(conversation_id)

        self._link.run(request, success=done, failure=failed)

    def continue_answer(self, message_id: str = "") -> None:
        """Go on with an answer that was stopped, cut off or interrupted."""
        message = self.message(message_id, "assistant")
        if message is not None:
            self._start(StartTurn(continue_id=message.id))

    def step_branch(self, message_id: str, step: int) -> None:
        """Show the next (+1) or previous (-1) version of a message."""
        if self.state is None or self.busy:
            return
        leaf = self.state.sibling_leaf(message_id, step)
        if leaf is not None:
            self.state.show(leaf)
            self.branch_changed.emit()
            self._save(ConversationUpdate(head_id=leaf))

    def show_message(self, message_id: str) -> bool:
        """Show the branch that a message of the open conversation is on; False where it is not in it."""
        if self.state is None or self.state.get(message_id) is None:
            return False
        if all(one.id != message_id for one in self.state.branch()) and not self.busy:
            self.state.show(self.state.leaf_of(message_id))
            self.branch_changed.emit()
            self._save(ConversationUpdate(head_id=self.state.head_id))
        return True

    def keep_draft(self, conversation_id: str, text: str) -> None:
        """Keep what is typed and not sent with its conversation, so that it survives the program."""
        known = self.list.get(conversation_id)
        if known is not None and known.draft != text and self._link.ready:
            known.draft = text
            self._link.run(
                lambda engine: engine.update_conversation(conversation_id, ConversationUpdate(draft=text)), quiet=True
            )

    def message(self, message_id: str, role: str) -> Message | None:
        """The message of that id, or ("") the last one of that role in the branch."""
        if self.state is None:
            return None
        return self.state.get(message_id) if message_id else self.state.last(role)

    def _start(self, turn: StartTurn) -> bool:
        """Ask for a turn; a conversation is made first where there is none. False: another one comes first."""
        text = turn.text or ""
        if self._sending is not None or self.busy:
            return False
        self.about_to_ask.emit()
        if not self._models.can_answer and self._models.will_answer:
            self._opening = ""
            self._held = (self.open_id, turn)
            self._update_busy()
            return True
        if not self._models.can_answer:
            self._return(text, turn.files)
            self.problem.emit(self._no_model())
            return True
        self._sending = self.open_id
        self._update_busy()
        if self.state is not None:
            self._ask(self.state.id, turn)
        else:
            self._create(turn)
        return True

    def _create(self, turn: StartTurn) -> None:
        draft = self.draft
        text = turn.text or ""

        def configured(conversation: Conversation) -> None:
            self._conversation_changed(conversation)
            self._ask(conversation.id, turn)

        def created(conversation: Conversation) -> None:
            self._sending = conversation.id
            self.list.put(conversation)
            if self.draft is draft and self.state is None:
                self._have_created(conversation)
            wanted = (draft.system_prompt, draft.sampling, draft.context_policy)
            if wanted == (conversation.system_prompt, conversation.sampling, conversation.context_policy):
                self._ask(conversation.id, turn)
                return
            update = ConversationUpdate(
                system_prompt=draft.system_prompt, sampling=draft.sampling, context_policy=draft.context_policy
            )
            self._link.run(
                lambda engine: engine.update_conversation(conversation.id, update),
                success=configured,
                failure=lambda error: self._not_sent(error, turn),
            )

        new = NewConversation(title=title_from(text), system_prompt=draft.system_prompt, preset_id=draft.preset_id)
        self._link.run(
            lambda engine: engine.create_conversation(new),
            success=created,
            failure=lambda error: self._not_sent(error, turn),
        )

    def _ask(self, conversation_id: str, turn: StartTurn) -> None:
        def accepted(ticket: TurnTicket) -> None:
            self._sending = None
            self._put_turn(conversation_id, ticket.user, ticket.assistant)
            self._update_busy()

        async def ask(engine: EngineClient) -> TurnTicket:
            saving = self._saving
            if saving is not None and not saving.done:  # what was changed counts for this turn already
                await asyncio.wait([saving.task])
            return await engine.start_turn(conversation_id, turn)

        self._link.run(
            ask,
            success=accepted,
            failure=lambda error: self._not_sent(error, turn),
        )

    def _not_sent(self, error: ErrorInfo, turn: StartTurn) -> None:
        self._sending = None
        self._return(turn.text or "", turn.files)
        self._update_busy()
        self.problem.emit(error)

    # Waiting for the engine

    def _models_changed(self) -> None:
        if not self.waiting:
            return
        if self._models.can_answer:
            held, self._held = self._held, None
            if self._waiting is not None:
                text, self._waiting = self._waiting.content, None
                files, self._waiting_files = self._waiting_files, []
                self.branch_changed.emit()
                self.send(text, files)
            elif held is not None:
                self._start(held[1])
            self._update_busy()
        elif not self._models.can_answer and not self._models.will_answer:
            self._return_waiting()
            self.branch_changed.emit()
            self._update_busy()
            if self._link.ready:
                self.problem.emit(self._no_model())

    def _return_waiting(self) -> None:
        """Take back what waits; its text goes to the composer."""
        text = self._waiting.content if self._waiting is not None else self._held[1].text if self._held else ""
        files = [file.id for file in self._waiting_files] or (self._held[1].files if self._held is not None else [])
        self._waiting = self._held = None
        self._waiting_files = []
        self._return(text, files)

    def _return(self, text: str | None, files: Sequence[str]) -> None:
        if text:
            self.text_returned.emit(text)
        if files:
            self.files_returned.emit(list(files))

    def _show(self) -> None:
        """What waits in the conversation that was shown until now does not come along."""
        if any(meant != self.open_id for meant in self._waits_in()):
            self._return_waiting()
        super()._show()

    def _waits_in(self) -> list[str]:
        waiting = [self._waiting.conversation_id] if self._waiting is not None else []
        return waiting + ([self._held[0]] if self._held is not None else [])

    # Small helpers

    def _save(self, update: ConversationUpdate) -> None:
        conversation_id = self.open_id
        if conversation_id:
            before = self._saving

            async def save(engine: EngineClient) -> Conversation:
                if before is not None and not before.done:  # changes arrive in the order in which they were made
                    await asyncio.wait([before.task])
                return await engine.update_conversation(conversation_id, update)

            self._saving = self._link.run(save, failure=self.problem.emit)

    def _no_model(self) -> ErrorInfo:
        if not self._link.ready:
            return ErrorInfo(code="engine_unavailable", what=self.tr("The engine is not running."))
        return ErrorInfo(
            code="no_model",
            what=self.tr("No model is loaded."),
            remedy=self.tr("Choose one from the model menu at the top."),
        )
