from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.errors import CommandError
from installer.locking import InstallerLock
from installer.processes import Runner, environment


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[InstallerLock]:
    with InstallerLock(tmp_path / "lock", lambda: None) as held:
        yield held


def test_output_is_watched_logged_and_returned(lock: InstallerLock, tmp_path: Path) -> None:
    shown: list[str] = []
    runner = Runner(tmp_path / "log", lock, lambda detail: shown.append(detail) if detail else None)
    seen: list[str] = []

    def watch(line: str) -> str:
        seen.append(line)
        return line.upper()

    output = runner.run([sys.executable, "-c", "print('one'); print('two', end='')"], watch=watch)
    assert seen == ["one"]  # a line is seen when it is whole
    assert shown == ["ONE"]
    assert output.splitlines()[-2:] == ["one", "two"]
    assert (tmp_path / "log").read_text(encoding="utf-8").splitlines()[-2:] == ["one", "two"]


def test_environment_and_folder(lock: InstallerLock, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "log", lock, lambda detail: None)
    code = "import os; print(os.environ['MARK'], os.getcwd())"
    output = runner.run([sys.executable, "-c", code], env={"MARK": "here"}, cwd=tmp_path)
    assert output.splitlines()[-1] == f"here {tmp_path}"


def test_what_would_bend_pip_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.invalid/simple")
    found = environment()
    assert "PYTHONPATH" not in found
    assert found["PIP_USER"] == "0"
    assert found["PIP_INDEX_URL"] == "https://example.invalid/simple"  # a company's own index is the person's choice


def test_failure_carries_code_output_and_log(lock: InstallerLock, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "log", lock, lambda detail: None)
    with pytest.raises(CommandError) as caught:
        runner.run([sys.executable, "-c", "import sys; print('it broke'); sys.exit(3)"])
    assert caught.value.code == 3
    assert caught.value.output.endswith("it broke\n")
    assert caught.value.log == tmp_path / "log"


def test_a_program_that_is_not_there(lock: InstallerLock, tmp_path: Path) -> None:
    runner = Runner(tmp_path / "log", lock, lambda detail: None)
    with pytest.raises(CommandError) as caught:
        runner.run([tmp_path / "nothing"])
    assert caught.value.code == 127


@pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX; Windows uses taskkill")
def test_stopping_ends_the_whole_group(lock: InstallerLock, tmp_path: Path) -> None:
    """Ctrl+C reaches the compiler that the build tool started, not only the build tool."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # the grandchild keeps the pipe open for writing; reading to the end returns when it is gone
    grandchild = f"import time; keep = open({str(pipe)!r}, 'w'); print('up', flush=True); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def stop(detail: str | None) -> None:
        if detail == "up":
            raise KeyboardInterrupt

    runner = Runner(tmp_path / "log", lock, stop)
    with pytest.raises(KeyboardInterrupt):
        runner.run([sys.executable, "-c", child], watch=lambda line: line)
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""
    os.close(reader)
