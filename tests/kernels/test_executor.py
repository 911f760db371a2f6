"""The native executor: its behaviour, its numbers against the reference, the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cpu import levels
from kernels.cpu.executor import CpuExecutor, default_threads
from kernels.cpu.places import assign_slots, reads_and_writes
from kernels.program import Attention, LinearAdd, Linears, Output, Program
from kernels.reference.executor import ReferenceExecutor
from tests.kernels.executor_behaviour import CAPACITY, PROGRAMS, ExecutorBehaviour, Make, chain, program_of, some_tokens


@pytest.fixture(params=["scalar", "avx2", "avx512", "neon"])
def level(request: pytest.FixtureRequest) -> str:
    if request.param not in levels():
        pytest.skip(f"this processor, or this build, has no {request.param}")
    return str(request.param)


class TestCpuExecutor(ExecutorBehaviour):
    # the cache rounds to f16: a number that lies between two of them may fall to either
    far = 2e-3

    @pytest.fixture(params=["f16", "q8"])
    def kv(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def make(self, level: str, kv: str) -> Make:
        return lambda program, capacity: CpuExecutor(program, capacity=capacity, kv=kv, threads=2, level=level)  # type: ignore[arg-type]

    def test_its_numbers_are_the_reference_s(self, level: str, program: Program, kv: str) -> None:
        tokens = some_tokens(40)
        expected = chain(ReferenceExecutor(program, CAPACITY, dtype=np.float64), tokens)
        found = chain(CpuExecutor(program, capacity=CAPACITY, kv=kv, threads=2, level=level), tokens)  # type: ignore[arg-type]
        assert np.abs(found - expected).max() < (0.02 if kv == "f16" else 0.2)  # of logits about 5 large
        assert np.abs(found - expected).mean() < (0.002 if kv == "f16" else 0.03)

    def test_the_same_bits_on_any_number_of_threads(self, level: str, program: Program) -> None:
        def run(threads: int) -> list[object]:
            executor = CpuExecutor(program, capacity=CAPACITY, threads=threads, level=level)
            seen = [chain(executor, some_tokens(size, size)).tobytes() for size in (33, 1, 4)]
            seen.append(executor.forward([1, 2, 3], [-1, -1, 0], [0, 1, 2]).tobytes())
            return [*seen, executor.hidden().tobytes()]

        alone = run(1)
        assert all(run(threads) == alone for threads in (2, 3, 5))

    def test_precise_pieces_are_the_whole(self, level: str, program: Program) -> None:
        tokens = some_tokens(30)
        whole = chain(CpuExecutor(program, capacity=32, threads=1, level=level, precise=True), tokens)
        executor = CpuExecutor(program, capacity=32, threads=1, level=level, precise=True)
        pieces = np.concatenate(
            [chain(executor, tokens[:11]), chain(executor, tokens[11:12]), chain(executor, tokens[12:])]
        )
        assert np.abs(pieces - whole).max() < 1e-5


def test_too_many_rows_are_refused() -> None:
    executor = CpuExecutor(program_of("llama"), capacity=CAPACITY, max_rows=8, threads=1)
    chain(executor, some_tokens(8))
    with pytest.raises(ValueError, match="9 nodes"):
        chain(executor, some_tokens(9))


def test_where_a_forward_spent_its_time() -> None:
    program = program_of("llama")
    executor = CpuExecutor(program, capacity=CAPACITY, threads=1)
    assert executor.profile(True) == []
    chain(executor, some_tokens(3))
    spent = executor.profile(False)
    whole = [step for step in program.steps if isinstance(step, Linears | LinearAdd | Attention | Output)]
    assert [one.step.split()[0] for one in spent] == [
        "attention" if isinstance(step, Attention) else "output" if isinstance(step, Output) else "linears"
        for step in whole
    ]
    output = program.steps[-1]
    assert isinstance(output, Output)
    assert spent[-1].weight_bytes == output.head.nbytes
    assert spent[-1].step == f"output {output.head.in_features} -> {output.head.out_features}"
    assert all(one.s > 0 and one.row_s >= 0 for one in spent)
    chain(executor, some_tokens(2))
    assert executor.profile(False) == spent  # not measured any more


def test_a_cache_of_bytes_is_half_as_large() -> None:
    f16, q8 = (CpuExecutor(program_of("llama"), capacity=CAPACITY, threads=1, kv=kv).kv_bytes for kv in ("f16", "q8"))  # type: ignore[arg-type]
    assert f16 == CAPACITY * 3 * 2 * 32 * 2  # three layers, K and V, 32 numbers of 2 bytes
    assert f16 / 2 < q8 <= f16 / 2 * (1 + 2 / 16)  # a scale of 2 bytes to 16 numbers


def test_logits_stay_when_more_rows_are_wanted() -> None:
    executor = CpuExecutor(program_of("llama"), capacity=CAPACITY, threads=1)
    first = executor.forward([1, 2], [-1, 0], [1])
    kept = first.copy()
    executor.forward([1, 2], [-1, 0], [0, 1])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_place_is_written_while_another_value_needs_it(name: str) -> None:
    program = program_of(name)
    slots = assign_slots(program)
    held: dict[int, int] = {}
    rows: dict[int, int] = {}  # widths in places since all rows were last through
    for step in program.steps:
        reads, writes = reads_and_writes(step)
        for value in reads:
            assert held[slots[value.index]] == value.index
        whole = isinstance(step, Linears | LinearAdd | Attention | Output)
        for value in reads if whole else [*reads, *writes]:
            assert rows.setdefault(slots[value.index], value.width) == value.width
        if whole:
            rows = {}
        for value in writes:
            held[slots[value.index]] = value.index
    assert max(slots) + 1 <= 7


def test_threads_by_default() -> None:
    assert default_threads() >= 1
    assert CpuExecutor(program_of("llama"), capacity=16).threads == default_threads()
