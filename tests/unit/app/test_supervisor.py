"""The supervisor against a small fake engine: every way to start, to die and to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.supervisor import Died, EngineState, Failed, Limits, Ready, Starting, Stopped, Supervisor, reason_for_exit
from backend.api.errors import EngineUnavailableError, PortInUseError

FAKE = Path(__file__).with_name("fake_engine.py")
QUICK = Limits(handshake_s=10, back_off_s=(0.01, 0.02, 0.03), stop_s=1.5, terminate_s=0.3, probe_every_s=0.05)


class Recorder:
    """The states seen, and a way to wait for one."""

    def __init__(self) -> None:
        self.seen: list[EngineState] = []
        self._waiters: list[tuple[Callable[[EngineState], bool], asyncio.Future[EngineState]]] = []

    def __call__(self, state: EngineState) -> None:
        self.seen.append(state)
        for wanted, future in self._waiters:
            if wanted(state) and not future.done():
                future.set_result(state)

    async def wait_for(self, kind: type[EngineState], count: int = 1) -> Any:
        def enough(_state: EngineState) -> bool:
            return sum(isinstance(s, kind) for s in self.seen) >= count

        future: asyncio.Future[EngineState] = asyncio.get_running_loop().create_future()
        self._waiters.append((enough, future))
        if not (self.seen and enough(self.seen[-1])):
            await asyncio.wait_for(future, 20)
        return [s for s in self.seen if isinstance(s, kind)][count - 1]


def supervisor(mode: str, *more: str, tmp_path: Path, **options: Any) -> Supervisor:
    options.setdefault("limits", QUICK)
    return Supervisor(
        [mode, *more], command=[sys.executable, str(FAKE)], log=tmp_path / "logs" / "engine.log", **options
    )


def ends_within(process: psutil.Process, seconds: float) -> bool:
    """An orphan that ended stays a zombie where nobody reaps it (a container's first process often does not)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)  # a process of someone else's offers no event to wait for
    return False


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_starts_hands_over_the_address_and_stops_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        states = Recorder()
        engine = supervisor("good", tmp_path=tmp_path)
        engine.begin(states)
        handshake = await engine.ready()
        assert handshake.token == "secret"
        assert handshake.base_url == f"http://127.0.0.1:{handshake.port}"
        process = psutil.Process(handshake.pid)
        await engine.stop()
        assert not process.is_running()
        assert [type(s) for s in states.seen] == [Starting, Ready, Stopped]

    run(scenario())
    log = (tmp_path / "logs" / "engine.log").read_text()
    assert "asked to shut down" in log
    assert "a line that is no handshake" in log
    assert "secret" not in log  # the token stays out of files


def test_spawns_before_there_is_an_event_loop(tmp_path: Path) -> None:
    engine = supervisor("good", tmp_path=tmp_path)
    engine.spawn()
    pid = engine.pid
    assert pid is not None

    async def scenario() -> None:
        engine.begin(lambda _state: None)
        assert (await engine.ready()).pid == pid
        await engine.stop()

    run(scenario())


def test_a_killed_engine_comes_back_and_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        states = Recorder()
        engine = supervisor("good", tmp_path=tmp_path)
        engine.begin(states)
        first = await engine.ready()
        os.kill(first.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        died = await states.wait_for(Died)
        assert died.was_ready
        if sys.platform != "win32":
            assert died.reason == "The engine was stopped by the system, probably because memory ran out."
        second = (await states.wait_for(Ready, 2)).handshake
        assert second.pid != first.pid
        await engine.stop()

    run(scenario())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die from")
def test_an_abort_at_start_is_named_and_retried(tmp_path: Path) -> None:
    async def scenario() -> None:
        states = Recorder()
        engine = supervisor("crash-once", str(tmp_path / "marker"), tmp_path=tmp_path)
        engine.begin(states)
        died = await states.wait_for(Died)
        assert not died.was_ready
        assert "a fault it could not continue from" in died.reason
        assert (await engine.ready()).token == "secret"
        assert states.seen[2] == Starting(2)
        await engine.stop()

    run(scenario())


def test_gives_up_after_three_failures_with_the_last_log_lines(tmp_path: Path) -> None:
    async def scenario() -> None:
        states = Recorder()
        engine = supervisor("never-ready", tmp_path=tmp_path)
        engine.begin(states)
        with pytest.raises(EngineUnavailableError) as caught:
            await engine.ready()
        assert caught.value.what == "The engine does not start."
        assert caught.value.why == "The engine ended with error code 9 while it was starting."
        assert "llama: cannot allocate" in caught.value.details
        assert sum(isinstance(s, Died) for s in states.seen) == 2
        assert isinstance(states.seen[-1], Failed)
        engine.arguments = ["good"]
        await engine.restart()
        assert (await engine.ready()).token == "secret"
        await engine.stop()

    run(scenario())


def test_a_refusal_in_the_engines_own_words_is_final(tmp_path: Path) -> None:
    async def scenario() -> None:
        states = Recorder()
        engine = supervisor("refuse", tmp_path=tmp_path)
        engine.begin(states)
        with pytest.raises(PortInUseError, match=r"Port 1 is in use\. Choose another\."):
            await engine.ready()
        assert [type(state) for state in states.seen] == [Starting, Failed]
        await engine.stop()

    run(scenario())


def test_a_missing_program_fails_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = Supervisor(command=[str(tmp_path / "nothing-here")], limits=QUICK)
        engine.spawn()
        engine.begin(lambda _state: None)
        with pytest.raises(EngineUnavailableError, match="could not be started"):
            await engine.ready()
        await engine.stop()

    run(scenario())


def test_a_mute_engine_is_ended_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = Limits(handshake_s=0.1, give_up_failures=1, stop_s=1.0, terminate_s=0.3)
        engine = supervisor("mute", tmp_path=tmp_path, limits=limits)
        engine.begin(lambda _state: None)
        with pytest.raises(EngineUnavailableError, match="did not answer within 0 seconds"):
            await engine.ready()
        await engine.stop()

    run(scenario())


def test_a_deaf_engine_is_killed_on_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = supervisor("deaf", tmp_path=tmp_path, limits=Limits(stop_s=0.2, terminate_s=0.2))
        engine.begin(lambda _state: None)
        process = psutil.Process((await engine.ready()).pid)
        await engine.stop()
        assert not process.is_running()

    run(scenario())


def test_an_engine_that_stops_answering_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        first: list[int] = []

        async def probe(handshake: Any) -> None:
            first[:] = first or [handshake.pid]
            if handshake.pid == first[0]:
                raise OSError("no answer")

        states = Recorder()
        engine = supervisor("good", tmp_path=tmp_path, probe=probe)
        engine.begin(states)
        died = await states.wait_for(Died)
        assert died.reason == "The engine stopped answering, so it was ended."
        await states.wait_for(Ready, 2)
        await engine.stop()

    run(scenario())


def test_a_folder_that_cannot_be_written_costs_the_log_only(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")

    async def scenario() -> None:
        engine = supervisor("good", tmp_path=tmp_path)
        engine.begin(lambda _state: None)
        await engine.ready()
        await engine.stop()
        assert "asked to shut down" in engine.log.tail()

    run(scenario())


def test_the_engine_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from app.supervisor import Supervisor\n"
        "async def main():\n"
        f"    engine = Supervisor(['good'], command=[sys.executable, {str(FAKE)!r}])\n"
        "    engine.begin(lambda state: None)\n"
        "    print((await engine.ready()).pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root) as owner:
        assert owner.stdout is not None
        engine = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    assert ends_within(engine, 2.0)


def test_the_log_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app import engine_log

    monkeypatch.setattr(engine_log, "_MOST_BYTES", 1000)
    log = engine_log.EngineLog(tmp_path / "engine.log")
    for number in range(200):
        log.write(f"line {number:04d} of the engine's words\n".encode())
    log.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 1100
    assert log.tail(1) == "line 0199 of the engine's words"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-9, "memory ran out"),
        (-6, "could not continue"),
        (-11, "crashed"),
        (-4, "instruction"),
        (1, "error code 1"),
        (0, "by itself"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="exit codes are not signals there")
def test_exit_codes_become_sentences(code: int, words: str) -> None:
    sentence = reason_for_exit(code, ready=True)
    assert words in sentence
    assert sentence.endswith(".")
