"""A place to set up in that is not this clone: own environment folder, own cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer import locations


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds `.venv` and `cache`; the repository's own locks and catalogue are read."""
    scripts = tmp_path / ".venv" / locations.SCRIPTS.name
    monkeypatch.setattr(locations, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(locations, "SCRIPTS", scripts)
    monkeypatch.setattr(locations, "VENV_PYTHON", scripts / locations.VENV_PYTHON.name)
    monkeypatch.setattr(locations, "NATIVE_KERNELS", tmp_path / "_native.so")
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path
