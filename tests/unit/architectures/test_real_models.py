"""Real models against transformers in float32: the built-in one, and a Qwen 2.5 where it lies beside the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.architectures import build
from backend.quantize.measure import kl
from kernels.cpu.executor import CpuExecutor
from kernels.program import Executor
from kernels.reference.executor import ReferenceExecutor
from tests.unit.architectures.real_models import found_model, opened, some_text, transformers_logits

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


def check(path: Path, n: int, q8_cost: float) -> None:
    checkpoint = opened(path)
    tokens = some_text(path, checkpoint, n)
    expected = transformers_logits(path, tokens)
    program = build(checkpoint).program
    reference: Executor = ReferenceExecutor(program, n)
    assert kl(expected, reference, tokens) < 1e-8  # measured: 2e-11
    del reference
    for precise, kv, most in ((False, "f16", 1e-5), (True, "f16", 1e-5), (False, "q8", q8_cost)):
        native = CpuExecutor(program, capacity=n, kv=kv, precise=precise)
        assert kl(expected, native, tokens) < most, (precise, kv)


def test_smollm2(smollm2: Path) -> None:
    check(smollm2, 96, 2e-3)


def test_qwen2_5_coder() -> None:
    # its keys have a few numbers that are many times the others: one q8 scale for a head costs 1e-2
    check(found_model(QWEN), 48, 4e-2)
