"""What holds for every test: no network, no screen, no file of the person who runs them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import network_guard

# Before any test module is imported: some read the environment at import, and Qt does when it starts.
network_guard.install()
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_HOME = tempfile.TemporaryDirectory(prefix="nutshell-tests-", ignore_cleanup_errors=True)
os.environ["NUTSHELL_DATA_DIR"] = str(Path(_HOME.name) / "data")
os.environ["NUTSHELL_CACHE_DIR"] = str(Path(_HOME.name) / "cache")


@pytest.fixture(autouse=True)
def _no_connection_leaves_this_machine() -> Iterator[None]:
    yield
    report = network_guard.take_report()
    assert not report, f"A connection beyond this machine was tried:\n{report}"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The built-in model's file (SmolLM2-135M-Instruct, Q4_1). Skips where it was not fetched."""
    folder = Path(os.environ.get("NUTSHELL_TEST_MODELS", "") or Path.home() / ".cache" / "nutshell-test-models")
    path = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        pytest.skip(f"needs the built-in model at {path}")
    return path
