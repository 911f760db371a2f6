"""The window, from the first start to everything that can go wrong, with the real engine and the real model."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from app.desktop import Desktop
from backend.api.schemas import ErrorInfo, NewConversation
from backend.config.paths import Paths
from backend.storage.store import Store
from tests.journeys.person import Person, play

pytestmark = [pytest.mark.journey, pytest.mark.model]

ROOT = Path(__file__).resolve().parents[2]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes are POSIX")


def test_first_start_to_answer_and_a_second_turn(home: Paths, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        person.brief()
        person.say("Why is the sky blue?")  # before the model is there: it waits
        first = await person.answered()
        assert first.content.strip()
        assert first.stats is not None
        assert first.stats.completion_tokens == 12
        second = await person.answered("And the sea?")
        assert second.stats is not None
        assert second.stats.cached_tokens > first.stats.prompt_tokens  # only what is new was read
        assert len(person.texts()) == 4

    play(qapp, act)
    with Store.open(home.database) as store:
        (conversation,) = store.conversations()
        assert conversation.title
        assert len(store.detail(conversation.id).messages) == 4


def test_an_edit_and_a_retry_make_branches(home: Paths, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        person.brief()
        await person.answered("Name a fruit.")
        question, answer = person.chat.branch()
        person.chat.edit(question.id, "Name a river.")
        await person.until(lambda: "Name a river." in person.texts())
        await person.answered()
        edited = person.chat.branch()
        assert edited[0].id != question.id
        assert person.chat.siblings()[edited[0].id] == (1, 2)
        person.chat.regenerate()
        await person.until(lambda: person.chat.branch()[-1].id != edited[1].id)
        await person.answered()
        assert person.chat.siblings()[person.chat.branch()[-1].id] == (1, 2)
        person.chat.step_branch(edited[0].id, -1)
        await person.until(lambda: person.texts() == [question.content, answer.content])

    play(qapp, act)


def test_stop_takes_less_than_200_ms(home: Paths, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        took = []
        for _ in range(3):
            person.chat.new_chat()
            person.long()
            person.say("Tell me a very long story.")
            await person.until(person.streaming)
            pressed = time.monotonic()
            person.press(Qt.Key.Key_Escape)
            answer = await person.answered(status="stopped")
            took.append(time.monotonic() - pressed)
            assert answer.content
        assert sorted(took)[1] < 0.2, took

    play(qapp, act)


@posix
def test_a_killed_engine_costs_a_sentence_and_no_text(home: Paths, qapp: QApplication) -> None:
    async def act(person: Person) -> None:
        await person.ready()
        person.long()
        person.say("Tell me a very long story.")
        await person.until(lambda: person.streaming() and len(person.texts()[-1]) > 40)
        seen = person.texts()[-1]
        engine = person.engine()
        engine.send_signal(signal.SIGKILL)
        said = "probably because memory ran out. Your text is saved. It is starting again"
        await person.until(lambda: any(said in text for _, text in person.states))
        assert said in person.shown_text()
        assert person.texts()[-1].startswith(seen)
        await person.ready()  # the engine and its model are back by themselves
        assert person.engine().pid != engine.pid
        await person.until(lambda: person.last().status == "interrupted")
        assert person.texts()[-1].startswith(seen)
        person.brief(8)
        kept = person.texts()[-1]
        person.chat.continue_answer()
        await person.until(lambda: person.streaming() or person.ended("complete"))
        answer = await person.answered()
        assert answer.content.startswith(kept)
        assert len(answer.content) > len(kept)

    play(qapp, act)


@posix
def test_a_killed_window_takes_its_engine_with_it(home: Paths) -> None:
    script = (
        "import asyncio, sys\n"
        "from app.gui import run\n"
        "async def act(desktop):\n"
        "    await desktop.supervisor.ready()\n"
        "    print(desktop.supervisor.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "run(act)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as window:
        assert window.stdout is not None
        engine = psutil.Process(int(window.stdout.readline()))
        family = [engine, *engine.children(recursive=True)]
        window.kill()
        window.wait()
        deadline = time.monotonic() + 2.0
        while any(_alive(process) for process in family) and time.monotonic() < deadline:
            time.sleep(0.02)  # an orphan of a dead process has no event to wait for
    assert not any(_alive(process) for process in family)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@posix
def test_sigterm_closes_the_window_in_order(home: Paths) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from app.gui import run\n"
        "async def act(desktop):\n"
        "    await desktop.supervisor.ready()\n"
        "    print(desktop.supervisor.pid, flush=True)\n"
        "    await desktop.closing.wait()\n"
        "sys.exit(run(act))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as window:
        assert window.stdout is not None
        engine = psutil.Process(int(window.stdout.readline()))
        window.terminate()
        assert window.wait(15) == 0
    assert not _alive(engine)


@pytest.mark.qt_log_ignore("This plugin does not support raise")
def test_a_second_start_raises_the_first_window(
    home: Paths, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[bool] = []
    real = Desktop.raise_window
    monkeypatch.setattr(Desktop, "raise_window", lambda self: (raised.append(True), real(self))[1])

    async def act(person: Person) -> None:
        second = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "app"], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            await person.until(lambda: second.poll() is not None)
            assert second.returncode == 0
            assert second.stderr is not None
            assert "already open" in second.stderr.read()
        finally:
            second.kill()
            second.communicate()
        assert raised == [True]

    play(qapp, act)


def test_a_model_file_that_is_gone_is_replaced_by_the_built_in_model(home: Paths, qapp: QApplication) -> None:
    home.data.mkdir(parents=True)
    home.settings.write_text(json.dumps({"last_model": str(home.data / "gone.gguf")}))

    async def act(person: Person) -> None:
        await person.ready()
        await person.until(lambda: any("is no longer where it was" in text for text in person.notices))
        assert person.window.models.loaded.entry.source == "builtin"

    play(qapp, act)


def test_an_engine_that_does_not_start_is_a_page_with_a_way_out(home: Paths, qapp: QApplication) -> None:
    broken = [sys.executable, "-c", "import sys; print('no such library', file=sys.stderr); sys.exit(7)"]

    async def act(person: Person) -> None:
        await person.until(lambda: person.desktop.link.state == "failed")
        error = person.desktop.link.error
        assert error is not None
        assert error.what == "The engine does not start."
        assert "error code 7" in error.why
        assert "no such library" in error.details
        await person.until(lambda: "The engine does not start." in person.shown_text())
        person.desktop.supervisor._command = [sys.executable, "-P", "-m", "backend.api"]  # it was repaired
        person.window.restart_requested.emit()
        await person.ready()
        person.brief()
        assert (await person.answered("Say hello.")).content

    play(qapp, act, command=broken)


def test_a_damaged_database_is_set_aside_and_said(home: Paths, qapp: QApplication) -> None:
    home.data.mkdir(parents=True)
    with Store.open(home.database):
        pass
    size = home.database.stat().st_size
    home.database.write_bytes(b"this is not a database at all. " * (size // 31))

    async def act(person: Person) -> None:
        await person.ready()
        await person.until(lambda: "damaged" in person.shown_text() or any("damaged" in n for n in person.notices))
        person.brief()
        assert (await person.answered("Say hello.")).content

    play(qapp, act)


READ_ONLY_SCRIPT = """
import json, sys
from app.gui import run
from tests.journeys.person import Person

async def act(desktop):
    person = Person(desktop)
    await person.until(lambda: "only be read" in person.shown_text())
    seen = {"state": desktop.link.state, "text": person.shown_text()}
    if desktop.link.state == "ready":
        await person.until(lambda: desktop.window.chat.list.rowCount() > 0)
        await person.ready()
        person.say("Say hello.")
        await person.until(lambda: desktop.window.notices.shown() == "problem")
        seen["refused"] = person.shown_text()
        seen["typed"] = desktop.window.chat_screen.composer.text()
    print(json.dumps(seen), flush=True)

sys.exit(run(act))
"""


def _in_read_only_folder(home: Paths) -> dict[str, str]:
    """What a window on a data folder without write permission shows. Root gives that power up first."""
    command = [sys.executable, "-c", READ_ONLY_SCRIPT]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root may write everywhere, and there is no setpriv to change that")
        command = [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    before = sorted(home.data.iterdir())
    home.data.chmod(0o500)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    finally:
        home.data.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert sorted(home.data.iterdir()) == before
    seen: dict[str, str] = json.loads(done.stdout)
    return seen


@posix
def test_a_read_only_folder_with_conversations_shows_them(home: Paths) -> None:
    home.data.mkdir(parents=True)
    with Store.open(home.database) as store:
        store.create_conversation(NewConversation(title="Before"))
    for path in [*home.data.rglob("*"), home.data]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    seen = _in_read_only_folder(home)
    assert seen["state"] == "ready"
    assert seen["typed"] == "Say hello."  # what could not be kept was not taken either
    assert "only be read" in seen["refused"]


@posix
def test_a_new_read_only_folder_opens_a_window_that_says_so(home: Paths) -> None:
    home.data.mkdir(parents=True)
    seen = _in_read_only_folder(home)
    assert seen["state"] == "failed"
    assert str(home.data) in seen["text"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root to make a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False)
    if made.returncode != 0:
        pytest.skip("this machine lets nobody make a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 1024, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


def test_a_full_disk_is_said_and_survived(
    home: Paths, small_disk: Path, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(small_disk / "data"))

    async def act(person: Person) -> None:
        await person.ready()
        person.brief()
        first = await person.answered("Say hello.")
        filler = _fill(small_disk)
        person.brief(400)
        person.say("Write a long story about the sea, and never stop. " * 40)
        await person.until(lambda: "disk" in person.shown_text() and "full" in person.shown_text())
        assert person.chat.branch()[1].content == first.content
        await person.until(lambda: not person.chat.busy)
        filler.unlink()
        person.brief()
        assert (await person.answered("Say hello again.")).content

    play(qapp, act)


def test_a_disk_that_is_full_at_the_start_still_opens_a_window(
    home: Paths, small_disk: Path, qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(small_disk / "data"))
    _fill(small_disk)

    async def act(person: Person) -> None:
        await person.until(lambda: "full" in person.shown_text())
        assert person.window.isVisible()

    play(qapp, act)


def test_a_dropped_file_that_is_damaged_is_refused_with_a_sentence(
    home: Paths, qapp: QApplication, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(500))

    async def act(person: Person) -> None:
        await person.ready()
        problems: list[ErrorInfo] = []
        person.window.models.problem.connect(problems.append)
        person.drop(damaged)
        await person.until(lambda: problems and problems[0].what in person.shown_text())
        await person.ready()  # the model that was there still answers
        person.brief()
        assert (await person.answered("Say hello.")).content

    play(qapp, act)
