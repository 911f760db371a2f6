"""An engine client without an engine: it answers at a given speed with a text of its own, for `nutshell bench ui`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from backend.api.schemas import (
    AnyEvent,
    BackendStatus,
    Conversation,
    ConversationDetail,
    ConversationUpdate,
    Folder,
    LoadedModel,
    Message,
    ModelEntry,
    NewConversation,
    Sampling,
    SearchHit,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnStarted,
    TurnStats,
    TurnTicket,
)

__all__ = ["TOKEN", "Echo", "conversation_of", "long_answer"]

#: Characters of a token of the echo.
TOKEN = 4

_PROSE = "The quick brown fox jumps over the lazy dog while the engine writes a **long** answer with `code` in it. "
_CODE = "```python\ndef step_{0}(values: list[float]) -> float:\n    # half of the sum\n    return sum(values) / 2\n\n\nprint(step_{0}([1.0, 2.5]))\n```\n\n"  # noqa: E501
_TABLE = "| quantity | value | note |\n|---|---:|---|\n" + "".join(
    f"| item {k} | {k * 3} | a *note* |\n" for k in range(6)
)
_MATHS = "The sum is $\\sum_{{k=1}}^{{n}} k = \\frac{{n(n+1)}}{{2}}$ for $n = {0}$, and with an integral\n\n$$\n\\int_0^{{{0}}} \\sqrt{{1 + x^2}}\\,dx\n$$\n\n"  # noqa: E501
_LIST = "".join(f"- item {k} with some words and **bold** ones\n" for k in range(6)) + "\n"


def long_answer(tokens: int) -> str:
    """Prose with marks, and code, tables, formulas and lists in turn; `tokens` of four characters."""
    parts: list[str] = []
    length = number = 0
    while length < tokens * TOKEN:
        number += 1
        parts.append(f"## Part {number}\n\n" if number % 6 == 0 else "")
        parts.append(_PROSE * 2 + "\n\n")
        parts.append(("", _CODE.format(number), _MATHS.format(number), _TABLE + "\n", _LIST)[number % 5])
        length += sum(map(len, parts[-3:]))
    return "".join(parts)[: tokens * TOKEN]


def conversation_of(number: int, words: int = 120) -> ConversationDetail:
    """A conversation of `number` messages; answers are of about `words` words."""
    conversation = Conversation(id=f"{number:032x}", title=f"{number} messages", updated_at=time.time())
    answer = long_answer(words * 6 // TOKEN)
    messages: list[Message] = []
    for i in range(number):
        parent = messages[-1].id if messages else None
        content = f"{answer}\n\nNumber {i}." if i % 2 else f"Question {i}: how does it go on from here?"
        messages.append(
            Message(
                id=f"{i + 1:032x}", conversation_id=conversation.id, parent_id=parent,
                role="assistant" if i % 2 else "user", content=content, model="echo",
                stats=TurnStats(completion_tokens=200, tok_s=24.0, ttft_s=0.2) if i % 2 else None,
            )
        )  # fmt: skip
    conversation.head_id = messages[-1].id
    return ConversationDetail(conversation=conversation, messages=messages)


class Echo:
    """The methods of `ui.bridge.engine_client.EngineClient` that a chat needs.

    What a request answers is encoded and decoded, as it would be over HTTP.

    Attributes:
        answer: the text of every answer. tok_s: its speed.
        ended: set when an answer has ended, by itself or by Stop.
        sent: characters of the answer that is being written.
    """

    def __init__(self, answer: str, tok_s: float) -> None:
        self.answer = answer
        self.tok_s = tok_s
        self.ended = asyncio.Event()
        self.sent = 0
        self._details: dict[str, bytes] = {}
        self._queue: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self._writing: asyncio.Task[None] | None = None
        self._cancelled = False
        entry = ModelEntry(id="echo", name="Echo", path="echo", source="builtin", bytes=1)
        self._model = LoadedModel(
            entry=entry, n_ctx=1 << 20, n_threads=1, n_gpu_layers=0, n_vocab=1000, weight_bytes=1, kv_bytes=1,
            load_s=0.0, sampling=Sampling(),
        )  # fmt: skip

    def keep(self, detail: ConversationDetail) -> str:
        """Has a conversation, and gives its id."""
        self._details[detail.conversation.id] = msgspec.json.encode(detail)
        return detail.conversation.id

    async def status(self) -> BackendStatus:
        """A model is loaded and nothing is being done."""
        return BackendStatus(version="", pid=0, model=self._model, loading=None, busy=False, data_dir="", notices=[])

    async def models(self) -> list[ModelEntry]:
        """The one model."""
        return [self._model.entry]

    async def folders(self) -> list[Folder]:
        """None."""
        return []

    async def conversations(self, *, deleted: bool = False) -> list[Conversation]:
        """Those that are kept."""
        if deleted:
            return []
        return [(await self.conversation(key)).conversation for key in self._details]

    async def conversation(self, conversation_id: str) -> ConversationDetail:
        """One of them."""
        return msgspec.json.decode(self._details[conversation_id], type=ConversationDetail)

    async def create_conversation(self, new: NewConversation) -> Conversation:
        """A new one."""
        made = Conversation(id=f"{time.monotonic_ns():032x}", title=new.title, updated_at=time.time())
        self.keep(ConversationDetail(conversation=made, messages=[]))
        return made

    async def update_conversation(self, conversation_id: str, update: ConversationUpdate) -> Conversation:
        """Nothing changes."""
        del update
        return (await self.conversation(conversation_id)).conversation

    async def search(self, query: str) -> list[SearchHit]:
        """Nothing is found."""
        del query
        return []

    async def start_turn(self, conversation_id: str, turn: StartTurn) -> TurnTicket:
        """Begins to write the answer."""
        stamp = time.monotonic_ns()
        user = Message(
            id=f"{stamp:032x}", conversation_id=conversation_id, parent_id=turn.parent_id, role="user",
            content=turn.text or "",
        )  # fmt: skip
        answer = Message(
            id=f"{stamp + 1:032x}", conversation_id=conversation_id, parent_id=user.id, role="assistant", content="",
            status="streaming", model="echo",
        )  # fmt: skip
        self._cancelled = False
        self.ended.clear()
        self.sent = 0
        self._say(TurnStarted(conversation_id=conversation_id, user=user, assistant=answer))
        self._writing = asyncio.get_running_loop().create_task(self._write(answer))
        return TurnTicket(user=user, assistant=msgspec.structs.replace(answer))

    async def cancel_message(self, message_id: str) -> bool:
        """Ends the answer with its next token."""
        del message_id
        self._cancelled = True
        return True

    @asynccontextmanager
    async def open_events(self) -> AsyncGenerator[AsyncGenerator[AnyEvent, None], None]:
        """What happens."""

        async def events() -> AsyncGenerator[AnyEvent, None]:
            while True:
                yield await self._queue.get()

        yield events()

    async def close(self) -> None:
        """Ends what is being written."""
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self, answer: Message) -> None:
        begun = time.monotonic()
        tokens = offset = 0
        total = len(self.answer) // TOKEN
        while tokens < total and not self._cancelled:
            await asyncio.sleep(1 / self.tok_s)
            due = min(total, int((time.monotonic() - begun) * self.tok_s))
            for _ in range(due - tokens):  # an event a token, as the engine sends them
                text = self.answer[offset : offset + TOKEN]
                tokens += 1
                event = TurnDelta(
                    conversation_id=answer.conversation_id, message_id=answer.id, offset=offset, text=text,
                    tokens=tokens, tok_s=self.tok_s,
                )  # fmt: skip
                self._say(event)
                offset += len(text)
                self.sent = offset
        answer.content = self.answer[:offset]
        answer.status = "stopped" if self._cancelled else "complete"
        answer.stats = TurnStats(
            completion_tokens=tokens, tok_s=self.tok_s, ttft_s=0.01, total_s=time.monotonic() - begun,
            finish_reason="cancelled" if self._cancelled else "stop",
        )  # fmt: skip
        self._say(TurnEnded(conversation_id=answer.conversation_id, message=answer))
        self.ended.set()

    def _say(self, event: AnyEvent) -> None:
        self._queue.put_nowait(msgspec.json.decode(msgspec.json.encode(event), type=type(event)))
