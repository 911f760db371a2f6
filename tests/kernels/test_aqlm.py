"""AQLM linears against their own weights in float64: every level, scheme and regime."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from kernels import cpu
from kernels.packed import PackedLinear
from kernels.packing import aqlm

Array = npt.NDArray[np.float64]

#: Error of a result over |x| * (largest row norm of w) / sqrt(in): ten times the rounding of 15-bit tables.
DECODE = 2e-3
#: Weights of 14 bits, activations of 15.
MANY = 2e-3
#: float32 throughout.
PRECISE = 2e-5


def random_linear(
    rng: np.random.Generator, out: int, inputs: int, books: int = 2, bits: int = 8, group: int = 8, bias: bool = False
) -> PackedLinear:
    """Random codes; codebooks that shrink as residuals do; row scales of both signs."""
    codes = rng.integers(0, 1 << bits, (out, -(-inputs // group), books))
    codebooks = rng.normal(size=(books, 1 << bits, group)) * 0.5 ** np.arange(books)[:, None, None]
    scales = rng.uniform(0.5, 2, out) * rng.choice([-1, 1], out)
    return aqlm.pack(codes, codebooks, scales, bias=rng.normal(size=out) if bias else None, in_features=inputs)


def expected(packed: PackedLinear, x: npt.NDArray[np.float32]) -> Array:
    y: Array = x.astype(np.float64) @ aqlm.dequantize(packed).astype(np.float64).T
    return y + packed.buffers["bias"] if "bias" in packed.buffers else y


def close(packed: PackedLinear, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], tolerance: float) -> None:
    weights = aqlm.dequantize(packed).astype(np.float64)
    rms = np.linalg.norm(weights, axis=1).max() / np.sqrt(packed.in_features)
    size = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) * rms
    assert y.shape == (x.shape[0], packed.out_features)
    assert np.isfinite(y).all()
    assert (np.abs(y - expected(packed, x)) / size).max() <= tolerance


def rows(rng: np.random.Generator, n: int, inputs: int) -> npt.NDArray[np.float32]:
    return rng.normal(size=(n, inputs)).astype(np.float32)


REGIMES: list[tuple[Literal["decode", "many"], bool, float]] = [
    ("decode", False, DECODE),
    ("many", False, MANY),
    ("many", True, PRECISE),
]


@pytest.mark.parametrize(("regime", "precise", "tolerance"), REGIMES)
@pytest.mark.parametrize("out", [1, 31, 63, 64, 65, 200, 300, 513])
def test_odd_numbers_of_rows(level, out, regime, precise, tolerance):
    rng = np.random.default_rng(out)
    packed = random_linear(rng, out, 136, bias=True)
    x = rows(rng, 3, 136)
    close(packed, x, cpu.linear(packed, x, level=level, regime=regime, precise=precise), tolerance)


@pytest.mark.parametrize(("regime", "precise", "tolerance"), REGIMES)
@pytest.mark.parametrize("group", [8, 16])
@pytest.mark.parametrize("inputs", [8, 40, 120, 136, 576])
def test_odd_numbers_of_inputs(level, inputs, group, regime, precise, tolerance):
    rng = np.random.default_rng(inputs)
    packed = random_linear(rng, 72, inputs, group=group)
    x = rows(rng, 2, inputs)
    close(packed, x, cpu.linear(packed, x, level=level, regime=regime, precise=precise), tolerance)


@pytest.mark.parametrize(("regime", "precise", "tolerance"), REGIMES)
@pytest.mark.parametrize("group", [8, 16])
@pytest.mark.parametrize("bits", [1, 5, 8, 12, 16])
@pytest.mark.parametrize("books", [1, 2, 3, 4, 8])
def test_schemes(level, books, bits, group, regime, precise, tolerance):
    rng = np.random.default_rng(books * 100 + bits)
    packed = random_linear(rng, 70, 160, books, bits, group)
    x = rows(rng, 2, 160)
    close(packed, x, cpu.linear(packed, x, level=level, regime=regime, precise=precise), tolerance)


@pytest.mark.parametrize("books", [16, 17])
def test_the_most_codebooks_of_the_tables_and_one_more(level, books):
    """All entries at their largest, so that sums of 16 bits reach their limit."""
    codes = np.zeros((64, 16, books), np.uint8)
    codebooks = np.zeros((books, 256, 8))
    codebooks[:, 0] = 1
    packed = aqlm.pack(codes, codebooks, np.ones(64))
    x = np.ones((1, 128), np.float32)
    np.testing.assert_allclose(cpu.linear(packed, x, level=level, regime="decode"), 128 * books, rtol=1e-3)
    np.testing.assert_allclose(cpu.linear(packed, -x, level=level, regime="decode"), -128 * books, rtol=1e-3)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("n", range(1, 10))
def test_numbers_of_activation_rows(level, n, bits):
    rng = np.random.default_rng(n)
    packed = random_linear(rng, 300, 296, bits=bits)
    x = rows(rng, n, 296) * 10.0 ** rng.integers(-3, 3, (n, 1)).astype(np.float32)
    y = cpu.linear(packed, x, level=level, regime="decode")
    close(packed, x, y, DECODE)
    alone = [cpu.linear(packed, x[i : i + 1], level=level, regime="decode")[0] for i in range(n)]
    np.testing.assert_array_equal(y, alone)


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("out", [2048, 1500])
def test_several_tiles_at_once(level, out, bits):
    rng = np.random.default_rng(out)
    packed = random_linear(rng, out, 264, bits=bits)
    x = rows(rng, 2, 264)
    close(packed, x, cpu.linear(packed, x, level=level, regime="decode"), DECODE)


@pytest.mark.parametrize("group", [8, 16])
def test_one_input_a_thousand_times_the_others(level, group):
    rng = np.random.default_rng(group)
    packed = random_linear(rng, 128, 256, group=group)
    x = rows(rng, 1, 256)
    x[0, 77] = 1000
    y = cpu.linear(packed, x, level=level, regime="decode")
    close(packed, x, y, 3 * DECODE)  # the 127 others of its block have 5 bits left


def test_a_single_input(level):
    """No error from inputs that are zero: their tables are exact."""
    packed = random_linear(np.random.default_rng(5), 128, 256)
    x = np.zeros((1, 256), np.float32)
    x[0, 130] = -3
    close(packed, x, cpu.linear(packed, x, level=level, regime="decode"), 5e-3)


def test_zero_activations_give_the_bias(level):
    packed = random_linear(np.random.default_rng(6), 65, 40, bias=True)
    for regime in ("decode", "many"):
        y = cpu.linear(packed, np.zeros((2, 40), np.float32), level=level, regime=regime)
        np.testing.assert_array_equal(y, np.tile(packed.buffers["bias"], (2, 1)))


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e-42])
def test_huge_and_tiny_activations(level, factor):
    rng = np.random.default_rng(8)
    packed = random_linear(rng, 70, 136)
    x = (rows(rng, 2, 136).astype(np.float64) * factor).astype(np.float32)
    y = cpu.linear(packed, x, level=level, regime="decode")
    if factor > 1e-40:
        close(packed, x, y, DECODE)
    else:  # a few steps of the smallest number; what matters is that nothing becomes large
        assert np.abs(y).max() < 1e-39


def test_codebooks_of_zeros(level):
    packed = aqlm.pack(np.ones((64, 4, 2), np.uint8), np.zeros((2, 256, 8)), np.ones(64))
    for regime in ("decode", "many"):
        assert not cpu.linear(packed, np.ones((1, 32), np.float32), level=level, regime=regime).any()


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("n", [1, 3, 20])
def test_same_bits_with_any_number_of_threads(level, n, bits):
    rng = np.random.default_rng(9)
    packed = random_linear(rng, 1300, 264, bits=bits)
    x = rows(rng, n, 264)
    one = cpu.linear(packed, x, level=level, threads=1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(cpu.linear(packed, x, level=level, threads=threads), one)


@pytest.mark.parametrize(
    ("books", "bits", "group"), [(2, 8, 8), (1, 8, 16), (3, 5, 8), (16, 8, 8), (1, 12, 8), (2, 16, 16)]
)
@pytest.mark.parametrize("out", [64, 330])
def test_panels(level, out, books, bits, group):
    rng = np.random.default_rng(out + books)
    packed = random_linear(rng, out, 160, books, bits, group)
    weights = aqlm.dequantize(packed)
    numbers = cpu.panel_f32(packed, level)
    np.testing.assert_allclose(numbers[:, :160], weights, rtol=1e-6, atol=1e-6)
    integers, scales = cpu.panel_i16(packed, level)
    assert np.abs(integers).max() <= 8191
    step = np.abs(scales)[:, None]
    assert (np.abs(integers[:, :160] * scales[:, None] - weights) <= (0.5 * books + 0.01) * step + 1e-6).all()
