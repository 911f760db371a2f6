"""llama.cpp behind the model interface: what is its own; what every model must do is in test_models.py."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from backend.api.errors import ModelLoadError
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.model import TokenTree

pytestmark = pytest.mark.model


def test_the_compute_threads_live_with_the_model(tiny_gguf: Path) -> None:
    def threads() -> int:
        return psutil.Process().num_threads()

    before = threads()
    model = LlamaCppModel(tiny_gguf, n_ctx=64, n_threads=3)
    assert model._threads is not None
    assert model._threads.attached, "this build has the calls"
    assert threads() == before + 2, "the caller is the third"
    model.forward(TokenTree.chain([5, 6, 7]))
    assert threads() == before + 2, "no thread is made for a pass"
    model.close()
    assert threads() == before


def test_a_file_that_is_no_model_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelLoadError, match=r"notes.gguf could not be loaded"):
        LlamaCppModel(path, n_ctx=64, n_threads=1)
