import numpy as np
import pytest

from kernels import cpu
from kernels.reference.topk import top_k as reference


def _same(x: np.ndarray, k: int, level: str) -> None:
    indices, values = cpu.top_k(x, k, level)
    expected_indices, expected_values = reference(x, k)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(values, expected_values)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 33, 63, 100, 513, 49_152])
@pytest.mark.parametrize("k", [1, 2, 16, 40, 1000])
def test_the_largest_in_order(level: str, n: int, k: int) -> None:
    _same(np.random.default_rng(n + k).standard_normal(n).astype(np.float32), k, level)


@pytest.mark.parametrize("k", [1, 40, 1000])
def test_a_whole_vocabulary(level: str, k: int) -> None:
    x = np.random.default_rng(k).standard_t(4, 151_936).astype(np.float32)
    _same(x, k, level)
    _same(np.sort(x), k, level)
    _same(np.sort(x)[::-1], k, level)


@pytest.mark.parametrize("kinds", [1, 2, 5, 300])
def test_of_equal_ones_the_lower_index_comes_first(level: str, kinds: int) -> None:
    _same(np.random.default_rng(kinds).integers(0, kinds, 5000).astype(np.float32), 70, level)


def test_masked_and_broken_logits_come_last(level: str) -> None:
    x = np.random.default_rng(0).standard_normal(3000).astype(np.float32)
    x[::3], x[1::3] = -np.inf, np.nan
    _same(x, 5, level)
    _same(x, 1000, level)
    _same(x, 1200, level)
    _same(np.full(500, np.nan, np.float32), 7, level)


def test_the_last_numbers_are_found(level: str) -> None:
    x = np.zeros(1003, np.float32)
    x[[1002, 1000, 3]] = 3, 2, 1
    _same(x, 3, level)
