"""The window's start: every step in the order that brings it to the screen soonest.

The engine process is started before Qt is imported, so that it reads its model while the window is built.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.display import why_no_window
from app.engine_options import engine_arguments, engine_environment
from app.models import first_model
from app.single_instance import claim, knock
from app.supervisor import Handshake, Limits, Supervisor
from app.terminal import say
from backend.config.paths import Paths, paths
from backend.config.settings import Settings
from backend.storage.locks import FileLock

if TYPE_CHECKING:
    from app.desktop import Desktop

__all__ = ["Script", "Start", "prepare", "run"]

#: Drives the window in place of a person: for benchmarks and journeys.
Script = Callable[["Desktop"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Start:
    """What a window is made of. `notices` are sentences for the user, `model` is the file that is loaded at once."""

    where: Paths
    lock: FileLock
    settings: Settings
    supervisor: Supervisor
    notices: list[str]
    model: Path | None


def run(script: Script | None = None) -> int:
    """Opens the window and returns the exit code when it is closed."""
    if sentence := why_no_window():
        say(sentence)
        return 1
    start = prepare()
    if start is None:
        return _raise_first_window(paths())
    start.supervisor.spawn()
    try:
        return _show(start, script)
    finally:
        start.supervisor.stop_blocking()
        start.lock.release()


def prepare(*, limits: Limits | None = None, command: Sequence[str] | None = None) -> Start | None:
    """Everything but Qt; None where another window has this data folder. `limits` and `command` are for tests."""
    where = paths()
    lock = claim(where.data)
    if lock is None:
        return None
    settings = Settings.load(where.settings)
    wish = first_model("", settings)
    notices = list(wish.notices)
    if wish.path is None:
        notices.append("The built-in model has not been fetched yet. Open a model file, or choose another model.")
    supervisor = Supervisor(
        engine_arguments(settings, wish.path),
        env=engine_environment(settings),
        log=where.logs / "engine.log",
        limits=limits,
        command=command,
        probe=_probe,
    )
    return Start(where, lock, settings, supervisor, notices, wish.path)


def _show(start: Start, script: Script | None) -> int:
    import qasync
    from PySide6.QtWidgets import QApplication

    from app.desktop import Desktop

    app = QApplication(sys.argv[:1])
    loop = qasync.QEventLoop(app)
    asyncio.set_event_loop(loop)
    desktop = Desktop(app, start.supervisor, start.settings, start.where, start.notices, start.model)
    with loop:
        loop.run_until_complete(desktop.run(script))
    return desktop.exit_code


def _raise_first_window(where: Paths) -> int:
    from PySide6.QtCore import QCoreApplication

    app = QCoreApplication.instance() or QCoreApplication(sys.argv[:1])
    answered = knock(where.data)
    del app
    if answered:
        say("Nutshell is already open; its window was brought to the front.")
        return 0
    say("Nutshell is already open, but its window does not answer. End it, then start again.")
    return 1


async def _probe(handshake: Handshake) -> None:
    """One question to the engine, on a connection of its own: 2 ms here, every 15 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", handshake.port)
    try:
        head = f"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{handshake.port}\r\n"
        writer.write(f"{head}Authorization: Bearer {handshake.token}\r\nConnection: close\r\n\r\n".encode())
        if not (await reader.readline()).startswith(b"HTTP/1.1 200"):
            raise ConnectionError("the engine refused a health check")
        await reader.read()
    finally:
        writer.close()
