from __future__ import annotations

import numpy as np
import pytest

from backend.quantize.measure import kl, logits_of, mean_kl
from kernels.reference.executor import ReferenceExecutor
from tests.kernels.executor_behaviour import chain, program_of, some_tokens


def test_by_hand() -> None:
    p = np.log(np.array([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])).astype(np.float32)
    q = np.log(np.array([[0.25, 0.5, 0.25], [0.9, 0.05, 0.05]])).astype(np.float32)
    expected = (0.5 * np.log(2) - 0.25 * np.log(2)) / 2
    assert mean_kl(p, q + 3) == pytest.approx(expected, rel=1e-6)  # a constant added to a row changes nothing
    assert mean_kl(p + 1000, p + 1000) == 0


def test_many_rows_are_all_counted() -> None:
    dice = np.random.default_rng(0)
    p, q = dice.standard_normal((2, 150, 7)).astype(np.float32)
    single = [mean_kl(p[row : row + 1], q[row : row + 1]) for row in range(150)]
    assert mean_kl(p, q) == pytest.approx(np.mean(single))


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        mean_kl(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="cannot be compared"):
        mean_kl(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))


def test_executors_and_logits() -> None:
    tokens = some_tokens(30)
    one, two = (ReferenceExecutor(program_of("llama"), 40, dtype=dtype) for dtype in (np.float32, np.float64))
    for executor in (one, two):
        chain(executor, some_tokens(3, 1))
    recorded = logits_of(one, tokens, rows=11)
    assert recorded.shape == (30, 101)
    assert np.abs(recorded - chain(one, tokens, keep=False)).max() < 1e-4
    assert 0 <= kl(recorded, two, tokens, rows=7) < 1e-10
    assert kl(two, recorded, tokens) == pytest.approx(kl(two, one, tokens), abs=1e-12)
    assert kl(recorded[::-1].copy(), two, tokens) > 0.1
    assert one.length == two.length == 3  # left as they were
