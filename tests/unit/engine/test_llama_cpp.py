"""llama.cpp behind the model interface: what is its own; what every model must do is in test_models.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest

from backend.api.errors import ModelLoadError
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.model import Logits, TokenTree
from backend.engine.sampling import log_softmax
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


def test_eight_bits_remember_nearly_the_same_in_half_of_the_memory(smollm2: Path) -> None:
    text = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    found = {}
    kinds: tuple[Literal["f16", "q8"], ...] = ("f16", "q8")
    for kv in kinds:
        model = LlamaCppModel(smollm2, n_ctx=512, n_threads=2, n_gpu_layers=0, kv=kv)
        try:
            tokens = model.tokenizer.encode(text, special=False)[:400]
            nodes = TokenTree(tokens, range(-1, len(tokens) - 1), range(0, len(tokens), 20))
            found[kv] = (log_softmax(model.forward(nodes).copy()).astype(np.float64), model.info)
        finally:
            model.close()
    (p, exact), (q, half) = found["f16"], found["q8"]
    assert (exact.kv, half.kv) == ("f16", "q8")
    assert half.kv_bytes / exact.kv_bytes == 34 / 64
    assert 0 < float((np.exp(p) * (p - q)).sum(axis=1).mean()) < 0.02  # nats; 0.003 to 0.006 at 64 to 3,500 cells


def test_heads_that_eight_bits_do_not_fit_stay_as_they_are(tiny_gguf: Path) -> None:
    model = LlamaCppModel(tiny_gguf, n_ctx=64, n_threads=1, n_gpu_layers=0, kv="q8")
    try:
        assert model.info.kv == "", "there is no choice"
        assert np.isfinite(model.forward(TokenTree.chain([5, 6, 7]))).all()
    finally:
        model.close()
