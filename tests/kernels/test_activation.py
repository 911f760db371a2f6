import numpy as np
import pytest

from kernels import cpu
from kernels.reference import activation as reference

WIDTHS = [1, 15, 16, 17, 31, 33, 63, 100, 513]
TOLERANCE = 6e-7  # exp, a division, two products


@pytest.mark.parametrize("width", WIDTHS)
def test_swiglu(level: str, width: int) -> None:
    random = np.random.default_rng(width)
    gate = (random.standard_normal((2, width)) * 8).astype(np.float32)
    up = random.standard_normal((2, width)).astype(np.float32)
    np.testing.assert_allclose(cpu.swiglu(gate, up, level), reference.swiglu(gate, up), rtol=TOLERANCE)


def test_swiglu_of_a_dense_sweep_and_of_extremes(level: str) -> None:
    gate = np.linspace(-80, 80, 100_001, dtype=np.float32)[None]
    np.testing.assert_allclose(
        cpu.swiglu(gate, np.ones_like(gate), level), reference.swiglu(gate, np.ones_like(gate)), rtol=TOLERANCE
    )
    far = np.array([[-1e30, -1000, -100, 0, 1000, 1e30]], np.float32)
    np.testing.assert_allclose(
        cpu.swiglu(far, np.ones_like(far), level), [[0, 0, 0, 0, 1000, 1e30]], rtol=TOLERANCE, atol=1e-7
    )


@pytest.mark.parametrize("n", [*WIDTHS, 4097, 151_936])
def test_softmax(level: str, n: int) -> None:
    x = (np.random.default_rng(n).standard_normal(n) * 5 + 300).astype(np.float32)
    y, expected = cpu.softmax(x, level), reference.softmax(x)
    np.testing.assert_allclose(y, expected, rtol=TOLERANCE, atol=1e-37)
    assert abs(float(y.astype(np.float64).sum()) - 1) < TOLERANCE


def test_softmax_gives_masked_numbers_nothing(level: str) -> None:
    x = np.linspace(-3, 3, 37, dtype=np.float32)
    x[[0, 7, 20, 36]] = -np.inf
    y = cpu.softmax(x, level)
    assert y[[0, 7, 20, 36]].tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(y, reference.softmax(x), rtol=TOLERANCE)
