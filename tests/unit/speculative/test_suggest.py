"""Which installed models are offered as draft models."""

from __future__ import annotations

from pathlib import Path

from backend.api.schemas import ErrorInfo, ModelEntry
from backend.engine.llama_cpp import LlamaCppModel
from backend.speculative.suggest import guessers, suggestions
from tests.unit.speculative.toys import ToyModel


def entry(name: str, path: Path, size: int) -> ModelEntry:
    return ModelEntry(id=name, name=name, path=str(path), source="file", bytes=size)


def test_small_models_with_the_same_vocabulary_are_offered_and_others_say_why_not(
    tmp_path: Path, tiny_gguf: Path, tiny_pack: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    known = entry("known bad", tiny_pack, 10)
    known.error = ErrorInfo(code="model", what="It is damaged.")
    installed = [
        entry("itself", tiny_gguf, 1000),
        entry("too large", tiny_pack, 501),
        entry("broken", broken, 5),
        entry("fits", tiny_pack, 500),
        known,
    ]
    model = LlamaCppModel(tiny_gguf, n_ctx=64, n_threads=1, n_batch=32)
    try:
        found = suggestions(model, installed[0], installed)
    finally:
        model.close()
    assert [one.name for one in found] == ["fits", "broken"]
    assert found[0].reason == ""
    assert found[1].reason
    assert guessers(installed[0], installed) == [tiny_pack]
    assert guessers(installed[2], installed) == [], "a file that cannot be read"
    other = suggestions(ToyModel(), entry("toy", tmp_path / "toy", 1000), [entry("tiny", tiny_pack, 100)])
    assert "the model has 6" in other[0].reason
