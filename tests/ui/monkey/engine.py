"""An engine for the monkey: it keeps conversations across its deaths, answers late, and says what people took away."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
from collections.abc import Callable
from typing import Any

from backend.api.errors import EngineUnavailableError, NotFoundError
from backend.api.schemas import Conversation, ConversationDetail, Message, SearchHit, StartTurn, TurnTicket
from tests.fakes.client import FakeClient, fake_loaded

__all__ = ["EchoEngine", "Lagging"]

_ANSWER = (
    "# Answer\n\nSome **words** with `code`, a [link](https://example.org) and $x^2 + y_1$.\n\n"
    "```python\ndef echo(text):\n    return text\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n"
    "- one\n- two\n\n> quoted\n\n$$\\frac{1}{2}$$\n\nعربي and 日本語.\n\n"
)


class EchoEngine(FakeClient):
    """A `FakeClient` that streams an echo of what was asked, slowly enough for others to come between.

    Attributes:
        draw: its chances. removed: contents of messages that a person took away for good.
    """

    def __init__(self, draw: random.Random, before: EchoEngine | None = None) -> None:
        super().__init__(loaded=fake_loaded())
        self.draw = draw
        self.removed: list[str] = []
        if before is not None:  # what stays when an engine dies: all that it stored
            self.details, self.folder_list, self.removed = before.details, before.folder_list, before.removed
            self.compressions, self.fetched, self.net = before.compressions, before.fetched, before.net
            for one in (*self.compressions, *self.fetched):
                if one.job is not None:
                    one.job, one.state = None, "paused"
            for message in self.stored():
                if message.status == "streaming":
                    message.status = "interrupted"

    def stored(self) -> list[Message]:
        """Every message."""
        return [message for detail in self.details.values() for message in detail.messages]

    async def start_turn(self, conversation_id: str, turn: StartTurn) -> TurnTicket:
        """As the real one: not into the trash, and streamed in pieces of any size."""
        if self._detail(conversation_id).conversation.deleted_at is not None:
            raise NotFoundError("There is no such conversation.")
        ticket = await super().start_turn(conversation_id, turn)
        task = asyncio.get_running_loop().create_task(self._echo(ticket.assistant.id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return ticket

    async def delete_turn(self, message_id: str) -> Conversation:
        """Tells what went with it."""
        detail = self._detail(self._message(message_id).conversation_id)
        before = {one.id: one.content for one in detail.messages}
        made = await super().delete_turn(message_id)
        for one in detail.messages:
            before.pop(one.id)
        self.removed += before.values()
        return made

    async def empty_trash(self) -> int:
        """Tells what went with it."""
        gone = [detail for detail in self.details.values() if detail.conversation.deleted_at is not None]
        self.removed += [one.content for detail in gone for one in detail.messages]
        self.removed += [detail.conversation.draft for detail in gone]
        return await super().empty_trash()

    async def delete_conversation(self, conversation_id: str) -> Conversation:
        """An answer that is being written there ends."""
        for message in self._detail(conversation_id).messages:
            if message.status == "streaming":
                self.finish(message.id, "stopped")
        return await super().delete_conversation(conversation_id)

    async def search(self, query: str) -> list[SearchHit]:
        """Every message that contains the words as they stand."""
        found = []
        for detail in self.details.values():
            if detail.conversation.deleted_at is None:
                hits = [one for one in detail.messages if query in one.content]
                found += [
                    SearchHit(conversation_id=detail.conversation.id, message_id=one.id,
                              title=detail.conversation.title, snippet=query)
                    for one in hits
                ]  # fmt: skip
        self._called("search", query)
        return found[:50]

    async def _echo(self, message_id: str) -> None:
        text = _ANSWER * self.draw.randint(1, 4)
        with contextlib.suppress(NotFoundError):
            total = self.draw.randint(0, 2)
            for done in range(total):
                self.read(message_id, done, total)
                await asyncio.sleep(0)
            while text:
                await asyncio.sleep(self.draw.choice((0, 0, 0.001, 0.004)))
                if not self.alive or self._message(message_id).status != "streaming":
                    return
                piece = self.draw.randint(1, 60)
                self.say(message_id, text[:piece])
                text = text[piece:]
                if self.draw.random() < 0.002:
                    self.finish(message_id, "failed")
                    return
            if self._message(message_id).status == "streaming":
                self.finish(message_id)


class Lagging:
    """The engine as it is reached over a connection: requests arrive late, and answers come back later still."""

    def __init__(self, engine: EchoEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        value: Callable[..., Any] = getattr(self._engine, name)
        if not inspect.iscoroutinefunction(value):
            return value

        async def late(*arguments: Any, **options: Any) -> Any:
            draw = self._engine.draw
            await asyncio.sleep(draw.choice((0, 0, 0.001, 0.003)))
            result = await value(*arguments, **options)
            await asyncio.sleep(draw.choice((0, 0, 0.001, 0.003)))
            if not self._engine.alive:
                raise EngineUnavailableError("The engine does not answer.")
            return result

        return late


def copy_of(detail: ConversationDetail) -> list[str]:
    """The ids on the branch that a stored conversation shows, root first."""
    known = {one.id: one for one in detail.messages}
    path: list[str] = []
    at = detail.conversation.head_id
    while at is not None and at in known:
        path.append(at)
        at = known[at].parent_id
    return path[::-1]
