"""A long life: the power goes in an answer, the machine sleeps in one, the program ends with a text half typed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from PySide6.QtWidgets import QApplication

from backend.config.paths import Paths
from backend.storage.store import Store
from tests.journeys.person import Person, play

pytestmark = [pytest.mark.journey, pytest.mark.model]

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is POSIX")

#: Asks for a long answer, and says when it is being written and how it ended.
ASKING = """
import asyncio, sys
from app.gui import run
from tests.journeys.person import Person

async def act(desktop):
    person = Person(desktop)
    await person.ready()
    person.long() if sys.argv[1] == "long" else person.brief(40)
    person.say("Tell me everything about rivers.")
    await person.until(person.streaming)
    print(desktop.supervisor.pid, flush=True)
    await person.until(lambda: person.ended("complete"))
    print(len(person.last().content), person.states.count(("ready", "")), flush=True)

sys.exit(run(act))
"""


@contextmanager
def asking(length: str) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ASKING, length]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=env) as window:
        assert window.stdout is not None
        try:
            yield window, psutil.Process(int(window.stdout.readline()))
        finally:
            if window.poll() is None:
                window.kill()


def test_what_was_written_is_there_after_the_window_was_killed_in_an_answer(home: Paths, qapp: QApplication) -> None:
    with asking("long") as (window, engine):
        window.kill()
        window.wait()
        psutil.wait_procs([engine], timeout=10)

    async def act(person: Person) -> None:
        await person.until(lambda: person.chat.open_id or len(person.chat.list))
        person.window.open_conversation(next(iter(person.chat.list._all)))
        await person.until(lambda: len(person.texts()) == 2)
        question, answer = person.chat.branch()
        assert question.content == "Tell me everything about rivers."
        assert answer.status in ("interrupted", "stopped")
        assert answer.content
        await person.ready()
        person.brief()
        person.chat.continue_answer()
        again = await person.answered()
        assert again.content.startswith(answer.content)

    play(qapp, act)


@posix
@pytest.mark.parametrize("seconds", [4.0])
def test_an_answer_goes_on_after_a_sleep(home: Paths, seconds: float) -> None:
    with asking("brief") as (window, engine):
        assert window.stdout is not None
        for process in (window.pid, engine.pid):
            os.kill(process, signal.SIGSTOP)
        threading.Event().wait(seconds)  # the sleep itself: nothing happens that could be waited for
        for process in (engine.pid, window.pid):
            os.kill(process, signal.SIGCONT)
        length, times_ready = map(int, window.stdout.readline().split())
        assert length > 0
        assert times_ready == 1  # the link and the engine are those of before
        assert window.wait(20) == 0


def test_what_is_typed_while_the_program_ends_is_there_at_the_next_start(home: Paths, qapp: QApplication) -> None:
    async def first(person: Person) -> None:
        await person.ready()
        person.brief()
        await person.answered("Name a river.")
        person.window.chat_screen.composer.set_text("And its sou")

    async def second(person: Person) -> None:
        await person.until(lambda: person.chat.open_id)
        await person.until(lambda: person.window.chat_screen.composer.text())
        assert person.window.chat_screen.composer.text() == "And its sou"

    play(qapp, first)
    with Store.open(home.database) as store:
        (conversation,) = store.conversations()
        assert conversation.draft == "And its sou"
    play(qapp, second)
