"""A person at the real window: offscreen, with the real engine process behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import qasync
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from app.desktop import Desktop
from app.gui import prepare
from app.supervisor import Limits
from backend.api.schemas import Message, Sampling

#: Starts again at once; everything else as for people.
LIMITS = Limits(back_off_s=(0.05, 0.1, 0.1))
#: How long anything may take here before the test fails. Generous: other programs run on the same machine.
PATIENCE_S = 60.0


@dataclass
class Person:
    """What a person does and sees."""

    desktop: Desktop
    notices: list[str] = field(default_factory=list)
    states: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desktop.link.notice.connect(lambda _level, text: self.notices.append(text))
        self.desktop.link.state_changed.connect(lambda state, text: self.states.append((state, text)))

    @property
    def window(self) -> Any:
        return self.desktop.window

    @property
    def chat(self) -> Any:
        return self.window.chat

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
        """Waits for a condition, looking after every turn of Qt's loop."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what a person sees has no event of its own
                await asyncio.sleep(0.005)

    async def ready(self) -> None:
        await self.until(lambda: self.window.models.can_answer)

    def say(self, text: str) -> None:
        """Types into the composer and presses Enter."""
        self.window.chat_screen.composer.set_text(text)
        self.press(Qt.Key.Key_Return)

    def press(self, key: Qt.Key) -> None:
        QTest.keyClick(self.editor(), key)

    def drop(self, path: Path) -> None:
        """Drags a file over the window and lets it go."""
        what = QMimeData()
        what.setUrls([QUrl.fromLocalFile(str(path))])
        where, copy = QPointF(self.window.rect().center()), Qt.DropAction.CopyAction
        button, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QApplication.sendEvent(self.window, QDragEnterEvent(where.toPoint(), copy, what, button, keys))
        QApplication.sendEvent(self.window, QDropEvent(where, copy, what, button, keys))

    def editor(self) -> QWidget:
        return self.window.chat_screen.composer.input

    def last(self) -> Message | None:
        branch = self.chat.branch()
        return branch[-1] if branch else None

    def texts(self) -> list[str]:
        return [message.content for message in self.chat.branch()]

    async def answered(self, text: str = "", *, status: str = "complete") -> Message:
        """Says something and waits until the answer under it has ended."""
        if text:
            self.say(text)
            await self.until(lambda: text in self.texts())
        await self.until(lambda: self.streaming() or self.ended(status))
        await self.until(lambda: self.ended(status))
        answer = self.last()
        assert answer is not None
        return answer

    def streaming(self) -> bool:
        last = self.last()
        return last is not None and last.role == "assistant" and last.status == "streaming" and bool(last.content)

    def ended(self, status: str) -> bool:
        last = self.last()
        return last is not None and last.role == "assistant" and last.status == status and not self.chat.busy

    def brief(self, max_tokens: int = 12) -> None:
        """Short answers that are the same each time."""
        self.chat.configure(sampling=Sampling(temperature=0.0, seed=5, max_tokens=max_tokens))

    def long(self) -> None:
        """An answer that goes on for long."""
        self.chat.configure(sampling=Sampling(temperature=1.2, seed=5, top_k=0, min_p=0.0, max_tokens=4000))

    def shown_text(self) -> str:
        """All text that the window shows in labels that can be seen."""
        from PySide6.QtWidgets import QLabel

        return "\n".join(label.text() for label in self.window.findChildren(QLabel) if label.isVisible())

    def engine(self) -> psutil.Process:
        pid = self.desktop.supervisor.pid
        assert pid is not None
        return psutil.Process(pid)


Act = Callable[[Person], Awaitable[None]]


def play(
    app: QApplication,
    act: Act,
    *,
    command: Sequence[str] | None = None,
    limits: Limits = LIMITS,
    faults: bool = False,
    seconds: float = 110,
) -> None:
    """Opens the window as the program does, lets `act` use it, closes it, and looks for what was left behind.

    `command` is another engine program; with `faults` the window may report a fault of its own.
    """
    start = prepare(limits=limits, command=command)
    assert start is not None
    before = set(psutil.Process().children(recursive=True))
    start.supervisor.spawn()
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    with _logging_restored():
        try:
            desktop = Desktop(app, start.supervisor, start.settings, start.where, start.notices, start.model)

            async def script(running: Desktop) -> None:
                await running.shown.wait()
                await act(person)

            person = Person(desktop)
            with loop:
                loop.run_until_complete(asyncio.wait_for(desktop.run(script), seconds))
        finally:
            start.supervisor.stop_blocking()
            start.lock.release()
            asyncio.set_event_loop(None)
    assert not desktop.window.isVisible()
    desktop.window.deleteLater()
    desktop.deleteLater()
    assert faults or desktop.faults == []
    left = [process for process in set(psutil.Process().children(recursive=True)) - before if process.is_running()]
    assert psutil.wait_procs(left, timeout=3)[1] == []


@contextlib.contextmanager
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            with contextlib.suppress(OSError):  # the disk may be full
                handler.close()
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.raiseExceptions = True
