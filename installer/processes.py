"""Runs the programs that a set-up needs (pip, the compiler, apt), with a log and a way to watch them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from installer.errors import CommandError
from installer.locking import InstallerLock

_TICK_S = 0.2
_TAIL_BYTES = 20_000


class Runner:
    """Starts programs one after the other; each writes to `log`, not to a pipe.

    A pipe would break when the installer is killed, and take a compiler down at its next line; with a file it
    finishes, and the next installer finds the work done.
    """

    def __init__(self, log: Path, lock: InstallerLock, tick: Callable[[str | None], None]) -> None:
        self.log = log
        self._lock = lock
        self._tick = tick
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def run(
        self,
        command: Sequence[str | Path],
        *,
        watch: Callable[[str], str | None] = lambda line: None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Waits for a program; returns what it printed (the last 20 kB).

        Args:
            command: program and arguments.
            watch: called with each line of output; what it returns is shown as progress.
            env: added to the environment.
            cwd: folder to run in.

        Raises:
            CommandError: it could not be started, or ended with another code than 0.
        """
        words = [str(word) for word in command]
        with self.log.open("ab") as out, self.log.open("rb") as reader:
            out.write(f"\n$ {' '.join(words)}\n".encode())
            out.flush()
            start = reader.seek(0, os.SEEK_END)
            try:
                child = self._start(words, out.fileno(), {**environment(), **(env or {})}, cwd)
            except OSError as error:
                raise CommandError(127, str(error), self.log) from error
            try:
                rest = ""
                while True:
                    try:
                        code: int | None = child.wait(timeout=_TICK_S)
                    except subprocess.TimeoutExpired:
                        code = None
                    *lines, rest = (rest + reader.read().decode("utf-8", "replace")).split("\n")
                    told = None
                    for line in lines:
                        told = watch(line) or told
                    self._tick(told)
                    if code is not None:
                        break
            except BaseException:
                _stop(child)
                raise
            reader.seek(max(start, reader.seek(0, os.SEEK_END) - _TAIL_BYTES))
            output = reader.read().decode("utf-8", "replace")
        if code != 0:
            raise CommandError(code, output, self.log)
        return output

    def _start(self, words: list[str], out: int, env: dict[str, str], cwd: Path | None) -> subprocess.Popen[bytes]:
        # POSIX: its own session, so that _stop reaches the whole group, compilers included; and our lock (locking.py)
        own_group = sys.platform != "win32"
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=own_group,
            pass_fds=(self._lock.fileno,) if own_group else (),
        )


def environment() -> dict[str, str]:
    """Our environment without what would make another Python or pip behave in its own way."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONHOME", "PYTHONPATH", "PIP_REQUIRE_VIRTUALENV"}}
    env |= {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",
        "PIP_PROGRESS_BAR": "off",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",  # messages are matched in English (errors.py)
        "DEBIAN_FRONTEND": "noninteractive",
    }
    return env


def _stop(child: subprocess.Popen[bytes]) -> None:
    try:
        if sys.platform == "win32":
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True, check=False)
        else:
            os.killpg(child.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
