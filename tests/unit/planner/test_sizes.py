"""Sizes against real files: to the byte where a file's header says it, and against the engine's own report."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from backend.formats.gguf import read_header
from backend.formats.pack import PackCheckpoint
from backend.planner.architecture import Architecture
from backend.planner.catalogue import Build, Entry, catalogue, entry_named
from backend.planner.memory import compute_bytes, kv_bytes, tokenizer_bytes
from backend.planner.subject import subject_of_build, subject_of_file
from backend.planner.weights import gguf_weights, hf_bytes, native_bytes, native_weights

MODELS = Path.home() / ".cache" / "nutshell-test-models"
AQLM = [
    (entry, build)
    for family in catalogue()
    for entry in family.models
    for build in entry.builds
    if build.published_gb and entry.architecture.model_type in ("llama", "mistral")
]


def _file(name: str) -> Path:
    path = MODELS / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {MODELS}")
    return path


@pytest.mark.parametrize("size", ["0.5b", "1.5b"])
def test_a_mixture_is_known_to_the_byte(size: str) -> None:
    header = read_header(_file(f"qwen2.5-coder-{size}-instruct-q4_k_m.gguf"))
    entry = entry_named(f"qwen2.5-coder-{size}-instruct")
    found = gguf_weights(entry.architecture, "Q4_K_M", head_apart=entry.builds[0].head_apart)
    assert found.total == sum(tensor.bytes for tensor in header.tensors)


def test_a_tied_head_is_there_once(smollm2: Path) -> None:
    entry, header = entry_named("smollm2-135m-instruct"), read_header(smollm2)
    assert entry.architecture == subject_of_file(smollm2).architecture
    plain = gguf_weights(entry.architecture, "Q4_1")
    table = 49152 * 576
    assert plain.total + table * 34 // 32 - table * 20 // 32 == sum(tensor.bytes for tensor in header.tensors)
    assert plain.embedding == 0


@pytest.mark.parametrize(
    ("name", "entry", "scheme", "table", "spare"),
    [
        ("smollm2-135m-q4", "smollm2-135m-instruct", "q4", "q8", 0.0),
        ("smollm2-135m-q8", "smollm2-135m-instruct", "q8", "q8", 0.0),
        ("smollm2-135m-aqlm-2x8", "smollm2-135m-instruct", "aqlm-2x8", "q4", 0.0),
        ("smollm2-135m-aqlm-4x8", "smollm2-135m-instruct", "aqlm-4x8", "q8", 0.0),
        ("smollm2-135m-spqr-3", "smollm2-135m-instruct", "spqr-3", "q4", 0.03),
        ("qwen2.5-coder-0.5b-aqlm-2x8", "qwen2.5-coder-0.5b-instruct", "aqlm-2x8", "q4", 0.0),
        ("qwen2.5-coder-1.5b-aqlm-3x8", "qwen2.5-coder-1.5b-instruct", "aqlm-3x8", "q4", 0.0),
        ("qwen2.5-coder-1.5b-q4", "qwen2.5-coder-1.5b-instruct", "q4", "q8", 0.0),
        ("qwen2.5-coder-1.5b-spqr-3", "qwen2.5-coder-1.5b-instruct", "spqr-3", "q4", 0.01),
    ],
)
def test_a_pack_is_known_to_the_byte_but_for_outliers(
    name: str, entry: str, scheme: str, table: str, spare: float
) -> None:
    path = _file(f"builds/{name}.nutshell")
    real = subject_of_file(path)
    assert real.architecture == entry_named(entry).architecture
    found = native_weights(real.architecture, scheme, table=table)
    assert abs(found.total - real.weights.total) <= spare * real.weights.total
    assert real.weights.total < PackCheckpoint(path, data=False).size


@pytest.mark.parametrize(("entry", "build"), AQLM, ids=[build.repository for _, build in AQLM])
def test_published_sizes_of_aqlm_follow(entry: Entry, build: Build) -> None:
    codebooks, bits = map(int, build.scheme.split("x"))
    if codebooks == 8:
        pytest.skip("groups of 32 numbers, which the catalogue does not say")
    if build.repository.endswith("v0.2-AQLM-2Bit-2x8"):
        pytest.skip("its author gives the size of the build with one codebook of 16 bits, which has 0.23 GB of them")
    ours = hf_bytes(entry.architecture, codebooks, bits) / 1e9
    assert ours == pytest.approx(build.published_gb, rel=0.04, abs=0.06)


def test_the_engine_reports_the_same_of_a_pack(tiny_pack: Path) -> None:
    pytest.importorskip("kernels.cpu._native")
    from backend.engine.native import NativeModel

    subject = subject_of_file(tiny_pack)
    for kv in ("f16", "q8"):
        model = NativeModel(tiny_pack, n_ctx=100, n_threads=1, n_batch=16, kv=kv)  # type: ignore[arg-type]
        try:
            assert model.info.kv_bytes == kv_bytes(subject.architecture, model.info.n_ctx, kv, "native")  # type: ignore[arg-type]
            norms = 4 * subject.architecture.hidden_size * (2 * subject.architecture.layers + 1)
            assert model.info.weight_bytes == subject.weights.total - norms
            assert model.info.bytes_per_token == subject.weights.per_token - norms
        finally:
            model.close()


@pytest.mark.parametrize("kv", ["f16", "q8"])
def test_the_engine_reports_the_same_of_a_gguf(smollm2: Path, kv: Literal["f16", "q8"]) -> None:
    pytest.importorskip("llama_cpp")
    from backend.engine.llama_cpp import LlamaCppModel

    subject = subject_of_file(smollm2)
    model = LlamaCppModel(smollm2, n_ctx=256, n_threads=1, n_gpu_layers=0, n_batch=64, kv=kv)
    try:
        assert model.info.kv == kv
        assert model.info.kv_bytes == kv_bytes(subject.architecture, model.info.n_ctx, kv, "llama.cpp")
        assert model.info.weight_bytes == subject.weights.total
    finally:
        model.close()


def test_windows_count_where_they_help() -> None:
    gemma = entry_named("gemma-3-1b-it").architecture
    assert sum(gemma.windowed(layer) for layer in range(26)) == 22
    near, far = (kv_bytes(gemma, n_ctx, "f16", "llama.cpp", 512) for n_ctx in (32768, 65536))
    row = 2 * 256 * 2
    assert near == 26 * 32768 * row
    assert far == (4 * 65536 + 22 * (64 * 512 + 512)) * row


def test_grouped_heads_and_types_count() -> None:
    llama = entry_named("llama-3.1-70b-instruct").architecture
    assert kv_bytes(llama, 8192, "f16", "llama.cpp") == 80 * 8192 * 2 * 8 * 128 * 2
    assert kv_bytes(llama, 8192, "q8", "llama.cpp") == 80 * 8192 * 2 * 8 * 128 * 34 // 32
    assert kv_bytes(llama, 8192, "q4", "llama.cpp") == 80 * 8192 * 2 * 8 * 128 * 18 // 32
    with pytest.raises(ValueError, match="4 bits"):
        kv_bytes(llama, 8192, "q4", "native")


@pytest.mark.parametrize(
    ("entry", "engine", "batch", "measured"),
    [
        ("smollm2-135m-instruct", "native", 256, 6.6e6),
        ("qwen2.5-coder-0.5b-instruct", "native", 256, 16.8e6),
        ("smollm2-135m-instruct", "llama.cpp", 512, 15.4e6 + 4.1e6),
        ("qwen2.5-coder-0.5b-instruct", "llama.cpp", 512, 39.0e6 + 4.1e6),
    ],
)
def test_buffers_are_near_what_was_measured(entry: str, engine: str, batch: int, measured: float) -> None:
    sizes = entry_named(entry).architecture
    assert compute_bytes(sizes, engine, batch) == pytest.approx(measured, rel=0.12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "engine", "measured"),
    [
        ("smollm2-135m-instruct", "native", 22.8e6),
        ("qwen2.5-coder-0.5b-instruct", "native", 22.9e6),
        ("smollm2-135m-instruct", "llama.cpp", 27.2e6),
        ("qwen2.5-coder-0.5b-instruct", "llama.cpp", 84.0e6),
    ],
)
def test_vocabularies_are_near_what_was_measured(entry: str, engine: str, measured: float) -> None:
    sizes = entry_named(entry).architecture
    assert tokenizer_bytes(sizes, engine) == pytest.approx(measured, rel=0.2)  # type: ignore[arg-type]


def test_experts_are_held_and_only_some_are_read() -> None:
    weights = gguf_weights(entry_named("qwen3-30b-a3b").architecture, "Q4_K_M")
    assert weights.total == pytest.approx(18.6e9, rel=0.01)
    assert weights.per_token < weights.total / 8


def test_an_unknown_scheme_is_refused() -> None:
    sizes: Architecture = entry_named("qwen3-8b").architecture
    with pytest.raises(ValueError, match="not known"):
        gguf_weights(sizes, "Q9_Z")
    with pytest.raises(ValueError, match="not known"):
        native_bytes("aqlm", 64, 64)


def test_what_no_engine_runs_has_no_subject() -> None:
    phi = entry_named("phi-3-mini-4k-instruct")
    assert subject_of_build(phi, phi.builds[0]) is None
