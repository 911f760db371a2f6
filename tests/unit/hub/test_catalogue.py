"""The models we know, as the backend reads them."""

from __future__ import annotations

from pathlib import Path

from backend.api.schemas import ModelEntry
from backend.engine.loading import recommended_sampling
from backend.hub.catalogue import builtin_file, known_file

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def entry(name: str) -> ModelEntry:
    return ModelEntry(id="x", name="x", path=f"/models/{name}", source="file", bytes=1)


def test_the_builtin_file_is_found_where_the_installer_puts_it(tmp_path: Path) -> None:
    assert builtin_file(tmp_path) is None
    (tmp_path / NAME).write_bytes(b"x")
    assert builtin_file(tmp_path) == tmp_path / NAME


def test_a_known_file_brings_its_authors_sampling() -> None:
    model = known_file(NAME)
    assert model is not None
    assert (model.sampling.temperature, model.sampling.top_p) == (0.2, 0.9)
    assert model.sampling.top_k == 40, "what the author does not say keeps our default"
    assert recommended_sampling(entry(NAME), {}) == model.sampling


def test_the_files_own_recommendation_comes_first() -> None:
    metadata = {"general.sampling.temp": "0.6", "general.sampling.top_k": "20"}
    sampling = recommended_sampling(entry(NAME), metadata)
    assert (sampling.temperature, sampling.top_k) == (0.6, 20)


def test_an_unknown_file_gets_neutral_sampling() -> None:
    assert recommended_sampling(entry("other.gguf"), {}).temperature == 0.7
