"""The reference executor: its behaviour, and its numbers against sums written out by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from kernels.packed import PackedLinear
from kernels.program import Program
from kernels.reference.executor import ReferenceExecutor
from tests.kernels.executor_behaviour import ExecutorBehaviour, Make, chain, some_tokens
from tests.unit.architectures.checkpoints import pack_f32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
class TestReferenceExecutor(ExecutorBehaviour):
    far = 1e-4

    @pytest.fixture
    def make(self, dtype: npt.DTypeLike) -> Make:
        return lambda program, capacity: ReferenceExecutor(program, capacity, dtype=dtype)

    def test_both_precisions_agree(self, program: Program, dtype: npt.DTypeLike) -> None:
        tokens = some_tokens(30)
        here = chain(ReferenceExecutor(program, 30, dtype=dtype), tokens)
        other = np.float64 if dtype is np.float32 else np.float32
        assert 0 < np.abs(here - chain(ReferenceExecutor(program, 30, dtype=other), tokens)).max() < 1e-4
        assert np.array_equal(chain(ReferenceExecutor(program, 30, dtype=dtype, cache_weights=False), tokens), here)


def identity(width: int) -> PackedLinear:
    return pack_f32(np.eye(width, dtype=np.float32))


def run(program: Program, tokens: list[int], parents: list[int] | None = None) -> npt.NDArray[np.float32]:
    n = len(tokens)
    return ReferenceExecutor(program, 16, dtype=np.float64).forward(tokens, parents or range(-1, n - 1), range(n))


TABLE = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)


def test_embedding_norm_and_head() -> None:
    weight = np.arange(1, 9, dtype=np.float32)
    program = Program()
    program.output(program.rms_norm(program.embed(pack_f32(TABLE), 3.0), weight, 0.5), pack_f32(TABLE[:5]))
    x = TABLE[[2, 7]].astype(np.float64) * 3
    normed = x / np.sqrt((x**2).mean(1, keepdims=True) + 0.5) * weight
    assert np.allclose(run(program, [2, 7]), normed @ TABLE[:5].T, atol=1e-5)


def test_a_norm_of_each_head() -> None:
    weight = np.array([1, 2, 3, 4], np.float32)
    program = Program()
    program.output(program.rms_norm(program.embed(pack_f32(TABLE)), weight, 0.0), identity(8))
    x = TABLE[[3]].reshape(2, 4).astype(np.float64)
    expected = x / np.sqrt((x**2).mean(1, keepdims=True)) * weight
    assert np.allclose(run(program, [3]), expected.reshape(1, 8), atol=1e-6)


def test_linears_with_biases_and_sums() -> None:
    a, b = TABLE[:6, :], TABLE[4:10, ::-1].copy()
    bias = np.arange(6, dtype=np.float32)
    program = Program()
    x = program.embed(pack_f32(TABLE))
    first, second = program.linears(x, pack_f32(a, bias), pack_f32(b))
    program.add(first, second)
    inner = program.swiglu(first, second)
    program.linear_add(inner, pack_f32(np.ones((8, 6), np.float32), np.ones(8, np.float32)), x)
    program.output(x, identity(8))
    row = TABLE[5].astype(np.float64)
    up = b @ row
    gate = a @ row + bias + up
    expected = row + (gate / (1 + np.exp(-gate)) * up).sum() + 1
    assert np.allclose(run(program, [5])[0], expected, atol=1e-5)


def test_rotation_of_a_part_of_each_head() -> None:
    frequencies = np.array([0.5], np.float32)
    program = Program()
    x = program.embed(pack_f32(TABLE))
    program.rope(x, 4, frequencies, 2.0)
    program.output(x, identity(8))
    got = run(program, [1, 1, 1, 1], [-1, 0, 1, 0])
    for row, position in zip(got, [0, 1, 2, 1], strict=True):
        for head in (0, 4):
            turned = complex(TABLE[1, head], TABLE[1, head + 1]) * 2 * np.exp(0.5j * position)
            assert np.allclose(
                row[head : head + 4], [turned.real, turned.imag, *TABLE[1, head + 2 : head + 4]], atol=1e-6
            )


def test_attention_in_a_tree_with_a_window() -> None:
    program = Program()
    x = program.embed(pack_f32(TABLE))
    halves = [pack_f32(np.eye(8, dtype=np.float32)[start : start + 4]) for start in (0, 4)]
    k, v = program.linears(x, *halves)
    program.output(program.attention(0, x, k, v, 4, 0.3, window=2), identity(8))
    tokens, parents = [1, 2, 3, 4, 5], [-1, 0, 0, 1, 2]
    got = run(program, tokens, parents)
    for node, seen in enumerate([[0], [0, 1], [0, 2], [1, 3], [2, 4]]):
        rows = TABLE[[tokens[other] for other in seen]].astype(np.float64)
        for head in (0, 4):
            weights = np.exp(rows[:, :4] @ TABLE[tokens[node], head : head + 4] * 0.3)
            expected = weights @ rows[:, 4:] / weights.sum()
            assert np.allclose(got[node, head : head + 4], expected, atol=1e-6)
