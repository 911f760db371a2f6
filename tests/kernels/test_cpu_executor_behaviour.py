"""The native executor at every level: the behaviour of all executors, and its numbers beside the reference."""

from __future__ import annotations

import pytest

from kernels.cpu import levels
from kernels.cpu.executor import CpuExecutor
from tests.kernels.executor_behaviour import ExecutorBehaviour, Make

ALL_LEVELS = ("scalar", "avx2", "avx512", "neon")


@pytest.fixture(params=ALL_LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    if request.param not in levels():
        pytest.skip(f"this processor, or this build, has no {request.param}")
    return str(request.param)


@pytest.mark.parametrize("kv", ["f16", "q8"])
class TestCpuExecutor(ExecutorBehaviour):
    far = 2e-3

    @pytest.fixture
    def make(self, level: str, kv: str) -> Make:
        return lambda program, capacity: CpuExecutor(program, capacity=capacity, kv=kv, threads=1, level=level)
