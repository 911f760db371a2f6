"""The catalogue is what it says: readable, complete, its sizes those of configs, its arithmetic that of files."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import models_catalog
from backend.api.errors import NotFoundError
from backend.hub.catalogue import builtin_file
from backend.planner.architecture import from_config
from backend.planner.catalogue import Entry, Family, catalogue, entry_named

FOLDER = Path(models_catalog.__file__).parent
CONFIGS: dict[str, Any] = json.loads(Path(__file__).with_name("configs.json").read_text(encoding="utf-8"))
ENTRIES = [entry for family in catalogue() for entry in family.models]
NAMES = [entry.id for entry in ENTRIES]

#: config.json -> ours
SIZES = {
    "model_type": "model_type",
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "head_dim": "head_dim",
    "tie_word_embeddings": "tied",
    "sliding_window_pattern": "full_every",
    "num_experts": "experts",
    "num_local_experts": "experts",
    "num_experts_per_tok": "experts_used",
    "moe_intermediate_size": "expert_size",
}


def test_every_file_is_read() -> None:
    assert {family.id for family in catalogue()} == {path.stem for path in (FOLDER / "families").glob("*.json")}


def test_the_catalogue_is_wide() -> None:
    assert len(ENTRIES) >= 30
    assert min(entry.parameters for entry in ENTRIES) < 0.2e9
    assert max(entry.parameters for entry in ENTRIES) > 70e9
    assert {use for entry in ENTRIES for use in entry.uses} == {"general", "code", "multilingual", "reasoning", "math"}
    assert {build.format for entry in ENTRIES for build in entry.builds} == {"gguf", "aqlm", "spqr"}


def test_ids_and_builds_are_there_once() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    builds = Counter((build.repository, build.scheme) for entry in ENTRIES for build in entry.builds)
    assert [build for build, count in builds.items() if count > 1] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_every_source_can_be_looked_up(entry: Entry) -> None:
    """A page, or a repository with a path and a commit; facts of pages that nobody could find again are none."""
    for source in (entry.source, entry.licence_source, entry.languages_source):
        assert not source or re.match(r"(github\.com/[\w.-]+/[\w.-]+ \S+|huggingface\.co/[\w.-]+/[\w.-]+)", source), (
            source
        )
    assert re.fullmatch(r"[A-Z][\w.-]*( AND [A-Z][\w.-]*)*", entry.licence)
    family = next(family for family in catalogue() if entry in family.models)
    for language in (*entry.languages, *family.languages):
        assert re.fullmatch(r"[a-z]{2}", language)


def test_what_is_known_of_the_licences() -> None:
    """Those of the makers' own pages; a change of one is a change of what people may do."""
    licences = {entry.id: entry.licence for entry in ENTRIES}
    assert (
        licences["deepseek-r1-distill-llama-8b"] == "MIT AND Llama-3.1-Community"
    )  # of Llama, which it was trained from
    assert licences["deepseek-r1-distill-llama-70b"] == "MIT AND Llama-3.3-Community"
    assert licences["qwen2.5-coder-3b-instruct"] == licences["qwen2.5-3b-instruct"] == "Qwen-Research"
    assert sum(not entry.verified for entry in ENTRIES) <= 1
    assert sum(bool(entry.licence_source) for entry in ENTRIES) >= 50


def test_the_schema_is_that_of_the_types() -> None:
    written = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(msgspec.json.schema(Family)))


def test_every_field_is_explained() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", readme))
    fields = {
        name for definition in msgspec.json.schema(Family)["$defs"].items() if definition[0] != "Architecture"
        for name in definition[1]["properties"]
    }  # fmt: skip
    assert fields - explained == set()


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_sizes_are_those_of_the_config(entry: Entry) -> None:
    seen = CONFIGS[entry.id]
    ours = msgspec.structs.asdict(entry.architecture)
    for key, value in seen["config"].items():
        if key in SIZES:
            assert ours[SIZES[key]] == value, key
    assert entry.source.startswith(seen["source"])
    assert (f"{seen.get('of')}, which it shares" in entry.source) != seen["same"]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_what_was_not_seen_is_marked(entry: Entry) -> None:
    seen = CONFIGS[entry.id]["config"]
    marked = set(entry.unverified)
    gemma = entry.architecture.model_type.startswith("gemma")  # these are always tied, and their configs do not say so
    assert "tie_word_embeddings" in seen or "tied" in marked or gemma
    if seen["max_position_embeddings"] != entry.context_length:
        assert "context_length" in marked or "context:" in entry.source
    assert entry.verified == (marked <= {"licence", "tied", "languages"})
    assert ("licence" in marked) == (not entry.licence_source)
    family = next(family for family in catalogue() if entry in family.models)
    source = entry.languages_source if entry.languages else family.languages_source
    assert ("languages" in marked) == (not source)


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_parameters_follow_from_the_sizes_and_fit_the_name(entry: Entry) -> None:
    assert entry.parameters == entry.architecture.parameters
    said = re.search(r"(?<![\dx.])(\d+(?:\.\d+)?)([BM])\b", entry.name)
    if said is None or "x" in entry.name.split()[1]:
        return
    size = float(said[1]) * (1e9 if said[2] == "B" else 1e6)
    spare = 0.31 if entry.architecture.model_type == "gemma2" else 0.24  # "2B" is 2.6e9; "1B" is 1.24e9
    assert abs(entry.parameters - size) <= spare * size


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_drafts_are_smaller_and_share_the_vocabulary(entry: Entry) -> None:
    for draft in entry.drafts:
        other = entry_named(draft.model)
        assert other.parameters < entry.parameters / 2
        assert abs(other.architecture.vocab_size - entry.architecture.vocab_size) <= 128


def test_the_built_in_model_is_in_it(smollm2: Path) -> None:
    from backend.formats.gguf import read_header

    assert builtin_file(smollm2.parent) == smollm2
    header, entry = read_header(smollm2), entry_named("smollm2-135m-instruct")
    assert header.parameters == entry.parameters
    assert header.context_length == entry.context_length


def test_configs_are_read() -> None:
    entry = entry_named("qwen3-8b")
    assert from_config(CONFIGS["qwen3-8b"]["config"]) == entry.architecture


def test_names_that_fit_none_or_several_are_refused() -> None:
    assert entry_named("Qwen/Qwen3-8B").id == "qwen3-8b"
    assert entry_named("mixtral").id == "mixtral-8x7b-instruct-v0.1"
    with pytest.raises(NotFoundError, match="fits"):
        entry_named("qwen3")
    with pytest.raises(NotFoundError, match="no model"):
        entry_named("nothing-of-the-kind")
