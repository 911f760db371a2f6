from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from installer.locking import InstallerLock

ROOT = Path(__file__).resolve().parents[3]

#: takes the lock, says so, and keeps it until its standard input ends
HOLD = """
import sys
from pathlib import Path
from installer.locking import InstallerLock
told = []
with InstallerLock(Path(sys.argv[1]), lambda: told or (told.append(1), print("waiting", flush=True))) as lock:
    print("held", flush=True)
    sys.stdin.read()
"""

#: takes the lock and starts a child that inherits it and lives until the pipe of its standard input ends
HOLD_IN_A_CHILD = """
import subprocess, sys
from pathlib import Path
from installer.locking import InstallerLock
with InstallerLock(Path(sys.argv[1]), lambda: None) as lock:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=(lock.fileno,))
    print("held", flush=True)
    child.wait()
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(timeout=10)
    process.stdout.close()


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    first = start(HOLD, tmp_path / "lock")
    assert said(first) == "held"
    second = start(HOLD, tmp_path / "lock")
    assert said(second) == "waiting"
    finish(first)
    assert said(second) == "held"
    finish(second)


def test_a_killed_holder_leaves_nothing(tmp_path: Path) -> None:
    first = start(HOLD, tmp_path / "lock")
    assert said(first) == "held"
    first.kill()
    first.wait(timeout=10)
    waited = []
    with InstallerLock(tmp_path / "lock", lambda: waited.append(True)):
        assert not waited
    finish(first)


@pytest.mark.skipif(os.name == "nt", reason="children inherit the lock on POSIX only")
def test_a_child_that_outlives_its_installer_keeps_the_lock(tmp_path: Path) -> None:
    first = start(HOLD_IN_A_CHILD, tmp_path / "lock")
    assert said(first) == "held"
    os.kill(first.pid, signal.SIGKILL)
    first.wait(timeout=10)
    second = start(HOLD, tmp_path / "lock")
    assert said(second) == "waiting"
    assert first.stdin is not None
    first.stdin.close()  # ends the child
    assert said(second) == "held"
    finish(second)
    assert first.stdout is not None
    first.stdout.close()
