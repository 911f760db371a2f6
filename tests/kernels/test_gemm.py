import numpy as np
import pytest

from kernels import cpu
from kernels.reference import gemm as reference

# float32 sums of blocks; the sums inside a block are exact integers
INTEGER_TOLERANCE = 3e-6
# float32 sums of up to 128 products
FLOAT_TOLERANCE = 3e-6


def _activations(n: int, width: int, level: str) -> dict[str, np.ndarray]:
    return cpu.prepare(np.random.default_rng(n * 7 + width).standard_normal((n, width)).astype(np.float32), level)


def _integers(k: int) -> np.ndarray:
    return np.random.default_rng(k).integers(-8191, 8192, (64, k)).astype(np.int16)


def _close(y: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert np.abs(y - expected).max() <= tolerance * np.sqrt(np.square(expected).mean())


@pytest.mark.parametrize("n", [*range(1, 14), 17, 31, 33, 40])
def test_integers_for_every_number_of_rows(level: str, n: int) -> None:
    made, weights, scales = _activations(n, 256, level), _integers(256), np.linspace(1e-4, 2e-4, 64, dtype=np.float32)
    y = np.zeros((n, 64), np.float32)
    cpu.gemm_i16(made, weights, scales, y, level=level)
    _close(y, reference.gemm_i16(made, weights, scales, n), INTEGER_TOLERANCE)


@pytest.mark.parametrize("n", [*range(1, 14), 17, 31, 33, 40])
def test_numbers_for_every_number_of_rows(level: str, n: int) -> None:
    made = _activations(n, 256, level)
    weights = np.random.default_rng(n).standard_normal((64, 256)).astype(np.float32)
    y = np.zeros((n, 64), np.float32)
    cpu.gemm_f32(made, weights, y, level=level)
    _close(y, reference.gemm_f32(made, weights, n), FLOAT_TOLERANCE)


@pytest.mark.parametrize(("k0", "k"), [(0, 32), (0, 96), (32, 32), (96, 64), (64, 256), (128, 512), (160, 480)])
def test_a_range_of_inputs_is_added_to_rows_of_a_wider_result(level: str, k0: int, k: int) -> None:
    made, row0, n = _activations(11, 640, level), 2, 7
    weights, scales = _integers(k), np.full(64, 3e-4, np.float32)
    numbers = weights * scales[:, None]
    start = np.random.default_rng(1).standard_normal((n, 100)).astype(np.float32)
    y, z = start.copy(), start.copy()
    cpu.gemm_i16(made, weights, scales, y, row0=row0, k0=k0, level=level)
    cpu.gemm_f32(made, numbers, z, row0=row0, k0=k0, level=level)
    expected = start[:, :64] + reference.gemm_i16(made, weights, scales, n, row0=row0, k0=k0)
    _close(y[:, :64], expected, INTEGER_TOLERANCE)
    _close(z[:, :64], start[:, :64] + reference.gemm_f32(made, numbers, n, row0=row0, k0=k0), FLOAT_TOLERANCE)
    np.testing.assert_array_equal(y[:, 64:], start[:, 64:])
    np.testing.assert_array_equal(z[:, 64:], start[:, 64:])


@pytest.mark.parametrize("x", [np.ones(128), np.eye(128)[3], np.tile([1, -1], 64)], ids=["ones", "one", "signs"])
def test_the_largest_integers_do_not_overflow(level: str, x: np.ndarray) -> None:
    made = cpu.prepare(np.tile(x, (5, 1)), level)
    weights = (np.where(x < 0, -1, 1) * np.full((64, 1), 8191)).astype(np.int16)
    y = np.zeros((5, 64), np.float32)
    cpu.gemm_i16(made, weights, np.ones(64), y, level=level)
    _close(y, np.full((5, 64), np.abs(x).sum() * 8191), 1 / 2048)  # 2047.5 units each


def test_a_row_is_the_same_whatever_rows_come_with_it(level: str) -> None:
    made, weights, scales = _activations(40, 384, level), _integers(384), np.full(64, 1e-4, np.float32)
    whole, one = np.zeros((40, 64), np.float32), np.zeros((1, 64), np.float32)
    cpu.gemm_i16(made, weights, scales, whole, level=level)
    cpu.gemm_i16(made, weights, scales, one, row0=23, level=level)
    np.testing.assert_array_equal(whole[23], one[0])
