"""How the engine process ends: on request, with its window, and never later than promised."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["StopSwitch", "watch_stdin"]

logger = logging.getLogger(__name__)

#: Seconds for an orderly end; after that the process ends as it is. The window's promise is two seconds in all.
ORDERLY_S = 1.5
#: Exit code of an end that was not orderly.
FORCED = 70


class StopSwitch:
    """Asks the process to end, from any thread, at any time, also before there is an event loop.

    From the first request on a clock runs on a thread of its own: if the process is still there when it has run out,
    because a thread hangs in the engine or in the disk, `give_up` ends it.
    """

    def __init__(
        self, *, deadline_s: float = ORDERLY_S, give_up: Callable[[], None] = lambda: os._exit(FORCED)
    ) -> None:
        self._deadline = deadline_s
        self._give_up = give_up
        self._lock = threading.Lock()
        self._requested = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None
        self._never = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def requested(self) -> bool:
        """Whether anyone asked."""
        return self._requested

    def request(self, why: str) -> None:
        """Asks. Only the first request counts."""
        with self._lock:
            if self._requested:
                return
            self._requested = True
            loop, event = self._loop, self._event
        logger.info("stopping: %s", why)
        self._watcher = threading.Thread(target=self._watch, name="stop deadline", daemon=True)
        self._watcher.start()
        if loop is not None and event is not None:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                logger.debug("the loop had ended before")

    async def wait(self) -> None:
        """Until someone asks."""
        event = asyncio.Event()
        with self._lock:
            self._loop, self._event = asyncio.get_running_loop(), event
            if self._requested:
                return
        await event.wait()

    def on_signals(self) -> None:
        """Makes SIGTERM and Ctrl+C (on Windows also Ctrl+Break) requests. Main thread, inside the loop."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            numbers.append(signal.SIGBREAK)
        loop = asyncio.get_running_loop()
        for number in numbers:
            name = signal.Signals(number).name
            try:
                loop.add_signal_handler(number, self.request, name)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_, name=name: self.request(name))

    def _watch(self) -> None:
        self._never.wait(self._deadline)
        logger.warning("the engine did not end in %.1f s and is ended as it is", self._deadline)
        self._give_up()


def watch_stdin(stop: StopSwitch) -> threading.Thread:
    """Requests a stop when stdin reaches its end, which it does when the window is gone, however it went."""

    def watch() -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError as error:
            stop.request(f"stdin cannot be read ({error})")
        else:
            stop.request("stdin has ended")

    thread = threading.Thread(target=watch, name="stdin watch", daemon=True)
    thread.start()
    return thread
