"""The link to the engine process: its events as Qt signals, its requests as operations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from PySide6.QtCore import QObject, Signal

from backend.api.errors import EngineUnavailableError, NutshellError
from backend.api.schemas import (
    AnyEvent,
    BackendStatus,
    ConversationChanged,
    ErrorInfo,
    JobChanged,
    ModelChanged,
    Notice,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
)
from ui.bridge.coalescer import FRAME_MS, DeltaCoalescer
from ui.bridge.engine_client import EngineClient
from ui.bridge.operation import Operation, error_info

__all__ = ["EngineLink", "LinkState"]

T = TypeVar("T")
LinkState = Literal["starting", "ready", "restarting", "failed"]

#: Seconds between two attempts to follow the events again, doubled up to the last value. The supervisor detaches the
#: link when the process has died, so these are for a broken connection to a living engine only.
RETRY_FIRST_S, RETRY_LAST_S = 0.1, 2.0


class EngineLink(QObject):
    """Follows one engine process at a time.

    The program's supervisor calls `starting`, `attach`, `detach` and `fail`; the window listens to the signals and
    asks with `run`. States: "starting" (first start), "ready", "restarting" (it went away and is coming back) and
    "failed" (it could not be started; `error` says why).
    """

    state_changed = Signal(str, str)  # state, sentence
    attached = Signal(object)  # BackendStatus: the engine answers; lists and the open conversation should be read again
    turn_started = Signal(object)
    turn_progress = Signal(object)
    text_arrived = Signal(object)  # TurnDelta, joined per frame
    turn_ended = Signal(object)
    conversation_changed = Signal(object)  # Conversation
    model_changed = Signal(object)  # LoadedModel or None
    job_changed = Signal(object)  # Job
    notice = Signal(str, str)  # level, text
    request_failed = Signal(object)  # ErrorInfo of any request whose caller did not handle it

    def __init__(
        self,
        parent: QObject | None = None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        frame_ms: int = FRAME_MS,
    ) -> None:
        super().__init__(parent)
        self._given_loop = loop
        self._client: EngineClient | None = None
        self._state: LinkState = "starting"
        self._sentence = self.tr("Starting the engine…")
        self._error: ErrorInfo | None = None
        self._reader: asyncio.Task[None] | None = None
        self._operations: set[Operation[Any]] = set()
        self._coalescer = DeltaCoalescer(self, frame_ms=frame_ms)
        self._coalescer.ready.connect(self.text_arrived)

    # State

    @property
    def state(self) -> LinkState:
        """The state of the engine process as the window knows it."""
        return self._state

    @property
    def sentence(self) -> str:
        """The state in words, "" when ready."""
        return self._sentence

    @property
    def error(self) -> ErrorInfo | None:
        """Why the engine failed to start, in state "failed"."""
        return self._error

    @property
    def alive(self) -> bool:
        """Whether there is an engine process, even if the connection to it is lost for the moment."""
        return self._client is not None

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self._state == "ready" and self._client is not None

    def starting(self, sentence: str = "") -> None:
        """Say that the engine process is being started."""
        self._error = None
        self._set_state("starting", sentence or self.tr("Starting the engine…"))

    def attach(self, client: EngineClient) -> None:
        """Follow the engine behind `client`. State "ready" comes when it has answered once."""
        self._drop_client()
        self._client = client
        self._error = None
        self._reader = self._loop().create_task(self._follow(client))

    def detach(self, sentence: str = "") -> None:
        """The engine process has died; it is being started again."""
        self._drop_client()
        self._set_state("restarting", sentence or self.tr("The engine stopped. It is starting again…"))

    def fail(self, error: ErrorInfo | NutshellError) -> None:
        """The engine cannot be started, for the reason given."""
        self._drop_client()
        self._error = error_info(error) if isinstance(error, NutshellError) else error
        self._set_state("failed", self._error.what)

    def look_again(self) -> None:
        """Have everyone read again what there is, for those who came after the engine; nothing while it is away."""
        if self.ready:
            self.run(lambda engine: engine.status(), success=self.attached.emit, quiet=True)

    async def finish(self, patience_s: float) -> None:
        """Wait until what was asked for has been answered, but not for longer than `patience_s`."""
        if tasks := [operation.task for operation in self._operations]:
            await asyncio.wait(tasks, timeout=patience_s)

    async def close(self) -> None:
        """End every task. The client is not closed: it belongs to the supervisor."""
        reader = self._reader
        tasks = [operation.task for operation in self._operations]
        self._drop_client()
        if reader is not None:
            tasks.append(reader)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Requests

    @property
    def client(self) -> EngineClient:
        """The client of the living engine.

        Raises:
            EngineUnavailableError: no engine is attached.
        """
        if self._client is None:
            raise EngineUnavailableError(
                self.tr("The engine is not running."), remedy=self.tr("It is being started; try again in a moment.")
            )
        return self._client

    def run(
        self,
        request: Callable[[EngineClient], Coroutine[Any, Any, T]],
        *,
        success: Callable[[T], object] | None = None,
        failure: Callable[[ErrorInfo], object] | None = None,
        quiet: bool = False,
    ) -> Operation[T]:
        """Start a request, for example `link.run(lambda engine: engine.hardware(), success=self.show)`.

        A failure goes to `failure`; without one it goes to `request_failed`, where the window shows it. `quiet` drops
        it instead: for reads that are repeated anyway.
        """

        async def ask() -> T:
            return await request(self.client)

        def report(info: ErrorInfo) -> None:
            if failure is not None:
                failure(info)
            elif not quiet:
                self.request_failed.emit(info)

        operation = Operation(
            ask(), loop=self._loop(), success=success, failure=report, finished=self._operations.discard
        )
        self._operations.add(operation)
        return operation

    # Events

    async def _follow(self, client: EngineClient) -> None:
        delay = RETRY_FIRST_S
        while self._client is client:
            try:
                # The stream first: what happens while the status is on its way must not be missed.
                async with client.open_events() as events:
                    status = await client.status()
                    delay = RETRY_FIRST_S
                    self._announce(status)
                    async for event in events:
                        self._dispatch(event)
            except EngineUnavailableError:
                pass
            except Exception as error:  # noqa: BLE001 - a refused token or a broken stream must not end in silence
                self.fail(error_info(error))
                return
            self._coalescer.flush()
            if self._state == "ready":
                self._set_state("restarting", self.tr("The connection to the engine was lost. Trying again…"))
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_LAST_S)

    def _announce(self, status: BackendStatus) -> None:
        changed = self._state != "ready"
        self._state, self._sentence = "ready", ""
        self.attached.emit(status)  # before the state: who hears "ready" finds lists and model in place
        if changed:
            self.state_changed.emit("ready", "")

    def _dispatch(self, event: AnyEvent) -> None:
        match event:
            case TurnDelta():
                self._coalescer.add(event)
            case TurnStarted():
                self.turn_started.emit(event)
            case TurnProgress():
                self.turn_progress.emit(event)
            case TurnEnded():
                self._coalescer.flush(event.message.id)
                self.turn_ended.emit(event)
            case ConversationChanged():
                self.conversation_changed.emit(event.conversation)
            case ModelChanged():
                self.model_changed.emit(event.model)
            case JobChanged():
                self.job_changed.emit(event.job)
            case Notice():
                self.notice.emit(event.level, event.text)

    def _drop_client(self) -> None:
        self._client = None
        self._coalescer.stop()
        if self._reader is not None and not self._reader.done():
            self._reader.cancel()
        self._reader = None

    def _set_state(self, state: LinkState, sentence: str) -> None:
        if (state, sentence) != (self._state, self._sentence):
            self._state, self._sentence = state, sentence
            self.state_changed.emit(state, sentence)

    def _loop(self) -> asyncio.AbstractEventLoop:
        return self._given_loop or asyncio.get_event_loop()
