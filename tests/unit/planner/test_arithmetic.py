"""What types of weights cost a core, and when that decides instead of the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.formats.gguf import GGUFHeader
from backend.formats.gguf_header import TensorInfo
from backend.formats.gguf_tables import TENSOR_TYPES
from backend.planner import arithmetic
from backend.planner.architecture import Architecture
from backend.planner.arithmetic import core_seconds, of_token
from backend.planner.catalogue import entry_named
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.speed import Rates
from backend.planner.subject import Subject, subject_of_file
from backend.planner.weights import gguf_weights, native_weights, of_header
from kernels import cpu

GB = 10**9
TWO = Machine(cores=2, memory_total=24 * GB, memory_free=20 * GB, rates=Rates(ram=40e9))
#: milliseconds of a token of Qwen2.5 Coder 1.5B, all of one type, two threads, 64 cells; those that waited for a memory
#: of 28 to 43 GB/s are not here
MEASURED = {"Q4_0": 29.4, "Q4_1": 66.6, "Q5_0": 60.5, "Q5_1": 72.5, "Q2_K": 20.9, "Q3_K": 37.2, "Q5_K": 42.5}


def _of(kind: str, entry: str = "qwen2.5-coder-1.5b-instruct") -> Subject:
    sizes = entry_named(entry).architecture
    return Subject(kind, "llama.cpp", kind, sizes, gguf_weights(sizes, kind), 32768, exact=True)


def _ms(subject: Subject, machine: Machine) -> float:
    return 1000 / plan(subject, machine, Wishes(context=512, filled=0.125)).speed.tokens


@pytest.mark.parametrize("kind", MEASURED)
def test_a_model_of_one_type_takes_as_long_as_it_was_measured(kind: str) -> None:
    assert _ms(_of(kind), TWO) == pytest.approx(MEASURED[kind], rel=0.08)


def test_more_cores_wait_for_the_memory() -> None:
    many = replace(TWO, cores=16)
    smaller, larger = _of("Q4_1"), _of("Q6_K")
    assert smaller.weights.total < larger.weights.total
    assert _ms(smaller, TWO) > 1.3 * _ms(larger, TWO)
    assert _ms(smaller, many) < _ms(larger, many)
    only_bytes = replace(smaller, weights=replace(smaller.weights, multiplied=0.0))
    assert _ms(smaller, many) == _ms(only_bytes, many)


def test_every_type_has_a_time() -> None:
    for kind in TENSOR_TYPES.values():
        if kind.weight:
            assert 0.01e-9 < core_seconds(kind.name, 1) < 0.2e-9, kind.name
    assert core_seconds("a type of next year", 10**9) == pytest.approx(0.08)


@pytest.fixture(params=["avx2", "avx512"])
def ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An instruction set that our kernels are said to take here."""
    monkeypatch.setattr(cpu, "levels", lambda: ("scalar", request.param))
    arithmetic._ours.cache_clear()
    yield str(request.param)
    arithmetic._ours.cache_clear()


@pytest.mark.usefixtures("ours")
def test_a_table_of_a_megabyte_is_slow_whatever_its_bits() -> None:
    """Published 2-bit builds of one codebook read half the bytes of 4-bit weights, and take longer."""
    sizes = entry_named("llama-3-8b-instruct").architecture
    took = {}
    for scheme in ("aqlm-1x16", "aqlm-2x8", "q4"):
        weights = native_weights(sizes, scheme, table="f16")
        took[scheme] = _ms(Subject(scheme, "native", scheme, sizes, weights, 8192, exact=True), TWO)
    assert took["aqlm-1x16"] > 2 * took["q4"]
    assert took["aqlm-1x16"] > 2 * took["aqlm-2x8"]
    assert took["aqlm-1x16"] > 450  # 3.9 and 2.6 GB/s of codes, which was measured for AVX-512 and AVX2


def test_look_ups_are_quick_with_avx512_alone(ours: str) -> None:
    per_weight = {scheme: core_seconds(scheme, 10**9) for scheme in ("aqlm-1x8", "aqlm-2x8", "aqlm-3x8", "aqlm-4x8")}
    assert sorted(per_weight, key=per_weight.__getitem__) == list(per_weight)
    assert (per_weight["aqlm-2x8"] < core_seconds("spqr-3", 10**9)) == (ours == "avx512")
    assert core_seconds("aqlm-2x8g16", 10**9) == pytest.approx(per_weight["aqlm-2x8"] / 2)


def test_a_pack_costs_what_was_planned_before_it_was_made(smollm2_pack: Path) -> None:
    found = subject_of_file(smollm2_pack)
    planned = native_weights(found.architecture, found.scheme, table="q8")
    assert found.scheme == "q8"
    assert found.weights.multiplied == pytest.approx(planned.multiplied, rel=0.01)
    assert found.with_linears(-sum(found.weights.layers) // 2).weights.multiplied < 0.6 * found.weights.multiplied


def test_only_the_experts_that_are_met_count() -> None:
    assert of_token([("Q4_0", 10**9, False), ("Q4_0", 10**9, True)], 0.25) == pytest.approx(1.25 * 0.034)


@pytest.mark.parametrize("entry", ["qwen3-30b-a3b", "qwen3-8b", "qwen2.5-coder-0.5b-instruct"])
def test_a_file_costs_what_was_planned_before_it_was_here(entry: str) -> None:
    sizes = entry_named(entry).architecture
    planned, found = gguf_weights(sizes, "Q8_0"), of_header(_header(sizes, "Q8_0"), sizes)
    assert found.per_token == pytest.approx(planned.per_token, rel=1e-3)
    assert found.active == pytest.approx(planned.active)
    assert found.multiplied == pytest.approx(planned.multiplied, rel=1e-3)
    if sizes.experts:
        assert found.per_token < found.total / 8


def test_a_head_of_its_own_is_multiplied_once(smollm2: Path) -> None:
    sizes = entry_named("qwen2.5-coder-0.5b-instruct").architecture
    tied, apart = gguf_weights(sizes, "Q8_0"), gguf_weights(sizes, "Q8_0", head_apart=True)
    assert apart.total > tied.total
    assert apart.multiplied == pytest.approx(tied.multiplied)
    built_in = subject_of_file(smollm2)
    linears = sum(one.weights for one in built_in.architecture.tensors() if one.kind != "plain")
    assert built_in.weights.multiplied == pytest.approx(core_seconds("Q4_1", linears), rel=0.1)


def _header(sizes: Architecture, kind: str) -> GGUFHeader:
    """As llama.cpp's converter lays a model of this size out."""
    found: list[TensorInfo] = []
    codes = {one.name: code for code, one in TENSOR_TYPES.items()}
    for number, one in enumerate(sizes.tensors()):
        name = {"embedding": "token_embd.weight", "head": "output.weight"}.get(one.kind, f"blk.{one.layer}.{number}")
        name = name if one.layer >= 0 or one.kind != "plain" else f"norm.{number}"
        plain = one.kind in ("plain", "router")
        layout = TENSOR_TYPES[codes["F32" if plain else kind]]
        shape = (one.weights,) if one.kind == "plain" else (one.columns, one.rows)
        shape = (*shape, one.copies) if one.copies > 1 else shape
        size = one.weights // layout.block * layout.bytes
        found.append(TensorInfo(name, shape, codes[layout.name], 0, one.weights, size))
    return GGUFHeader(Path("a.gguf"), 3, {}, {}, {}, tuple(found), 0, 0)
