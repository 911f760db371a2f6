"""Fixtures that several test folders share: models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.formats.tiny_gguf import write_tiny_gguf

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of 126 KB with random weights: Llama architecture, 283 tokens, chat template. Do not change it."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The built-in model, from NUTSHELL_TEST_MODELS or where the installer puts it; skips where it is in neither."""
    folders = [Path(os.environ.get("NUTSHELL_TEST_MODELS", Path.home() / ".cache" / "nutshell-test-models"))]
    try:
        from backend.config.paths import paths

        folders.append(paths().models)
    except ImportError:
        pass
    for folder in folders:
        if (folder / SMOLLM2).is_file():
            return folder / SMOLLM2
    pytest.skip(f"the built-in model {SMOLLM2} is not in {' or '.join(str(folder) for folder in folders)}")
