"""The window of `nutshell bench ui`, in a process of its own: `start` with the real engine, `chat` with an echo."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import psutil

if TYPE_CHECKING:
    from app.desktop import Desktop
    from ui.bridge.engine_client import EngineClient
    from ui.main_window import MainWindow

__all__ = ["main"]

#: A beat every 2 ms: a longer pause between two of them is a time in which the window answered to nothing.
_BEAT_MS = 2
_SIZE = (1180, 780)
_MESSAGES = 2000
_FRAMES = 400
_STEP = 120  # pixels of a notch of the wheel
_STOPS = 5
_STREAMS = 3  # of the long answer


class _Heart:
    """Beats while an answer streams; the longest pause, and the CPU time of this thread, a beat at a time."""

    def __init__(self) -> None:
        from PySide6.QtCore import Qt, QTimer

        self.timer = QTimer()
        self.timer.setTimerType(Qt.TimerType.PreciseTimer)
        self.timer.setInterval(_BEAT_MS)
        self.timer.timeout.connect(self._beat)
        self.worst = 0.0
        self._last = 0.0

    def start(self) -> None:
        self.worst, self._last = 0.0, time.perf_counter()
        self.timer.start()

    def stop(self) -> float:
        """The longest pause beyond the beat itself, in milliseconds."""
        self.timer.stop()
        return max(0.0, self.worst * 1000 - _BEAT_MS)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last)
        self._last = now


async def _until(condition: Callable[[], object], timeout_s: float = 30.0, pause_s: float = 0.001) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the window did not come to the state that was waited for")
        await asyncio.sleep(pause_s)


class _Bench:
    def __init__(self, window: MainWindow, tokens: int, tok_s: float) -> None:
        from app.benchmarks.echo import Echo, long_answer

        self.window = window
        self.tokens = tokens
        self.tok_s = tok_s
        self.echo = Echo(long_answer(tokens), tok_s)

    async def run(self) -> dict[str, float]:
        from app.benchmarks.echo import conversation_of

        few, many = self.echo.keep(conversation_of(4)), self.echo.keep(conversation_of(_MESSAGES))
        self.window.link.attach(cast("EngineClient", self.echo))
        await _until(lambda: len(self.window.chat.list) == 2 and self.window.models.can_answer)
        await self._open(few)  # fonts, the parser, the first layout
        await asyncio.sleep(0.5)
        figures = await self._open_many(many)
        figures |= await self._scroll()
        figures["kb_per_message"] = self._grown()
        await self._stream(400)  # lexers and formula fonts are loaded once
        self.window.commands["chat.new"].trigger()
        figures |= await self._streams()
        stops = [await self._stop() for _ in range(_STOPS)]
        figures["stop_ms"] = max(stops)
        return figures

    async def _open(self, conversation_id: str) -> float:
        """Opens a conversation; milliseconds until it is painted."""
        window = self.window
        begun = time.perf_counter()
        window.open_conversation(conversation_id)
        await _until(lambda: window.chat.open_id == conversation_id and window.chat_screen.view.message_ids())
        _paint(window)
        return (time.perf_counter() - begun) * 1000

    async def _open_many(self, conversation_id: str) -> dict[str, float]:
        gc.collect()
        self._before = psutil.Process().memory_info().rss
        return {"open_2000_ms": await self._open(conversation_id)}

    async def _scroll(self) -> dict[str, float]:
        """From the newest message upwards, a notch of the wheel a frame, without waiting between two."""
        from PySide6.QtCore import QTimer

        bar = self.window.chat_screen.view.scroll_area().verticalScrollBar()
        frames: list[float] = []
        over = asyncio.Event()
        last = time.perf_counter()

        def step() -> None:
            nonlocal last
            now = time.perf_counter()
            frames.append(now - last)
            last = now
            if len(frames) > _FRAMES:
                timer.stop()
                over.set()
            else:
                bar.setValue(bar.value() - _STEP)

        timer = QTimer()
        timer.setInterval(0)
        timer.timeout.connect(step)
        timer.start()
        await over.wait()
        slow = sorted(frames[1:], reverse=True)
        at_95 = slow[len(slow) // 20]
        return {
            "scroll_fps_p5": 1 / at_95,
            "frame_ms_median": slow[len(slow) // 2] * 1000,
            "frame_ms_max": slow[0] * 1000,
        }

    def _grown(self) -> float:
        gc.collect()
        return (psutil.Process().memory_info().rss - self._before) / 1000 / _MESSAGES

    async def _streams(self) -> dict[str, float]:
        """The same answer several times; of each tenth the least it cost, for a shared machine makes some dearer."""
        worst = 0.0
        tenths = [float("inf")] * 10
        for number in range(_STREAMS):
            if number:
                self.window.commands["chat.new"].trigger()
            stall, costs = await self._stream(self.tokens)
            worst = max(worst, stall)
            tenths = [min(pair) for pair in zip(tenths, costs, strict=True)]
        return {
            "stall_ms_max": worst,
            "repaint_ratio_last_first": tenths[-1] / max(tenths[0], 1e-9),
            "us_per_token_first": tenths[0],
            "us_per_token_last": tenths[-1],
            "tokens": self.tokens,
        }

    async def _stream(self, tokens: int) -> tuple[float, list[float]]:
        """An answer from its first token to its last.

        Returns:
            Milliseconds of the longest pause; microseconds of the window's thread per token, tenth by tenth.
        """
        from app.benchmarks.echo import long_answer

        echo = self.echo
        echo.answer = long_answer(tokens)
        heart = _Heart()
        heart.start()
        idle = time.thread_time()
        await asyncio.sleep(1.0)
        idle = time.thread_time() - idle  # the beat itself, in seconds of a second
        heart.start()
        self.window.chat.send("Write as much as you can.")
        await _until(lambda: self.window.chat.streaming_id)
        marks: list[tuple[float, float]] = [(time.thread_time(), time.perf_counter())]

        for tenth in range(1, 11):
            goal = len(echo.answer) * tenth // 10 - 40
            # Asked of the echo: the window would put its text together each time, and the copy be counted as its own.
            await _until(lambda goal=goal: echo.sent >= goal or echo.ended.is_set(), 600.0, 0.02)  # type: ignore[misc]
            marks.append((time.thread_time(), time.perf_counter()))
        await echo.ended.wait()
        await _until(lambda: not self.window.chat.busy)
        worst = heart.stop()
        costs = [(b[0] - a[0]) - idle * (b[1] - a[1]) for a, b in itertools.pairwise(marks)]
        return worst, [cost / (tokens / 10) * 1e6 for cost in costs]

    async def _stop(self) -> float:
        """Milliseconds from Esc to a window that is ready for the next question."""
        from PySide6.QtCore import QCoreApplication, QEvent, Qt
        from PySide6.QtGui import QKeyEvent

        window = self.window
        window.chat.send("And once more.")
        await _until(lambda: window.chat.streaming_id and len(window.chat.branch()[-1].content) > 400)
        begun = time.perf_counter()
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            key = QKeyEvent(kind, Qt.Key.Key_Escape, Qt.KeyboardModifier.NoModifier)
            QCoreApplication.sendEvent(window.chat_screen.composer.input, key)
        await _until(lambda: not window.chat.busy)
        return (time.perf_counter() - begun) * 1000


def _chat(tokens: int, tok_s: float) -> int:
    import qasync
    from PySide6.QtWidgets import QApplication

    from ui.bridge.engine_link import EngineLink
    from ui.main_window import MainWindow
    from ui.theme import apply_theme

    app = QApplication(sys.argv[:1])
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    apply_theme(app, "light")
    window = MainWindow(EngineLink())
    window.resize(*_SIZE)
    window.show()
    with loop:
        print(json.dumps(loop.run_until_complete(_Bench(window, tokens, tok_s).run())), flush=True)
        loop.run_until_complete(window.link.close())
    return 0


async def _started(desktop: Desktop) -> None:
    await desktop.shown.wait()
    shown = time.monotonic()
    await asyncio.sleep(3.0)  # the engine has answered, lists are read, the parser is warm
    figures = {"window_s": shown, "window_rss_mb": psutil.Process().memory_info().rss / 1e6}
    print(json.dumps(figures | await _catalogue(desktop.window)), flush=True)


async def _catalogue(window: MainWindow) -> dict[str, float]:
    """Milliseconds until the page of the catalogue is painted, and until it says of every model whether it fits."""
    from ui.library.offer_list import OfferList

    begun = time.perf_counter()
    page = window.show_downloads()
    _paint(window)
    shown = time.perf_counter() - begun
    await _until(lambda: isinstance(page.answer, OfferList))
    _paint(window)
    return {"catalogue_ms": shown * 1000, "planned_ms": (time.perf_counter() - begun) * 1000}


def _paint(window: MainWindow) -> None:
    from PySide6.QtCore import QCoreApplication, QEvent

    window.repaint()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.UpdateRequest.value)


def main(arguments: list[str]) -> int:
    """`start`, or `chat TOKENS TOK_S`; prints one JSON object."""
    if arguments[0] == "chat":
        return _chat(int(arguments[1]), float(arguments[2]))
    from app.gui import run

    return run(_started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
