import numpy as np
import pytest

from kernels import cpu
from kernels.reference.rope import rope as reference

TOLERANCE = 3e-7


@pytest.mark.parametrize(
    ("head_dim", "half"), [(16, 8), (64, 32), (80, 40), (80, 16), (96, 48), (128, 64), (128, 31), (256, 128)]
)
def test_halves_of_every_head_turn(level: str, head_dim: int, half: int) -> None:
    random = np.random.default_rng(head_dim + half)
    x, angles = random.standard_normal((3, 5 * head_dim)).astype(np.float32), random.uniform(0, 500, (3, half))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    y = cpu.rope(x, cos, sin, 5, level)
    np.testing.assert_allclose(y, reference(x, cos, sin, 5), atol=TOLERANCE * np.abs(x).max())
    rest = y.reshape(3, 5, head_dim)[..., 2 * half :]
    np.testing.assert_array_equal(rest, x.reshape(3, 5, head_dim)[..., 2 * half :])
