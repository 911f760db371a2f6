"""An engine process of one's own for the length of a terminal command, and turns with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType, TracebackType

from app.models import ModelWish, first_model, match_model, no_model
from app.supervisor import Limits, Supervisor
from backend.api.client import Client
from backend.api.errors import NutshellError
from backend.api.schemas import LoadedModel, LoadModel, Message, StartTurn, TurnDelta, TurnEnded
from backend.config.paths import paths

__all__ = ["Session"]


class Session:
    """`async with Session(model) as session:` starts the engine, loads the model, and ends both on the way out.

    Args:
        model: path, id or name as the user typed it; "" for the one used last, else the built-in one.
        position: of the model's slider; None: its default, or it has none.
        load: False for commands that need no model.
        arguments, env: more command-line arguments and variables for the engine.
        host: the address that the arguments make it listen on.

    Raises (on entry):
        EngineUnavailableError: the engine does not start.
        ModelError, NoModelError, NotFoundError, MemoryShortageError: the model cannot be loaded.
    """

    client: Client
    model: LoadedModel

    def __init__(
        self,
        model: str = "",
        *,
        position: float | None = None,
        load: bool = True,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] = MappingProxyType({}),
        host: str = "127.0.0.1",
    ) -> None:
        self.notices: list[str] = []
        self._wish: ModelWish | None = None
        self._position = position
        more = list(arguments)
        if load:
            self._wish = first_model(model)
            self.notices += self._wish.notices
            if self._wish.path is not None:  # known as a file: the engine loads it while it starts
                more += ["--model", str(self._wish.path)]
                more += [] if position is None else ["--position", str(position)]
            elif not self._wish.text:
                raise no_model()
        # No restarts: a command that fails says so, and the person decides.
        self.supervisor = Supervisor(
            more, log=paths().logs / "engine.log", host=host, env=env, limits=Limits(give_up_failures=1)
        )

    async def __aenter__(self) -> Session:
        try:
            self.supervisor.begin()
            handshake = await self.supervisor.ready()
            self.client = Client(handshake.base_url, handshake.token)
            status = await self.client.status()
            self.notices += status.notices
            if self._wish is not None:
                self.model = await self._first(self._wish, status.model, status.loading)
                if self.model.draft_notice:
                    self.notices.append(self.model.draft_notice)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the engine."""
        if hasattr(self, "client"):
            await self.client.close()
        await self.supervisor.stop()

    async def load(self, wanted: str, position: float | None = None) -> LoadedModel:
        """Loads another model by path, id or name, at a position of its slider.

        Raises:
            ModelError, NotFoundError, MemoryShortageError.
        """
        wish = first_model(wanted)
        if wish.path is not None:
            request = LoadModel(path=str(wish.path), position=position)
        else:
            request = LoadModel(id=match_model(wanted, await self.client.models()).id, position=position)
        await self.client.wait_for_job(await self.client.load_model(request))
        self.model = await self._current()
        return self.model

    async def turn(self, conversation_id: str, turn: StartTurn, on_text: Callable[[str], None]) -> Message:
        """Runs one turn; `on_text` gets the answer's text piece by piece. Returns the stored answer.

        Cancelling the task that runs this stops the answer; what was written of it stays stored.

        Raises:
            NutshellError: what the engine could not do.
        """
        shown: int | None = None
        async with aclosing(self.client.chat_stream(conversation_id, turn)) as events:
            async for event in events:
                if isinstance(event, TurnDelta):
                    shown = event.offset if shown is None else shown
                    if fresh := event.text[max(0, shown - event.offset) :]:
                        on_text(fresh)
                    shown = max(shown, event.offset + len(event.text))
                elif isinstance(event, TurnEnded):
                    return self._finished(event.message, shown or 0, on_text)
        raise NutshellError("The engine ended the answer without a word.")  # chat_stream ends with TurnEnded, or raises

    def _finished(self, answer: Message, shown: int, on_text: Callable[[str], None]) -> Message:
        if answer.error is not None:
            raise answer.error.to_error()
        if rest := answer.content[shown:]:
            on_text(rest)
        return answer

    async def _first(self, wish: ModelWish, model: LoadedModel | None, job_id: str | None) -> LoadedModel:
        if wish.path is None:
            return await self.load(wish.text, self._position)
        if model is not None:
            return model
        if job_id is not None:
            await self.client.wait_for_job(await self.client.job(job_id))
        else:  # it ended before we could ask: the job remembers how
            for job in await self.client.jobs():
                if job.error is not None:
                    raise job.error.to_error()
        return await self._current()

    async def _current(self) -> LoadedModel:
        model = (await self.client.status()).model
        if model is None:
            raise no_model()
        return model
