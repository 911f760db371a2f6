"""The native executor beside the reference: with both kinds of cache, precise and not, with heads of many sizes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from backend.architectures import build
from backend.quantize.measure import kl, logits_of
from kernels.cpu.executor import CpuExecutor
from kernels.reference.executor import ReferenceExecutor
from tests.kernels.executor_behaviour import CAPACITY, PROGRAMS, ExecutorBehaviour, Make, program_of, some_tokens
from tests.unit.architectures.checkpoints import random_tensors

Kv = Literal["f16", "q8"]


class TestRoundedCache(ExecutorBehaviour):
    far = 2e-3  # a key that is rounded the other way; the programs hold plain float32 weights

    @pytest.fixture
    def make(self) -> Make:
        return lambda program, capacity: CpuExecutor(program, capacity=capacity, kv="q8", threads=1)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize("precise", [False, True])
def test_numbers_beside_the_reference(level: str, kv: Kv, name: str, precise: bool) -> None:
    program, tokens = program_of(name), some_tokens(60)
    native = CpuExecutor(program, capacity=CAPACITY, kv=kv, threads=1, level=level, precise=precise)
    logits = logits_of(native, tokens, rows=17)
    exact = ReferenceExecutor(program, CAPACITY, dtype=np.float64)
    rounded = ReferenceExecutor(program, CAPACITY, dtype=np.float64, kv=kv)
    # measured: 5e-7 with f16, 3e-4 with q8; 2e-8 beside the same rounding of keys and values
    assert kl(exact, logits, tokens) < (5e-6 if kv == "f16" else 2e-3)
    assert kl(rounded, logits, tokens) < 2e-7


@pytest.mark.parametrize("head_dim", [16, 32, 80, 96, 112, 256])
def test_sizes_of_heads(level: str, head_dim: int) -> None:
    program = build(random_tensors("qwen3", head_dim=head_dim)).program
    tokens = some_tokens(40)
    for kv in ("f16", "q8"):
        native = CpuExecutor(program, capacity=CAPACITY, kv=kv, threads=1, level=level)
        assert kl(ReferenceExecutor(program, CAPACITY, dtype=np.float64, kv=kv), native, tokens, rows=23) < 2e-7


@pytest.mark.parametrize("head_dim", [10, 24, 100])
def test_other_sizes_of_heads_are_refused(head_dim: int) -> None:
    with pytest.raises(ValueError, match=f"heads of {head_dim} numbers"):
        CpuExecutor(build(random_tensors("qwen3", head_dim=head_dim)).program, capacity=CAPACITY)


def test_more_nodes_than_a_forward_takes() -> None:
    executor = CpuExecutor(program_of(next(iter(PROGRAMS))), capacity=CAPACITY, max_rows=8, threads=1)
    executor.forward([1] * 8, range(-1, 7), [7])
    with pytest.raises(ValueError, match="9"):
        executor.forward([1] * 9, range(-1, 8), [8])
    executor.commit([0])
    assert executor.length == 1
