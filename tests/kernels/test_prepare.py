import numpy as np
import pytest

from kernels import cpu
from kernels.reference.prepare import prepare as reference

WIDTHS = [1, 15, 16, 17, 31, 33, 63, 100, 128, 129, 513]


def _rows(width: int, n: int = 3) -> np.ndarray:
    return np.random.default_rng(width).standard_normal((n, width)).astype(np.float32)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_form_is_the_reference_s(level: str, width: int) -> None:
    x = _rows(width)
    made, expected = cpu.prepare(x, level), reference(x)
    np.testing.assert_array_equal(made["f32"], expected["f32"])
    np.testing.assert_allclose(made["scale"], expected["scale"], rtol=1e-6)
    # a scale that differs in its last bits may round a number the other way
    assert np.abs(made["q"].astype(int) - expected["q"]).max() <= 1
    np.testing.assert_allclose(made["f32_sum16"], expected["f32_sum16"], atol=1e-5)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_integers_agree_with_each_other(level: str, width: int) -> None:
    made = cpu.prepare(_rows(width), level)
    q = made["q"].astype(int)
    np.testing.assert_array_equal(made["hi"].astype(int) * 128 + made["lo"], q)
    assert made["lo"].min() >= 0
    np.testing.assert_array_equal(made["sum16"], q.reshape(3, -1, 16).sum(2))


@pytest.mark.parametrize(
    "x",
    [
        np.ones(128),
        np.eye(128)[5] * -3,
        np.tile([1e30, -1e30], 64),
        np.full(128, 3e38),
        np.full(128, -1e-40),
        np.zeros(128),
        np.full(128, 1e-29),
        np.random.default_rng(0).standard_t(2, 128),
    ],
    ids=["ones", "one", "huge", "largest", "denormal", "zero", "tiny", "heavy tails"],
)
def test_bounds_hold_and_the_error_is_half_a_unit(level: str, x: np.ndarray) -> None:
    made = cpu.prepare(x[None], level)
    q, scale = made["q"][0].astype(np.float64), float(made["scale"][0, 0])
    assert np.isfinite(scale)
    assert np.abs(q).max() <= 16383
    assert np.abs(q).sum() <= 2**18
    # 0.502: the scale and its inverse are rounded; numbers below 1e-30 may become zero
    assert np.abs(q * scale - x).max() <= max(0.502 * scale, 1e-30)


def test_a_nan_shows_in_the_scale_of_its_block_alone(level: str) -> None:
    x = _rows(300, 1)
    x[0, 130] = np.nan
    assert np.isnan(cpu.prepare(x, level)["scale"]).tolist() == [[False, True, False]]


def test_rows_are_gathered_through_perm_and_padded(level: str) -> None:
    x = _rows(100)
    perm = np.random.default_rng(1).permutation(100).astype(np.uint32)
    made, expected = cpu.prepare(x, level, perm=perm, stride=256), reference(x, perm=perm, stride=256)
    for name in ("f32", "q", "sum16"):
        np.testing.assert_array_equal(made[name][:, 112 // (16 if name == "sum16" else 1) :], 0)
    np.testing.assert_array_equal(made["f32"], expected["f32"])
    assert np.abs(made["q"].astype(int) - expected["q"]).max() <= 1
    assert made["scale"][:, 1].tolist() == [0, 0, 0]
