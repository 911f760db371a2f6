"""Events on their way to subscribers: published from any thread, queued per reader, merged for slow ones.

A reader that keeps up gets every event as it was published. While a reader is behind, what waits for it is merged:
the text of one message grows into one `TurnDelta`, and of the progress of a message or a job only the newest is kept.
So the queue grows with the number of things that happen, not with the number of tokens, and nothing that matters is
dropped. A reader that stands still for so long that even this queue overflows is disconnected: it then knows that it
missed something, and reads the state again when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque

import msgspec

from backend.api.schemas import Event, JobChanged, TurnDelta, TurnEnded, TurnProgress, TurnStarted

__all__ = ["EventHub", "Subscription"]

logger = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()

#: Slots that may wait for one reader. A turn takes about six, so this is hundreds of turns behind.
QUEUE_SLOTS = 4096
#: Bytes that may wait for one reader. A long answer is 100 KB; its TurnEnded carries it once more.
QUEUE_BYTES = 32 * 1024 * 1024


class _Slot:
    """One event in a queue: encoded, or a text delta that may still grow."""

    __slots__ = ("delta", "encoded")

    def __init__(self, encoded: bytes | None, delta: TurnDelta | None) -> None:
        self.encoded = encoded
        self.delta = delta

    def wire(self) -> bytes:
        if self.encoded is not None:
            return self.encoded
        return _encoder.encode(self.delta)


class Subscription:
    """One reader's queue. Made by `EventHub.subscribe`; used on the event loop's thread only."""

    def __init__(self, hub: EventHub, *, slots: int, size: int) -> None:
        self._hub = hub
        self._slots = slots
        self._size = size
        self._queue: deque[_Slot] = deque()
        self._latest: dict[tuple[str, str], _Slot] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._ended = False
        self.lagging = False

    async def batch(self, timeout: float | None = None) -> list[bytes] | None:
        """Everything that waits, encoded as JSON objects, oldest first.

        Returns:
            At least one event; [] if none came for `timeout` seconds; None when the stream has ended.
        """
        if not self._queue and not self._ended:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        self._wake.clear()
        if not self._queue:
            return None if self._ended else []
        out = [slot.wire() for slot in self._queue]
        self._queue.clear()
        self._latest.clear()
        self._bytes = 0
        return out

    def close(self) -> None:
        """Ends the stream after what is queued, and leaves the hub. Safe to call twice."""
        self._hub.discard(self)
        self._ended = True
        self._wake.set()

    def put(self, event: Event, encoded: bytes | None) -> None:
        """Queues an event; `encoded` is None for a TurnDelta."""
        if self._ended:
            return
        if isinstance(event, TurnDelta):
            self._put_delta(event)
        else:
            assert encoded is not None
            self._put_encoded(event, encoded)
        if len(self._queue) > self._slots or self._bytes > self._size:
            logger.warning("an event reader fell %d events behind and was disconnected", len(self._queue))
            self.lagging = True
            self._queue.clear()
            self._latest.clear()
            self.close()
        self._wake.set()

    def _put_delta(self, event: TurnDelta) -> None:
        self._bytes += len(event.text)
        key = ("delta", event.message_id)
        slot = self._latest.get(key)
        if slot is not None and slot.delta is not None:
            waiting = slot.delta
            if waiting.offset + len(waiting.text) == event.offset:
                slot.delta = TurnDelta(
                    conversation_id=event.conversation_id,
                    message_id=event.message_id,
                    offset=waiting.offset,
                    text=waiting.text + event.text,
                    tokens=event.tokens,
                    tok_s=event.tok_s,
                    passes=event.passes,
                    drafted=event.drafted,
                    accepted=event.accepted,
                    speedup=event.speedup,
                )
                return
        slot = _Slot(None, event)
        self._latest[key] = slot
        self._queue.append(slot)

    def _put_encoded(self, event: Event, encoded: bytes) -> None:
        key: tuple[str, str] | None = None
        match event:
            case TurnProgress():
                key = ("progress", event.message_id)
            case JobChanged() if event.job.state == "progress":
                key = ("job", event.job.id)
            case JobChanged():
                self._latest.pop(("job", event.job.id), None)
            case TurnStarted():
                self._turn_edge(event.assistant.id)
            case TurnEnded():
                self._turn_edge(event.message.id)
        if key is not None and (slot := self._latest.get(key)) is not None and slot.encoded is not None:
            self._bytes += len(encoded) - len(slot.encoded)
            slot.encoded = encoded
            return
        slot = _Slot(encoded, None)
        if key is not None:
            self._latest[key] = slot
        self._queue.append(slot)
        self._bytes += len(encoded)

    def _turn_edge(self, message_id: str) -> None:
        # A message that is continued starts and ends again under the same id: nothing is merged across that edge.
        self._latest.pop(("delta", message_id), None)
        self._latest.pop(("progress", message_id), None)


class EventHub:
    """Publishes events to all subscribers. `publish` may be called from any thread, the rest from the loop's."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def bind(self) -> None:
        """Ties the hub to the running loop. Events published before have nobody to read them and are dropped."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def subscribers(self) -> int:
        """How many readers there are."""
        return len(self._subscriptions)

    def subscribe(self, *, slots: int = QUEUE_SLOTS, size: int = QUEUE_BYTES) -> Subscription:
        """A reader that gets every event published after this call. Close it when done."""
        if self._loop is None:
            self.bind()
        subscription = Subscription(self, slots=slots, size=size)
        if self._closed:
            subscription.close()
        else:
            self._subscriptions.add(subscription)
        return subscription

    def discard(self, subscription: Subscription) -> None:
        """Forgets a reader."""
        self._subscriptions.discard(subscription)

    def publish(self, event: Event) -> None:
        """Sends `event` to every subscriber. It is encoded before this returns, so it may be changed afterwards."""
        if not self._subscriptions or self._closed or self._loop is None:
            return
        # A delta stays a struct, to grow in the queue; nobody keeps or changes one after publishing it.
        encoded = None if isinstance(event, TurnDelta) else _encoder.encode(event)
        if threading.get_ident() == self._thread:
            self._deliver(event, encoded)
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver, event, encoded)
        except RuntimeError:
            logger.debug("an event came after the loop was closed: %s", type(event).__name__)

    def close(self) -> None:
        """Ends every stream after what is queued; later events are dropped."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.close()

    def _deliver(self, event: Event, encoded: bytes | None) -> None:
        for subscription in list(self._subscriptions):
            subscription.put(event, encoded)
