"""Every check of the project, named and timed."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from installer import locations
from installer.progress import words

#: name -> arguments of the virtual environment's Python; seconds each, against minutes for the tests
QUICK = {
    "format": ["-m", "ruff", "format", "--check", "."],
    "lint": ["-m", "ruff", "check", "."],
    "types": ["-m", "mypy"],
    "imports": ["-c", "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"],
}


def run_quick(names: list[str]) -> list[str]:
    """Runs these checks, all of them even when one fails; returns the names of those that failed."""
    failed = []
    for name in names:
        began = time.monotonic()
        done = subprocess.run(
            [locations.VENV_PYTHON, *QUICK[name]],
            cwd=locations.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        took = words(time.monotonic() - began)
        print(f"{name}: {'ok' if done.returncode == 0 else 'FAILED'}, {took}", flush=True)
        if done.returncode != 0:
            failed.append(name)
            sys.stdout.buffer.write(done.stdout)
            sys.stdout.flush()
    return failed


def run_all(pytest_arguments: list[str]) -> int:
    """The quick checks, then the tests. pytest's own closing line is the last one when nothing else failed."""
    failed = run_quick(list(QUICK))
    print("tests:", flush=True)
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    tests = subprocess.run(
        [locations.VENV_PYTHON, "-m", "pytest", "-q", *pytest_arguments],
        cwd=locations.ROOT,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
    )
    if tests.returncode != 0:
        failed.append("tests")
    if failed:
        print(f"Failed: {', '.join(failed)}.", flush=True)
    return 1 if failed else 0
