"""Turns: from a user's text to a stored answer.

An answer is written to the store before anybody hears of it, so that what was on a screen is on the disk too. It runs
on its own task, whoever listens; one turn at a time per conversation, and the engine takes them in order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from backend.api.errors import ConflictError, ContextOverflowError, InvalidRequestError, NutshellError
from backend.api.schemas import (
    Completion,
    ContextCut,
    Conversation,
    ConversationChanged,
    ConversationUpdate,
    ErrorInfo,
    Event,
    LoadedModel,
    Message,
    MessageStatus,
    Sampling,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
    TurnStats,
    TurnTicket,
)
from backend.api.thinking import split_thought, without_thought
from backend.attachments.frame import framed
from backend.attachments.held import HeldFiles
from backend.chat.context import answer_reserve, fit
from backend.chat.follow_ups import FollowUps
from backend.chat.templates import ChatMessage, ChatTemplate, TemplateSandbox, template_for
from backend.engine.grammar import from_response_format
from backend.engine.model import Model
from backend.engine.worker import Engine, Generation, GenerationDone, PrefillProgress, TextChunk
from backend.storage.attachments import StoredFile, copying
from backend.storage.store import Store

__all__ = ["Chat", "ChatMessage"]

_log = logging.getLogger(__name__)
_TITLE_LENGTH = 60
#: An answer that outgrew the window this often has no end; three windows are a long story.
_MOST_REFITS = 3


@dataclass
class _Turn:
    """A running turn."""

    conversation: Conversation
    branch: list[Message]  # root to the user message
    answer: Message
    sampling: Sampling
    grammar: str | None
    text: str = ""  # of the answer so far, what was there before a `continue` included
    thinking: bool | None = None  # None: not known yet; False: it does not think aloud, or has ended to
    thinking_since: float = 0.0
    thinking_s: float = 0.0
    tokens: int = 0
    stats: TurnStats = field(default_factory=TurnStats)
    cut: ContextCut | None = None
    generation: Generation | None = None
    cancelled: bool = False
    asked: dict[str, str] = field(default_factory=dict)  # user message -> its text with its files, where it has some


class Chat:
    """Runs turns. `publish` is called on the event loop with every event."""

    def __init__(self, store: Store, engine: Engine, publish: Callable[[Event], None]) -> None:
        self._store = store
        self._engine = engine
        self._publish = publish
        self._sandbox = TemplateSandbox()
        self._template: tuple[Model, ChatTemplate] | None = None
        self._turns: dict[str, _Turn] = {}  # by answer id
        #: what is attached to messages that are not sent yet
        self.files = HeldFiles(engine.count_tokens, self._model_key)
        self._tasks: set[asyncio.Task[None]] = set()
        self._follow_ups = FollowUps(engine, self._continued, self.template_stop)

    async def follow_ups(self, conversation_id: str) -> list[str]:
        """What could be asked next in a conversation; empty where nothing comes of it. See `FollowUps`.

        Raises:
            NotFoundError: there is no such conversation.
        """
        head = self._store.conversation(conversation_id).head_id
        return await self._follow_ups.suggest(self._store.branch(head)) if head is not None else []

    def end_follow_ups(self) -> None:
        """Somebody types: suggestions come too late."""
        self._follow_ups.cancel()

    async def start_turn(self, conversation_id: str, request: StartTurn) -> TurnTicket:
        """Stores the messages and starts the answer; its text follows as events.

        Raises:
            NotFoundError, ConflictError (no model, or an answer is being written here), InvalidRequestError.
        """
        conversation = self._store.conversation(conversation_id)
        model = self._engine.model()
        if any(turn.conversation.id == conversation_id for turn in self._turns.values()):
            raise ConflictError(
                "An answer is being written in this conversation.", remedy="Wait for it, or stop it first."
            )
        grammar = from_response_format(request.response_format)
        sampling = request.sampling or conversation.sampling or self._default_sampling()
        user, answer = self._store_messages(conversation, request, model)
        branch = [m for m in self._store.branch(answer.id)[:-1] if m.role != "system"]
        turn = _Turn(conversation, branch, answer, sampling, grammar, text=answer.content)
        self._turns[answer.id] = turn
        self._announce(conversation, user, answer)
        task = asyncio.create_task(self._run(turn), name=f"turn {answer.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return TurnTicket(user=user, assistant=answer)

    def cancel(self, message_id: str) -> bool:
        """Stops an answer; False if it is not being written."""
        turn = self._turns.get(message_id)
        if turn is None:
            return False
        turn.cancelled = True
        if turn.generation is not None:
            turn.generation.cancel()
        return True

    def cancel_all(self) -> bool:
        """Stops every answer; False where none is being written."""
        stopped = [self.cancel(message_id) for message_id in list(self._turns)]
        return any(stopped)

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """The prompt for a list of messages under the loaded model's template.

        Raises:
            NoModelError: none is loaded. TemplateError: the template does not accept these messages.
        """
        template = await self._current_template()
        return await template.render(self._sandbox, messages)

    async def template_stop(self) -> tuple[str, ...]:
        """Strings that end an answer under the current template, besides the model's end tokens."""
        return (await self._current_template()).stop

    async def adopt_model(self) -> LoadedModel:
        """To be called after a model was loaded: tries its template; returns `LoadedModel` with the notice set."""
        template = await self._current_template()
        loaded = self._engine.loaded
        assert loaded is not None
        loaded.template_notice = template.notice
        return loaded

    async def close(self) -> None:
        """Stops every answer, stores what there is, ends the template process."""
        self.cancel_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self._sandbox.close()

    # -- one turn ------------------------------------------------------------------------------------------------------

    def _store_messages(
        self, conversation: Conversation, request: StartTurn, model: Model
    ) -> tuple[Message | None, Message]:
        store, name = self._store, self._engine.loaded.entry.id if self._engine.loaded else model.info.name
        if request.continue_id is not None:
            answer = store.message(request.continue_id)
            if answer.role != "assistant" or answer.conversation_id != conversation.id:
                raise InvalidRequestError("Only an answer of this conversation can be continued.")
            return None, store.reopen_message(answer.id)
        user = None
        parent_id = request.parent_id
        if request.text is not None:
            also = None
            if request.files or request.files_of is not None:
                files = [StoredFile(*file) for file in self.files.take(request.files)]
                also = copying(files, request.files_of)
            if not request.text.strip() and not request.files:
                raise InvalidRequestError("The message is empty.", remedy="Write something first.")
            user = store.add_message(conversation.id, parent_id, "user", request.text, also=also)
            for held_id in request.files:
                self.files.drop(held_id)
            parent_id = user.id
        elif parent_id is None or store.message(parent_id).role != "user":
            raise InvalidRequestError("An answer needs a user message to answer.")
        return user, store.add_message(conversation.id, parent_id, "assistant", "", status="streaming", model=name)

    def _announce(self, conversation: Conversation, user: Message | None, answer: Message) -> None:
        if not conversation.title and user is not None:
            title = " ".join(user.content.split()) or ", ".join(file.name for file in user.attachments)
            if len(title) > _TITLE_LENGTH:
                title = title[:_TITLE_LENGTH].rsplit(" ", 1)[0] + "…"
            self._store.update_conversation(conversation.id, ConversationUpdate(title=title))
        self._publish(TurnStarted(conversation_id=conversation.id, user=user, assistant=answer))
        self._publish(ConversationChanged(conversation=self._store.conversation(conversation.id)))

    async def _run(self, turn: _Turn) -> None:
        status: MessageStatus = "failed"
        error: ErrorInfo | None = None
        loaded = self._engine.loaded
        try:
            if self._engine.busy or len(self._turns) > 1:
                self._publish(self._progress(turn, 0, 0))
            await self._answer(turn)
            status = "stopped" if turn.stats.finish_reason == "cancelled" else "complete"
        except NutshellError as problem:
            error = ErrorInfo.of(problem)
        except Exception as problem:  # noqa: BLE001 - one turn fails, the process lives
            _log.exception("a turn failed")
            error = ErrorInfo(code="internal_error", what="The answer failed.", details=repr(problem))
        self._turns.pop(turn.answer.id, None)
        stats = msgspec.structs.replace(
            turn.stats, cut=turn.cut, thinking_s=round(turn.thinking_s, 2), sampling=turn.sampling
        )
        if loaded is not None:
            stats = msgspec.structs.replace(
                stats, threads=loaded.n_threads, gpu_layers=max(loaded.n_gpu_layers, 0), kv=loaded.kv
            )
        try:
            message = self._store.finish_message(turn.answer.id, status=status, stats=stats, error=error)
            self._publish(TurnEnded(conversation_id=turn.conversation.id, message=message))
            self._publish(ConversationChanged(conversation=self._store.conversation(turn.conversation.id)))
        except NutshellError as problem:  # the disk is full, say: the window still gets the text and the reason
            answer = msgspec.structs.replace(
                turn.answer, content=turn.text, status="failed", stats=stats, error=error or ErrorInfo.of(problem)
            )
            self._publish(TurnEnded(conversation_id=turn.conversation.id, message=answer))

    async def _answer(self, turn: _Turn) -> None:
        """Generates until the answer ends; when the window is full, cuts again and goes on if the policy says so."""
        for attempt in range(_MOST_REFITS + 1):
            prompt = await self._prompt(turn)
            if turn.cancelled:
                turn.stats = msgspec.structs.replace(turn.stats, finish_reason="cancelled")
                return
            await self._stream(turn, prompt, first=attempt == 0)
            full = turn.stats.finish_reason == "context_full"
            if not full or turn.conversation.context_policy == "stop" or attempt == _MOST_REFITS:
                return
            try:
                await self._prompt(turn)
            except ContextOverflowError:
                return  # nothing is left that could be dropped: the answer ends here, and says why

    async def _prompt(self, turn: _Turn) -> str:
        template = await self._current_template()
        system = turn.conversation.system_prompt.strip()
        head = [ChatMessage("system", system)] if system else []
        asked = turn.asked
        for m in turn.branch:
            if m.attachments and m.id not in asked:
                asked[m.id] = framed(await asyncio.to_thread(self._store.attachments, m.id), m.content)

        async def render(messages: Sequence[Message]) -> str:
            # A thought is not sent back: templates of models that think leave it out themselves, others would show it.
            shown = head + [
                ChatMessage(m.role, without_thought(m.content) if m.role == "assistant" else asked.get(m.id, m.content))
                for m in messages
            ]
            return await template.render(self._sandbox, shown) + turn.text

        async def measure(messages: Sequence[Message]) -> int:
            return await self._engine.count_tokens(await render(messages))

        n_ctx = self._engine.model().info.n_ctx
        previous = turn.cut or next((m.stats.cut for m in reversed(turn.branch) if m.stats), None)
        kept, turn.cut = await fit(
            turn.branch,
            policy=turn.conversation.context_policy,
            room=n_ctx - answer_reserve(n_ctx, turn.sampling.max_tokens),
            measure=measure,
            previous=previous,
        )
        return await render(kept)

    async def _stream(self, turn: _Turn, prompt: str, *, first: bool) -> None:
        stop = [*turn.sampling.stop, *await self.template_stop()]
        sampling = msgspec.structs.replace(turn.sampling, stop=stop)
        if sampling.max_tokens is not None:
            sampling = msgspec.structs.replace(sampling, max_tokens=max(sampling.max_tokens - turn.tokens, 1))
        before = turn.tokens
        turn.generation = self._engine.generate(
            Completion(prompt=prompt, sampling=sampling, grammar=turn.grammar if first else None)
        )
        if turn.cancelled:
            turn.generation.cancel()
        async for item in turn.generation:
            if isinstance(item, TextChunk):
                turn.tokens = before + item.tokens
                self._store_text(turn, item)
            elif isinstance(item, PrefillProgress):
                self._publish(self._progress(turn, item.done, item.total))
            elif isinstance(item, GenerationDone):
                turn.tokens = before + item.stats.completion_tokens
                turn.stats = item.stats if first else _joined(turn.stats, item.stats)

    def _store_text(self, turn: _Turn, chunk: TextChunk) -> None:
        if not chunk.text:
            return
        try:
            self._store.append_text(turn.answer.id, chunk.text)
        except NutshellError:
            assert turn.generation is not None
            turn.generation.cancel()
            raise
        offset = len(turn.text)
        turn.text += chunk.text
        _time_thought(turn)
        self._publish(
            TurnDelta(
                conversation_id=turn.conversation.id,
                message_id=turn.answer.id,
                offset=offset,
                text=chunk.text,
                tokens=turn.tokens,
                tok_s=chunk.tok_s,
                passes=chunk.drafts.passes,
                drafted=chunk.drafts.drafted,
                accepted=chunk.drafts.accepted,
                speedup=chunk.drafts.speedup,
            )
        )

    def _progress(self, turn: _Turn, done: int, total: int) -> TurnProgress:
        return TurnProgress(conversation_id=turn.conversation.id, message_id=turn.answer.id, done=done, total=total)

    async def _continued(self, branch: Sequence[Message], wish: str) -> str:
        """The prompt for one more wish at the end of a branch."""
        conversation = self._store.conversation(branch[-1].conversation_id)
        spoken = [message for message in branch if message.role != "system"]
        asked = Message(id="", conversation_id=conversation.id, parent_id=branch[-1].id, role="user", content=wish)
        turn = _Turn(conversation, [*spoken, asked], branch[-1], Sampling(), None)
        return await self._prompt(turn)

    async def _current_template(self) -> ChatTemplate:
        model = self._engine.model()
        if self._template is None or self._template[0] is not model:
            self._template = (model, await template_for(model, self._sandbox))
        return self._template[1]

    def _model_key(self) -> str:
        return self._engine.loaded.entry.id if self._engine.loaded is not None else ""

    def _default_sampling(self) -> Sampling:
        loaded = self._engine.loaded
        return loaded.sampling if loaded is not None else Sampling()


def _time_thought(turn: _Turn) -> None:
    """Takes the time from the first text of a thought to its end; once that is known, it costs nothing."""
    if turn.thinking is False:
        return
    now = time.monotonic()
    turn.thinking_since = turn.thinking_since or now
    parts = split_thought(turn.text, streaming=True)
    if parts.thought is not None:
        turn.thinking_s = now - turn.thinking_since
        turn.thinking = not parts.closed
    elif parts.answer:
        turn.thinking = False


def _joined(first: TurnStats, then: TurnStats) -> TurnStats:
    """The stats of an answer that went on after the context was cut again."""
    tokens = first.completion_tokens + then.completion_tokens
    decode_s = sum((s.completion_tokens - 1) / s.tok_s for s in (first, then) if s.tok_s > 0)
    return msgspec.structs.replace(
        then,
        completion_tokens=tokens,
        ttft_s=first.ttft_s,
        prefill_tok_s=first.prefill_tok_s,
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        tok_s=tokens / decode_s if decode_s else 0.0,
        total_s=first.total_s + then.total_s,
    )
