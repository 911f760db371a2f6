"""Owns the engine process: start, health, restart, and no orphan ever.

The engine is `python -m backend.api`, started with pipes. Its first line on stdout is the handshake (port, token); it
ends by itself when its stdin reaches end-of-file, so an engine never outlives the process that holds the other end,
even when that one is killed. Everything here is `subprocess` and threads, which wait on the pipes and hand over
to the event loop, which is the same on three systems and under any loop (qasync's subprocess support is not).

`spawn()` needs no event loop: the window calls it before it imports Qt, so that the engine reads its model meanwhile.
`begin()` then reports what happened since, inside the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.engine_log import EngineLog
from backend.api.errors import BY_CODE, EngineUnavailableError, NutshellError

__all__ = ["Died", "EngineState", "Failed", "Handshake", "Limits", "Ready", "Starting", "Stopped", "Supervisor"]

#: where the packages `app` and `backend` lie
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Handshake:
    """How to reach an engine process: what it printed on its first line."""

    port: int
    token: str
    pid: int
    version: str
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        """The host to connect to: one that listens everywhere is reached through the loopback."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def base_url(self) -> str:
        """Address for `backend.api.client.Client`."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Starting:
    """A process is being started; `attempt` is 1 plus the failures of the last minute."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine answers at `handshake`."""

    handshake: Handshake


@dataclass(frozen=True, slots=True)
class Died:
    """The engine ended without being asked. `reason` is a sentence; another start follows after `retry_in_s`."""

    reason: str
    was_ready: bool
    retry_in_s: float
    details: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Given up, for a reason that the engine gave itself or after too many failures. `restart` tries again."""

    error: NutshellError


@dataclass(frozen=True, slots=True)
class Stopped:
    """Ended because it was asked to."""


EngineState = Starting | Ready | Died | Failed | Stopped


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. The defaults are for people; tests use shorter ones."""

    handshake_s: float = 30.0  # importing the engine takes 0.5 s here; a cold disk or a virus scanner takes 20
    give_up_failures: int = 3
    give_up_window_s: float = 60.0
    back_off_s: tuple[float, ...] = (0.1, 1.0, 3.0)
    stop_s: float = 2.5
    terminate_s: float = 1.0
    probe_every_s: float = 15.0
    probe_misses: int = 3


class Supervisor:
    """One engine process at a time, kept alive until `stop`.

    All callbacks and all methods but `spawn` and `stop_blocking` belong to the thread of the event loop given by
    `begin`.

    Attributes:
        arguments: command-line arguments of the next start (`--model ...`); a callback may change them.
        env: variables of the next start, over our own; likewise.
        state: the latest state; None before `begin`.
    """

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        log: Path | None = None,
        host: str = "127.0.0.1",
        command: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        probe: Callable[[Handshake], Awaitable[object]] | None = None,
    ) -> None:
        self.arguments = list(arguments)
        self.state: EngineState | None = None
        self.log = EngineLog(log)
        self._host = host
        # -P: a json.py in the folder that the user happens to stand in must not be imported by the engine.
        self._command = list(command) if command is not None else [sys.executable, "-P", "-m", "backend.api"]
        self.env = dict(env or {})
        self._limits = limits or Limits()
        self._probe = probe
        self._run: _Run | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[EngineState], None]] = []
        self._lock = threading.Lock()
        self._early: list[Callable[[], None]] = []
        self._failures: list[float] = []
        self._attempt = 0
        self._stopping = False
        self._spawn_error: OSError | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._health: asyncio.Task[None] | None = None
        self._changed: list[asyncio.Future[None]] = []

    # -- starting

    def spawn(self) -> None:
        """Starts a process now; needs no event loop. A failure is kept, and reported through `begin`."""
        self._attempt = len(self._failures) + 1
        self._spawn_error = None
        try:
            self._run = _Run(
                self._command + self.arguments,
                self.env,
                self._host,
                self.log,
                self._post_handshake,
                self._post_exit,
            )
        except OSError as error:
            self._run = None
            self._spawn_error = error

    def listen(self, on_state: Callable[[EngineState], None]) -> None:
        """Reports every state from here on to `on_state`, in the event loop."""
        self._listeners.append(on_state)

    def begin(self, on_state: Callable[[EngineState], None] | None = None) -> None:
        """Starts (if `spawn` was not called) and reports every state to `on_state`, in the running event loop."""
        if on_state is not None:
            self.listen(on_state)
        if self._run is None and self._spawn_error is None:
            self.spawn()
        loop = asyncio.get_running_loop()
        self._started()
        with self._lock:
            self._loop = loop
            for call in self._early:
                loop.call_soon(call)
            self._early.clear()

    async def restart(self) -> None:
        """Starts again, with a clean slate: after `Failed`, or to take up other `arguments`."""
        if self._stopping:
            return
        self._failures.clear()
        self._cancel_timers()
        run, self._run = self._run, None
        if run is not None:
            await asyncio.to_thread(run.close, self._limits)
        if not self._stopping and self._run is None:
            self._spawn_again()

    async def ready(self) -> Handshake:
        """The handshake, as soon as there is one.

        Raises:
            EngineUnavailableError: the engine was given up, or is being stopped.
            NutshellError: what the engine itself said instead (a port in use, a data folder that cannot be read).
        """
        while True:
            if isinstance(self.state, Ready):
                return self.state.handshake
            if isinstance(self.state, Failed):
                raise self.state.error
            if isinstance(self.state, Stopped):
                raise EngineUnavailableError("The engine was stopped.")
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.append(changed)
            await changed

    @property
    def pid(self) -> int | None:
        """Process id of the engine, or None while there is none."""
        return self._run.process.pid if self._run is not None else None

    # -- ending

    async def stop(self) -> None:
        """Ends the engine in order: asks, then terminates, then kills. Returns when the process is gone."""
        self._stopping = True
        self._cancel_timers()
        run, self._run = self._run, None
        if run is not None:
            await asyncio.to_thread(run.close, self._limits)
        self._set(Stopped())

    def stop_blocking(self) -> None:
        """`stop` for a thread without an event loop (interpreter exit, a crash handler)."""
        self._stopping = True
        run, self._run = self._run, None
        if run is not None:
            run.close(self._limits)

    # -- what the threads report

    def _post(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._loop is None:
                self._early.append(call)
                return
            loop = self._loop
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            loop.call_soon_threadsafe(call)

    def _post_handshake(self, run: _Run, handshake: Handshake) -> None:
        self._post(lambda: self._is_ready(run, handshake))

    def _post_exit(self, run: _Run, code: int) -> None:
        self._post(lambda: self._has_ended(run, code))

    # -- state, on the loop

    def _set(self, state: EngineState) -> None:
        self.state = state
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)
        for listener in self._listeners:
            listener(state)

    def _started(self) -> None:
        self._set(Starting(self._attempt))
        if self._spawn_error is not None:
            error, self._spawn_error = self._spawn_error, None
            # Missing or not executable: no number of attempts will change that.
            self._fail(f"The engine program could not be started: {error.strerror or error}.", details=str(error))
        elif self._run is not None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._limits.handshake_s, self._too_slow, self._run)

    def _spawn_again(self) -> None:
        self._retry = None
        self.spawn()
        self._started()

    def _too_slow(self, run: _Run) -> None:
        if run is self._run:
            run.verdict = f"The engine did not answer within {self._limits.handshake_s:.0f} seconds."
            run.process.kill()  # the exit is reported by the waiting thread

    def _is_ready(self, run: _Run, handshake: Handshake) -> None:
        if run is not self._run or self._stopping:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._probe is not None:
            self._health = asyncio.get_running_loop().create_task(self._watch_health(run, handshake))
        self._set(Ready(handshake))

    def _has_ended(self, run: _Run, code: int) -> None:
        if run is not self._run or self._stopping:
            return
        self._cancel_timers()
        self._run = None
        run.release()
        reason = run.verdict or reason_for_exit(code, ready=run.handshake is not None)
        details = self.log.tail()
        if run.refusal is not None:  # it knows why, and would say the same again
            self._set(Failed(run.refusal))
            return
        now = time.monotonic()
        self._failures = [t for t in self._failures if now - t < self._limits.give_up_window_s] + [now]
        if len(self._failures) >= self._limits.give_up_failures:
            self._fail(reason, details=details)
            return
        steps = self._limits.back_off_s
        delay = steps[min(len(self._failures), len(steps)) - 1]
        self._set(Died(reason, run.handshake is not None, delay, details))
        if not self._stopping and self._run is None:  # a callback may have stopped or restarted
            self._retry = asyncio.get_running_loop().call_later(delay, self._spawn_again)

    def _fail(self, why: str, *, details: str) -> None:
        more = f" The log is {self.log.path}." if self.log.path is not None else ""
        self._set(
            Failed(
                EngineUnavailableError(
                    "The engine does not start.",
                    why=why,
                    remedy=f"Your conversations are safe; try again.{more}",
                    details=details,
                )
            )
        )

    def _cancel_timers(self) -> None:
        for handle in (self._retry, self._deadline):
            if handle is not None:
                handle.cancel()
        self._retry = self._deadline = None
        if self._health is not None:
            self._health.cancel()
            self._health = None

    async def _watch_health(self, run: _Run, handshake: Handshake) -> None:
        """Kills an engine that lives but does not answer, three times in a row. One question costs about 5 ms."""
        assert self._probe is not None
        misses = 0
        while run is self._run:
            await asyncio.sleep(self._limits.probe_every_s)
            try:
                async with asyncio.timeout(self._limits.probe_every_s):
                    await self._probe(handshake)
                misses = 0
            except Exception as error:  # noqa: BLE001 - any failure to answer is a miss, whatever its type
                misses += 1
                self.log.note(f"no answer to a health check ({misses}): {error!r}")
            if misses >= self._limits.probe_misses and run is self._run:
                run.verdict = "The engine stopped answering, so it was ended."
                run.process.kill()
                return


class _Run:
    """One engine process with its pipes, two reading threads, and its way to end."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        host: str,
        log: EngineLog,
        on_handshake: Callable[[_Run, Handshake], None],
        on_exit: Callable[[_Run, int], None],
    ) -> None:
        self.handshake: Handshake | None = None
        self.refusal: NutshellError | None = None  # what it said in place of a handshake
        self.verdict = ""  # why we killed it, if we did
        self._host = host
        self._log = log
        self._on_handshake = on_handshake
        self._on_exit = on_exit
        full_env = {**os.environ, **env}
        if ROOT.name not in {"site-packages", "dist-packages"}:  # running from a clone
            known = full_env.get("PYTHONPATH", "")
            full_env["PYTHONPATH"] = os.pathsep.join(part for part in (str(ROOT), known) if part)
        full_env["PYTHONUTF8"] = "1"
        # A group of its own: Ctrl+C in the terminal is for the answer, not for the engine.
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        log.note(f"starting: {' '.join(command)}")  # no secret is in the arguments: a key goes by the environment
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=full_env,
            creationflags=flags,
            start_new_session=sys.platform != "win32",
        )
        self._readers = [
            threading.Thread(target=self._read_stdout, name="engine-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="engine-stderr", daemon=True),
        ]
        for thread in self._readers:
            thread.start()
        self._waiter = threading.Thread(target=self._wait, name="engine-wait", daemon=True)
        self._waiter.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed under us by release
            for line in self.process.stdout:
                first = _parse_first_line(line) if self.handshake is None else None
                if isinstance(first, Handshake):
                    self.handshake = dataclasses.replace(first, host=self._host)
                    self._on_handshake(self, self.handshake)
                elif first is not None:
                    self.refusal = first
                else:
                    self._log.write(line)

    def _wait(self) -> None:
        code = self.process.wait()
        # The last words of a dying engine are still in the pipes: read them before the exit is reported.
        for thread in self._readers:
            thread.join(timeout=1.0)
        self._log.note(f"ended with code {code}")
        self._on_exit(self, code)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self.process.stderr:
                self._log.write(line)

    def close(self, limits: Limits, *, hurry: bool = False) -> None:
        """Ask, terminate, kill; returns when the process is gone. `hurry` skips the asking."""
        process = self.process
        if process.poll() is None and self.handshake is not None and not hurry:
            _ask_to_shut_down(self.handshake)
        if process.stdin is not None:  # end-of-file is the second way to ask
            with contextlib.suppress(OSError):
                process.stdin.close()
        steps = [(None, 0.0 if hurry else limits.stop_s), (process.terminate, limits.terminate_s), (process.kill, 10.0)]
        for act, patience in steps:
            if act is not None:
                with contextlib.suppress(OSError):
                    act()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
        self.release()

    def release(self) -> None:
        """Closes our ends of the pipes and the log, once the process is gone."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        for thread in (*self._readers, self._waiter):
            thread.join(timeout=3.0)
        self._log.close()
        for pipe, thread in zip((self.process.stdout, self.process.stderr), self._readers, strict=True):
            if pipe is not None and not thread.is_alive():
                pipe.close()


def _parse_first_line(line: bytes) -> Handshake | NutshellError | None:
    """The handshake, or the error that the engine ends with; None for any other text."""
    try:
        fields = json.loads(line)
        if "error" in fields:
            told = {str(key): str(value) for key, value in fields["error"].items()}
            kind = BY_CODE.get(told.pop("code", ""), NutshellError)
            return kind(told.pop("what"), **told)
        return Handshake(int(fields["port"]), str(fields["token"]), int(fields["pid"]), str(fields["version"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _ask_to_shut_down(handshake: Handshake) -> None:
    connection = http.client.HTTPConnection(handshake.address, handshake.port, timeout=1.0)
    try:
        connection.request("POST", "/api/shutdown", headers={"Authorization": f"Bearer {handshake.token}"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # deaf or dying: the steps that follow do not need its consent
    finally:
        connection.close()


def reason_for_exit(code: int, *, ready: bool) -> str:
    """A sentence for a process's exit code (negative: a signal, as `subprocess` says it)."""
    when = "" if ready else " while it was starting"
    if code < 0:
        name = _signal_name(-code)
        if name == "SIGKILL":
            return f"The engine was stopped by the system{when}, probably because memory ran out."
        if name in {"SIGABRT", "SIGTRAP"}:
            return f"The engine met a fault it could not continue from{when} and ended itself."
        if name in {"SIGSEGV", "SIGBUS", "SIGFPE"}:
            return f"The engine crashed{when} inside the model code."
        if name == "SIGILL":
            return f"The engine uses an instruction that this processor does not have, and was ended{when}."
        if name in {"SIGTERM", "SIGINT", "SIGHUP"}:
            return f"The engine was told to end by another program{when}."
        if name == "SIGXFSZ":
            return f"The engine was stopped by the system{when}, because a file reached its size limit."
        return f"The engine was stopped by the system{when} ({name})."
    if code == 0:
        return f"The engine ended by itself{when}."
    if code in {0xC0000005, 0xC00000FD}:
        return f"The engine crashed{when} inside the model code."
    if code == 0xC000001D:
        return f"The engine uses an instruction that this processor does not have, and was ended{when}."
    if code in {0xC0000409, 3} and sys.platform == "win32":
        return f"The engine met a fault it could not continue from{when} and ended itself."
    return f"The engine ended with error code {code}{when}."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
