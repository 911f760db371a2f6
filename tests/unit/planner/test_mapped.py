"""Weights that llama.cpp holds twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.planner.catalogue import entry_named
from backend.planner.mapped import MappedTensor, added_bytes, is_copied
from backend.planner.memory import compute_bytes
from backend.planner.subject import subject_of_file
from backend.planner.weights import gguf_weights

MODELS = Path.home() / ".cache" / "nutshell-test-models"


@pytest.mark.parametrize("kind", ["Q2_K", "Q4_0", "Q4_K", "IQ4_NL"])
def test_rows_are_copied_by_eights(kind: str) -> None:
    assert is_copied(kind, 8)
    assert not is_copied(kind, 12)


@pytest.mark.parametrize("kind", ["F32", "F16", "Q4_1", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0"])
def test_these_types_stay_as_they_are(kind: str) -> None:
    assert not is_copied(kind, 8)


@pytest.mark.parametrize(("size", "mib"), [("0.5b", 28.05), ("1.5b", 596.53)])
def test_copies_are_as_large_as_the_engine_says(size: str, mib: float) -> None:
    """The figures are its CPU_REPACK lines."""
    path = MODELS / f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {MODELS}")
    subject = subject_of_file(path)
    assert subject.weights.copied / 2**20 == pytest.approx(mib, abs=0.01)
    entry = entry_named(f"qwen2.5-coder-{size}-instruct")
    planned = gguf_weights(entry.architecture, "Q4_K_M", head_apart=entry.builds[0].head_apart)
    assert planned.copied == subject.weights.copied


def test_nothing_of_the_built_in_model_is_copied(smollm2: Path) -> None:
    assert subject_of_file(smollm2).weights.copied == 0


@pytest.mark.parametrize(("tied", "added"), [(True, 130), (False, 30)])
def test_the_embedding_is_copied_as_a_head_only(tied: bool, added: int) -> None:
    file = [
        MappedTensor("token_embd.weight", "Q4_0", 16, 0, 100),
        MappedTensor("blk.0.attn_q.weight", "Q4_0", 8, 100, 30),
        MappedTensor("output_norm.weight", "F32", 1, 130, 4),
    ]
    assert added_bytes(file, tied=tied) == added


def test_the_mapping_ends_where_all_is_copied() -> None:
    file = [
        MappedTensor("output.weight", "Q4_0", 16, 0, 100),
        MappedTensor("token_embd.weight", "Q4_0", 16, 100, 90),
        MappedTensor("blk.0.attn_q.weight", "Q4_0", 8, 190, 30),
        MappedTensor("output_norm.weight", "F32", 1, 220, 4),
        MappedTensor("blk.0.ffn_up.weight", "Q4_0", 8, 224, 50),
    ]
    assert added_bytes(file, tied=False) == 30  # of 180, what lies in front and behind is given back


def test_a_mask_grows_with_the_context() -> None:
    sizes = entry_named("qwen2.5-coder-0.5b-instruct").architecture
    short, long = (compute_bytes(sizes, "llama.cpp", 512, cells=cells) for cells in (2048, 32768))
    assert long - short == 2 * 512 * (32768 - 2048)
    assert compute_bytes(sizes, "native", 256, cells=32768) == compute_bytes(sizes, "native", 256)
