"""Plans of single loads: what is asked for, and what is changed so that it fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from backend.api.errors import NutshellError
from backend.api.schemas import LoadModel, ModelEntry
from backend.planner import loads
from backend.planner.loads import layers_to_load, plan_of_load
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.speed import Rates
from backend.planner.subject import subject_of_file

ROOMY = Machine(cores=2, memory_total=10**9, memory_free=10**9, rates=Rates(ram=40e9, disk=2e9))


def _entry(path: Path) -> ModelEntry:
    return ModelEntry(id="a" * 16, name="Small", path=str(path), source="file", bytes=path.stat().st_size)


def test_a_model_that_fits_changes_nothing(tiny_pack: Path, tiny_gguf: Path) -> None:
    for path in (tiny_pack, tiny_gguf):
        found = plan_of_load(_entry(path), LoadModel(path=str(path)), ROOMY)
        assert (found.verdict, found.change, found.remedies, found.name) == ("fits", None, [], "Small")
        assert found.low < found.tokens < found.high
        assert found.ram < found.free == 10**9


def test_the_first_change_is_a_smaller_memory_of_the_conversation(smollm2_pack: Path) -> None:
    whole = plan(subject_of_file(smollm2_pack), ROOMY)
    tight = replace(ROOMY, memory_free=round((whole.ram - whole.memory.kv / 4) * 1.05))
    found = plan_of_load(_entry(smollm2_pack), LoadModel(n_threads=2, kv="f16"), tight)
    assert found.verdict == "fits if"
    assert found.change == LoadModel(id="a" * 16, path=str(smollm2_pack), kv="q8", n_ctx=whole.context, n_threads=2)
    # What was chosen is not changed; the file is at once read from the disk.
    chosen = plan_of_load(_entry(smollm2_pack), LoadModel(kv="q8", n_ctx=whole.context), tight)
    assert chosen.verdict == "fits"


def test_the_last_change_leaves_layers_on_the_disk(smollm2_pack: Path) -> None:
    subject = subject_of_file(smollm2_pack)
    least = plan(subject, ROOMY, Wishes(context=512))
    tight = replace(ROOMY, memory_free=round((least.ram - sum(subject.weights.layers) / 3) * 1.05))
    found = plan_of_load(_entry(smollm2_pack), LoadModel(n_ctx=512), tight)
    assert found.change is not None
    assert 0 < found.change.memory_budget < subject.weights.total
    assert found.change.n_ctx == 512
    assert "from the disk" in found.remedies[0]
    wished = plan_of_load(_entry(smollm2_pack), LoadModel(n_ctx=512, memory_budget=1), tight)
    assert (wished.verdict, wished.change) == ("fits", None)


def test_where_layers_stay_on_the_disk_a_model_that_guesses_comes_along(
    smollm2_pack: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, real = subject_of_file(tiny_gguf), subject_of_file
    speaks_alike = replace(tiny, architecture=structs.replace(tiny.architecture, vocab_size=49152))
    monkeypatch.setattr(loads, "subject_of_file", lambda path: speaks_alike if path == tiny_gguf else real(path))
    subject = subject_of_file(smollm2_pack)
    least = plan(subject, ROOMY, Wishes(context=512))
    slow = replace(ROOMY, memory_free=round((least.ram - sum(subject.weights.layers) / 8) * 1.05))
    asked: list[int] = []

    def drafts() -> list[Path]:
        asked.append(1)
        return [tmp_path / "gone.gguf", tiny_gguf]

    entry = _entry(smollm2_pack)
    found = plan_of_load(entry, LoadModel(n_ctx=512), slow, drafts=drafts)
    assert found.change is not None
    assert (found.change.draft_model, found.draft) == (str(tiny_gguf), tiny.name)
    assert found.tokens > plan_of_load(entry, LoadModel(n_ctx=512), slow).tokens
    for unwanted in (LoadModel(n_ctx=512, speculation="off"), LoadModel(n_ctx=512, draft_model="none")):
        assert plan_of_load(entry, unwanted, slow, drafts=drafts).draft == ""
    assert len(asked) == 1
    assert plan_of_load(entry, LoadModel(n_ctx=512), ROOMY, drafts=drafts).verdict == "fits"
    assert len(asked) == 1, "vocabularies are compared only where it matters"


def test_as_many_layers_are_loaded_to_a_card_as_are_planned(smollm2: Path, smollm2_pack: Path) -> None:
    rates = Rates(ram=40e9, gpu=300e9, link=400e9)
    for path, counted in ((smollm2, 31), (smollm2_pack, 30)):  # llama.cpp counts the head
        card = replace(ROOMY, gpu_free=10**9, cuda_free=10**9, memory_free=1, rates=rates)
        request = LoadModel(n_ctx=512)
        assert layers_to_load(path, request, card) == counted
        small = replace(card, gpu_free=100 << 20, cuda_free=300 << 20)
        some = layers_to_load(path, request, small)
        assert 1 < some < counted
        assert layers_to_load(path, LoadModel(n_ctx=2048), small) < some, "the conversation takes room too"
        assert layers_to_load(path, request, ROOMY) == 0
    assert layers_to_load(smollm2_pack, LoadModel(n_ctx=512, memory_budget=1), small) == 0, "it would wait in memory"
    assert layers_to_load(smollm2_pack, LoadModel(n_ctx=512, memory_budget=1), card) == 30


def test_a_draft_that_was_chosen_is_counted_and_let_go_first(smollm2_pack: Path, smollm2: Path) -> None:
    entry = _entry(smollm2_pack)
    wanted = LoadModel(n_ctx=512, draft_model=str(smollm2))
    whole, alone = plan_of_load(entry, wanted, ROOMY), plan_of_load(entry, LoadModel(n_ctx=512), ROOMY)
    assert whole.draft
    assert whole.ram - alone.ram > smollm2.stat().st_size
    tight = replace(ROOMY, memory_free=round(1.05 * alone.ram) + 1000)
    found = plan_of_load(entry, wanted, tight)
    assert found.change is not None
    assert (found.change.draft_model, found.change.n_ctx, found.change.kv) == ("none", 512, "")
    assert plan_of_load(entry, LoadModel(n_ctx=512, draft_model="self"), ROOMY).draft == "", "it has no slider"
    assert plan_of_load(entry, LoadModel(n_ctx=512, draft_model="gone.gguf"), ROOMY).ram == alone.ram


def test_closing_other_programs_is_nothing_that_is_loaded_otherwise(tiny_gguf: Path) -> None:
    whole = plan(subject_of_file(tiny_gguf), ROOMY, Wishes(context=128))
    tight = replace(ROOMY, memory_free=whole.ram // 2)
    found = plan_of_load(_entry(tiny_gguf), LoadModel(n_ctx=128), tight)
    assert (found.verdict, found.change) == ("fits if", None)
    assert found.remedies[0].startswith("Close programs")


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"nothing")
    with pytest.raises(NutshellError):
        plan_of_load(_entry(path), LoadModel(), ROOMY)
