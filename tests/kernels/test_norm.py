import numpy as np
import pytest

from kernels import cpu
from kernels.reference.norm import rms_norm as reference

WIDTHS = [1, 15, 16, 17, 31, 33, 63, 64, 100, 513]
TOLERANCE = 3e-7


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_of_whole_rows(level: str, width: int) -> None:
    random = np.random.default_rng(width)
    x, weight = random.standard_normal((3, width)).astype(np.float32), random.standard_normal(width).astype(np.float32)
    np.testing.assert_allclose(cpu.rms_norm(x, weight, 1e-6, level), reference(x, weight, 1e-6), rtol=TOLERANCE)


@pytest.mark.parametrize("width", [1, 16, 40, 64, 80])
def test_rms_norm_of_each_head(level: str, width: int) -> None:
    random = np.random.default_rng(width)
    x = (random.standard_normal((2, 5, width)) * 10.0 ** np.arange(-2, 3)[:, None]).astype(np.float32).reshape(2, -1)
    weight = random.standard_normal(width).astype(np.float32)
    np.testing.assert_allclose(cpu.rms_norm(x, weight, 1e-5, level), reference(x, weight, 1e-5), rtol=TOLERANCE)


def test_rms_norm_of_zeros_is_zero(level: str) -> None:
    np.testing.assert_array_equal(cpu.rms_norm(np.zeros((1, 33)), np.ones(33), 1e-6, level), 0)


@pytest.mark.parametrize("width", WIDTHS)
def test_add(level: str, width: int) -> None:
    x, y = np.random.default_rng(width).standard_normal((2, width)).astype(np.float32)
    np.testing.assert_array_equal(cpu.add(x, y, level), x + y)
