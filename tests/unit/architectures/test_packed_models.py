"""A real model in every packed type: what the kernels compute is what the packed weights say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from backend.architectures import build
from backend.formats.checkpoint import Checkpoint
from backend.quantize.measure import kl, logits_of, mean_kl
from kernels.cpu.executor import CpuExecutor
from kernels.reference.executor import ReferenceExecutor
from tests.unit.architectures.real_models import opened, some_text
from tests.unit.architectures.repacked import SCHEMES, Repacked

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
LENGTH = 48
Source = tuple[Checkpoint, list[int], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def source(smollm2: Path) -> Source:
    checkpoint = opened(smollm2)
    tokens = some_text(smollm2, checkpoint, LENGTH)
    return checkpoint, tokens, logits_of(CpuExecutor(build(checkpoint).program, capacity=LENGTH, precise=True), tokens)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_kernels_cost_nothing(source: Source, scheme: str) -> None:
    checkpoint, tokens, logits = source
    program = build(Repacked(checkpoint, *SCHEMES[scheme])).program
    # the same rounding of keys and values on both sides: by itself it costs about 1e-6
    reference = logits_of(ReferenceExecutor(program, LENGTH, kv="f16"), tokens)
    cost = mean_kl(logits, reference)
    many = kl(reference, CpuExecutor(program, capacity=LENGTH), tokens, rows=LENGTH)
    decode = kl(reference, CpuExecutor(program, capacity=LENGTH), tokens, rows=1)
    precise = kl(reference, CpuExecutor(program, capacity=LENGTH, precise=True), tokens)
    figures = f"cost {cost:.1e}, many rows {many:.1e}, decode {decode:.1e}, precise {precise:.1e}"
    assert max(many, decode) < 1e-3, figures
    assert precise < 1e-6, figures
    if scheme not in ("f16", "bf16"):  # these cost about nothing themselves
        assert max(many, decode) < cost / 10, figures
