"""The one thread that owns every model, and its asynchronous face.

Models are not thread-safe and a forward pass takes milliseconds to seconds, so all of it happens on one thread, in the
order of the requests. The event loop gets results through `call_soon_threadsafe`; text is coalesced there (see
`COALESCE_S`), because waking the loop costs CPU time that decode needs on a small machine.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import structs

from backend.api.errors import ConflictError, MemoryShortageError, NoModelError, NutshellError
from backend.api.schemas import Completion, LoadedModel, LoadModel, ModelEntry, TurnStats
from backend.api.speculation_schemas import PassReport, Speculate
from backend.engine.generate import End, Prefill, Session, Token, TokenLogprob, generate
from backend.engine.loading import move_model
from backend.engine.model import Model
from backend.speculative.decoder import DraftStats
from backend.speculative.setup import Prepared, prepare

__all__ = ["Engine", "Generation", "GenerationDone", "PrefillProgress", "TextChunk", "TokenLogprob"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Text goes out at most this often: 8 times a second. Every piece costs about 0.4 ms to send, receive and store and
#: 2 ms to paint, on the cores that decode. With two cores and a model of 170 tok/s the window took 6.1 % of the speed
#: at 30 a second and 3.1 % at 10. Models below 8 tok/s, where each token is awaited, are not affected.
COALESCE_S = 0.125
PrefillProgress = Prefill
#: of TurnStats.guessed; an answer of so many runs is not shaded, nor are they kept
_MOST_RUNS = 4096

#: How a model comes to life: (entry, options, progress) -> the model and what to tell about it.
Loader = Callable[[ModelEntry, LoadModel, Callable[[float], bool]], tuple[Model, LoadedModel]]


@dataclass(frozen=True, slots=True)
class TextChunk:
    """New text. `tokens` counts from the start of the answer; `tok_s` is decode speed so far (0 for the first).

    `drafts` are those of the answer so far and go on changing.
    """

    text: str
    tokens: int
    tok_s: float
    logprobs: list[TokenLogprob]
    drafts: DraftStats = field(default_factory=DraftStats, compare=False)


@dataclass(frozen=True, slots=True)
class GenerationDone:
    """The end of a generation that did not fail (a cancelled one included)."""

    stats: TurnStats


Item = PrefillProgress | TextChunk | GenerationDone


class Generation:
    """One answer being made: an async iterator that ends with GenerationDone, or raises a NutshellError."""

    def __init__(self, completion: Completion, coalesce_s: float, cancel_running: Callable[[Generation], None]) -> None:
        self.completion = completion
        self.coalesce_s = coalesce_s
        self.submitted = time.perf_counter()
        self._cancelled = threading.Event()
        self._cancel_running = cancel_running
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item | Exception] = asyncio.Queue()

    def cancel(self) -> None:
        """Asks it to end; from any thread. The iterator still ends with GenerationDone, reason "cancelled"."""
        self._cancelled.set()
        self._cancel_running(self)

    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def post(self, item: Item | Exception) -> None:
        """From the engine thread: the next item."""
        try:
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._cancelled.set()

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            item = await self._items.get()
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, GenerationDone):
                return


class Engine:
    """Loads models and generates text, one request at a time.

    Args:
        loader: how a model comes to life.
        answered: is told of every answer that did not fail, on the engine's thread; must return at once.

    Attributes:
        loaded: the model that is loaded, or None.
        busy: whether a generation is running or waits.
    """

    def __init__(self, loader: Loader, answered: Callable[[LoadedModel, TurnStats], None] | None = None) -> None:
        self._loader = loader
        self._answered = answered
        self._session: Session | None = None
        self._prepared: Prepared | None = None
        self._options = LoadModel()
        self._measuring = False
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running: Generation | None = None
        self._yielding: set[Generation] = set()
        self._lock = threading.Lock()  # guards _running and _waiting
        self._waiting = 0
        self.loaded: LoadedModel | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a generation is running or waits."""
        return self._waiting > 0

    async def load(self, entry: ModelEntry, options: LoadModel, progress: Callable[[float], bool]) -> LoadedModel:
        """Loads a model in the place of the current one.

        The current one stays until the new one is there, if both fit in memory; then a failed load changes nothing.

        `progress` is called on the engine thread with the loaded fraction; False gives up (raises ConflictError).
        """

        def work() -> LoadedModel:
            if self._session is not None and not _both_fit(entry):
                self._drop_model()
            model, loaded = self._loader(entry, options, progress)
            self._drop_model()
            self._options = options
            self._take(model, loaded)
            return loaded

        return await self._call(work)

    def _take(self, model: Model, loaded: LoadedModel) -> None:
        """On the engine thread: this model answers from now on, with an empty cache."""
        self._prepared = prepared = prepare(model, loaded.entry, self._options, self._loader)
        self._session = Session(model, prepared.speculation)
        if prepared.speculation is not None:
            loaded.speculation = self._options.speculation or "auto"
            loaded.draft_nodes = self._options.draft_nodes if loaded.speculation == "custom" else 0
            loaded.draft_model = self._options.draft_model
            loaded.draft_bytes = prepared.draft_bytes
            loaded.draft_notice = prepared.notice
        elif model.info.max_leaves:
            loaded.speculation = "off"
        self.loaded = loaded

    async def move(self, position: float) -> LoadedModel:
        """Moves the loaded model's slider, after the requests before it; the next answer is of the new position.

        Raises:
            NoModelError: none is loaded.
            InvalidRequestError: it has no slider, or no such position.
            MemoryShortageError: there is no room; nothing has changed.
        """

        def work() -> LoadedModel:
            session, loaded = self._need(), self.loaded
            assert loaded is not None
            moved = move_model(session.model, loaded, position)
            if moved is not loaded:
                if self._prepared is not None:  # the times of passes are another position's
                    self._prepared.close()
                self._take(session.model, moved)
            return moved

        return await self._call(work)

    async def speculate(self, choice: Speculate) -> LoadedModel:
        """Guesses otherwise from the next answer on; the model and its cache stay.

        Raises:
            NoModelError: none is loaded.
        """

        def work() -> LoadedModel:
            session, loaded = self._need(), self.loaded
            assert loaded is not None
            self._options = structs.replace(
                self._options,
                speculation=choice.speculation,
                draft_nodes=choice.draft_nodes,
                draft_model=choice.draft_model,
            )
            if self._prepared is not None:
                self._prepared.close()
            loaded = structs.replace(
                loaded, speculation="", draft_nodes=0, draft_model="", draft_bytes=0, draft_notice=""
            )
            self._take(session.model, loaded)
            self._need().tokens = session.tokens
            return loaded

        return await self._call(work)

    def passes(self) -> PassReport:
        """What is known of the passes of the loaded model, and what the last answer's were."""
        prepared = self._prepared
        return prepared.report() if prepared is not None else PassReport()

    async def unload(self) -> None:
        """Frees the model, after the requests before it."""
        await self._call(self._drop_model)

    def generate(self, completion: Completion, *, coalesce_s: float = COALESCE_S, yielding: bool = False) -> Generation:
        """Queues a generation; must be called from a running event loop.

        Args:
            completion: what is asked.
            coalesce_s: seconds for which text is gathered.
            yielding: it is cancelled when anything else is asked of the engine.
        """
        self._make_room()
        generation = Generation(completion, coalesce_s, self._cancel_running)
        if yielding:
            self._yielding.add(generation)
        with self._lock:
            self._waiting += 1
            if self._measuring and self._session is not None:  # a timed pass must not hold up an answer
                self._session.request_abort(True)
        self._tasks.put(lambda: self._drive(generation))
        return generation

    async def count_tokens(self, text: str, *, special: bool = True) -> int:
        """Tokens of a text under the loaded model."""
        return await self._call(lambda: len(self._need().model.tokenizer.encode(text, special=special)))

    async def embed(self, texts: list[str]) -> tuple[list[npt.NDArray[np.float32]], int]:
        """(n_embd,) unit vectors, one per text, and the tokens read."""

        def work() -> tuple[list[npt.NDArray[np.float32]], int]:
            model = self._need().model
            tokens = [model.tokenizer.encode(text, special=False) for text in texts]
            return [model.embed(ids) for ids in tokens], sum(map(len, tokens))

        return await self._call(work)

    def model(self) -> Model:
        """The loaded model, for reading its `info` only.

        Raises:
            NoModelError: none is loaded.
        """
        return self._need().model

    async def close(self) -> None:
        """Cancels what runs, frees the model and ends the thread."""
        if self._closed:
            return
        self._closed = True
        running = self._running
        if running is not None:
            running.cancel()
        self._tasks.put(self._drop_model)
        self._tasks.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 5.0)

    # -- engine thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (task := self._next()) is not None:
            task()

    def _next(self) -> Callable[[], None] | None:
        """The next task; while there is none, the passes of a new model are timed, one at a time."""
        while self._prepared is not None and self._session is not None and self._tasks.empty():
            with self._lock:
                if self._waiting:  # its task is on the way
                    break
                self._session.request_abort(False)  # an answer that was stopped may have left it set
                self._measuring = True
            more = self._prepared.measure()
            with self._lock:
                self._measuring = False
            if not more:
                break
        return self._tasks.get()

    async def _call(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise ConflictError("The engine is shutting down.")
        self._make_room()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(setter: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                setter(value)

        def task() -> None:
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 - handed to the caller
                loop.call_soon_threadsafe(settle, future.set_exception, error)
            else:
                loop.call_soon_threadsafe(settle, future.set_result, value)

        self._tasks.put(task)
        return await future

    def _make_room(self) -> None:
        """Ends what is only wanted while nothing else is."""
        with self._lock:
            yielding = list(self._yielding)
        for generation in yielding:
            generation.cancel()

    def _need(self) -> Session:
        if self._session is None:
            raise NoModelError("No model is loaded.", remedy="Choose one in the model menu.")
        return self._session

    def _drop_model(self) -> None:
        session, self._session, self.loaded = self._session, None, None
        prepared, self._prepared = self._prepared, None
        if session is not None:
            if prepared is not None:
                prepared.close()
            session.model.close()

    def _cancel_running(self, generation: Generation) -> None:
        with self._lock:
            if self._running is generation and self._session is not None:
                self._session.request_abort(True)

    def _drive(self, generation: Generation) -> None:
        last: Item | Exception
        try:
            session = self._need()
            with self._lock:
                session.request_abort(False)
                self._running = generation
            for item in _Collector(generation).items(session):
                if isinstance(item, GenerationDone):
                    last = item
                    if self._answered is not None and self.loaded is not None:
                        self._answered(self.loaded, item.stats)
                else:
                    generation.post(item)
        except NutshellError as error:
            last = error
        except MemoryError as error:
            last = MemoryShortageError("Memory ran out while answering.", details=repr(error))
        except Exception as error:  # noqa: BLE001 - one answer fails, the thread lives
            _log.exception("generation failed")
            last = NutshellError("The engine failed while answering.", details=repr(error))
        with self._lock:
            self._running = None
            self._waiting -= 1
            self._yielding.discard(generation)
        generation.post(last)  # after that: who hears of the end finds the engine free


class _Collector:
    """Tokens of one generation, gathered into pieces worth waking the event loop for, and the clock readings."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._drafts = DraftStats()
        self._runs: list[int] = [0]  # see TurnStats.guessed
        self._flushed = 0.0
        self._first = 0.0
        self._count = 0
        self._prefill = Prefill(0, 0, 0)
        self._prefill_from = self._prefill_to = time.perf_counter()

    def items(self, session: Session) -> Iterator[Item]:
        """The items of `generate`, text coalesced; what was gathered comes out before an error does."""
        generation = self._generation
        try:
            for item in generate(session, generation.completion, generation.cancelled):
                now = time.perf_counter()
                if isinstance(item, Token):
                    self._add(item, now)
                    if now - self._flushed >= generation.coalesce_s:
                        yield from self._flush(now)
                elif isinstance(item, Prefill):
                    self._prefill, self._prefill_to = item, now
                    yield item
                else:
                    self._text.append(item.text)
                    yield from self._flush(now)
                    yield GenerationDone(self._stats(session, item, now))
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._flush(time.perf_counter())
            raise

    def _add(self, token: Token, now: float) -> None:
        self._count += 1
        if self._count == 1:
            self._first = now
        self._drafts = token.drafts
        if token.text:
            self._text.append(token.text)
            if (len(self._runs) % 2 == 0) != token.guessed:
                self._runs.append(0)
            self._runs[-1] += len(token.text)
        if token.logprob is not None:
            self._logprobs.append(token.logprob)

    def _flush(self, now: float) -> Iterator[TextChunk]:
        text = "".join(self._text)
        if text or self._logprobs:
            self._flushed = now
            yield TextChunk(text, self._count, self._tok_s(now), self._logprobs.copy(), self._drafts)
            self._text.clear()
            self._logprobs.clear()

    def _tok_s(self, now: float) -> float:
        return (self._count - 1) / (now - self._first) if self._count > 1 and now > self._first else 0.0

    def _stats(self, session: Session, end: End, now: float) -> TurnStats:
        submitted, prefill = self._generation.submitted, self._prefill
        read = prefill.total - prefill.cached
        return TurnStats(
            prompt_tokens=prefill.total,
            cached_tokens=prefill.cached,
            completion_tokens=self._count,
            ttft_s=self._first - submitted if self._count else 0.0,
            prefill_tok_s=read / max(self._prefill_to - self._prefill_from, 1e-9),
            tok_s=self._tok_s(now),
            total_s=now - submitted,
            seed=end.seed,
            finish_reason=end.reason,
            context_used=session.model.length,
            context_length=session.model.info.n_ctx,
            passes=end.drafts.passes,
            drafted=end.drafts.drafted,
            accepted=end.drafts.accepted,
            speedup=end.drafts.speedup,
            guessed=self._runs if end.drafts.accepted and len(self._runs) <= _MOST_RUNS else [],
        )


def _both_fit(entry: ModelEntry) -> bool:
    """Whether a further model of this size leaves a tenth of the memory that is available now."""
    import psutil

    available: int = psutil.virtual_memory().available
    return entry.bytes * 1.2 < available * 0.9
