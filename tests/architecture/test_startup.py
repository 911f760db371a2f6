"""What the window and the terminal load before they answer: seconds of start-up hang on it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "llama_cpp", "starlette", "uvicorn", "numpy", "pydantic", "openai", "sqlite3"}


def loaded_by(module: str) -> set[str]:
    """Top-level modules in memory after importing `module` in a fresh Python."""
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("module", ["ui.main_window", "app.gui", "app.__main__", "backend.api.client"])
def test_the_window_loads_nothing_heavy(module: str) -> None:
    if not exists(module):
        pytest.skip(f"{module} does not exist yet")
    assert sorted(loaded_by(module) & HEAVY) == []


@pytest.mark.parametrize("module", ["app.__main__", "backend.api.client", "backend.api.server"])
def test_what_has_no_window_loads_no_qt(module: str) -> None:
    if not exists(module):
        pytest.skip(f"{module} does not exist yet")
    assert sorted(loaded_by(module) & {"PySide6", "qasync", "torch", "transformers"}) == []
