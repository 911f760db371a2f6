"""llama.cpp behind the model interface: what is its own; what every model must do is in test_models.py."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from backend.api.errors import ModelLoadError
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.model import Logits, TokenTree
from tests.formats.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.model
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


@pytest.fixture(scope="module", params=["smollm2", "qwen2.5"])
def real(request: pytest.FixtureRequest) -> Path:
    if request.param == "smollm2":
        path: Path = request.getfixturevalue("smollm2")
        return path
    folder = Path(os.environ.get("NUTSHELL_TEST_MODELS", Path.home() / ".cache" / "nutshell-test-models"))
    if not (folder / QWEN).is_file():
        pytest.skip(f"{QWEN} is not in {folder}")
    return folder / QWEN


def greedy(path: Path, prompt: str, count: int, n_threads: int) -> tuple[list[int], Logits]:
    """The tokens a model writes, and the logits that they were taken from."""
    model = LlamaCppModel(path, n_ctx=128, n_threads=n_threads, n_gpu_layers=0)
    try:
        assert model._threads is not None
        assert model._threads.attached, "this build has the calls"
        tokens, written, rows = model.tokenizer.encode(prompt, special=False), [], []
        for _ in range(count):
            rows.append(model.forward(TokenTree.chain(tokens)).copy()[0])
            model.commit(range(len(tokens)))
            tokens = [int(rows[-1].argmax())]
            written += tokens
        return written, np.stack(rows)
    finally:
        model.close()


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


def test_all_threads_know_the_order_of_the_weights(tmp_path: Path) -> None:
    """Q4_0 is repacked at load on most processors, which only the ggml that loaded it knows."""
    path = write_tiny_gguf(tmp_path / "q4.gguf", weights="Q4_0")
    (alone, expected), (together, logits) = (greedy(path, "Hello, world", 8, n_threads) for n_threads in (1, 3))
    assert np.isfinite(logits).all()
    assert together == alone
    np.testing.assert_allclose(logits, expected, atol=0.01)


def test_one_and_two_threads_write_the_same(real: Path) -> None:
    prompt = "The three most important things about the sea are"
    (alone, expected), (together, logits) = (greedy(real, prompt, 16, n_threads) for n_threads in (1, 2))
    assert np.isfinite(expected).all()
    assert np.isfinite(logits).all()
    assert together == alone


def test_a_file_that_is_no_model_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(ModelLoadError, match=r"notes.gguf could not be loaded"):
        LlamaCppModel(path, n_ctx=64, n_threads=1)
