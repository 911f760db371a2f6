"""Folders of their own, and the real model in the place where the installer puts it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from backend.config.paths import Paths, paths


@pytest.fixture
def home(tmp_path: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A fresh user: an empty data folder, and the built-in model."""
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    # Their model folders are not this test's business, and scanning them would take its time.
    for name in ("HF_HOME", "OLLAMA_MODELS", "LLAMA_CACHE", "HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    where = paths()
    where.models.mkdir(parents=True)
    try:
        os.link(smollm2, where.models / smollm2.name)
    except OSError:  # another disk
        shutil.copyfile(smollm2, where.models / smollm2.name)
    return where
