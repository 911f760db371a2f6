"""The models we know, as the backend reads them."""

from __future__ import annotations

from pathlib import Path

from backend.api.schemas import ModelEntry
from backend.engine.loading import recommended_sampling
from backend.hub.catalogue import builtin_file, known_file
from backend.hub.local import LocalModels

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


def test_a_model_that_we_know_has_our_name_wherever_it_lies(smollm2: Path) -> None:
    assert LocalModels(None).entry_for(smollm2).name == "SmolLM2 135M Instruct"


def test_another_file_of_that_name_keeps_its_own(tiny_gguf: Path, tmp_path: Path) -> None:
    impostor = tmp_path / NAME
    impostor.write_bytes(tiny_gguf.read_bytes())
    assert LocalModels(None).entry_for(impostor).name == "Tiny"
