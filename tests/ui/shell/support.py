"""An event loop that is Qt's and asyncio's at once, waiting for conditions on it, and a window on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import qasync
from PySide6.QtWidgets import QApplication

from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow

T = TypeVar("T")


class Loop:
    """A qasync loop for one test: `run` a coroutine, or let it turn `until` something is true."""

    def __init__(self, app: QApplication) -> None:
        self.asyncio = qasync.QEventLoop(app)
        asyncio.set_event_loop(self.asyncio)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 5.0) -> T:
        return self.asyncio.run_until_complete(asyncio.wait_for(coroutine, timeout_s))

    def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
        """Turn the loop until the condition holds.

        Raises:
            AssertionError: it did not come to hold in time.
        """

        async def turn() -> None:
            deadline = self.asyncio.time() + timeout_s
            while not condition():
                assert self.asyncio.time() < deadline, "the condition did not come to hold"
                await asyncio.sleep(0.002)

        self.run(turn(), timeout_s + 1)

    def turn(self, times: int = 3) -> None:
        """A few turns of the loop, for what is only queued."""

        async def some() -> None:
            for _ in range(times):
                await asyncio.sleep(0)

        self.run(some())

    def close(self) -> None:
        left = asyncio.all_tasks(self.asyncio)
        for task in left:
            task.cancel()
        if left:
            self.asyncio.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.asyncio.close()
        asyncio.set_event_loop(None)


@contextmanager
def qt_loop(app: QApplication) -> Iterator[Loop]:
    loop = Loop(app)
    try:
        yield loop
    finally:
        loop.close()


@contextmanager
def shown_window(
    loop: Loop,
    width: int,
    height: int,
    *,
    settings: Mapping[str, object] | None = None,
    save: Callable[[dict[str, object]], object] | None = None,
) -> Iterator[MainWindow]:
    """A window of this size, in pixels, that no engine is attached to yet; closed with its link at the end."""
    link = EngineLink(frame_ms=5)
    made = MainWindow(link, settings or {}, save)
    made.resize(width, height)
    made.show()
    yield made
    made.close()
    loop.run(link.close())
    made.deleteLater()
    loop.turn()
