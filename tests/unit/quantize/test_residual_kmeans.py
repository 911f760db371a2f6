import numpy as np
import pytest

from backend.quantize.residual_kmeans import Additive, quantize
from kernels.reference.nearest import nearest_codes


def _decoded(parts: Additive) -> np.ndarray:
    out, groups, count = parts.codes.shape
    decoded = np.zeros((out, groups, parts.codebooks.shape[2]), np.float32)
    for k in range(count):
        decoded += parts.codebooks[k][parts.codes[:, :, k]]
    return decoded.reshape(out, -1) * parts.scales[:, None]


def _weight(out: int, inputs: int) -> np.ndarray:
    random = np.random.default_rng(5)
    return (random.standard_normal((out, inputs)) * np.exp(random.standard_normal((out, 1)))).astype(np.float32)


def test_the_error_it_states_is_the_error_it_makes() -> None:
    weight = _weight(48, 200)
    parts = quantize(weight, 2, nearest_codes)
    error = np.square(weight - _decoded(parts)).sum() / np.square(weight).sum()
    assert parts.error == pytest.approx(error, rel=1e-4)
    assert parts.codes.dtype == np.uint8
    assert parts.codes.shape == (48, 25, 2)


@pytest.mark.parametrize(("count", "limit"), [(1, 0.33), (2, 0.085), (3, 0.025)])
def test_gaussian_weights_come_near_what_the_bits_allow(count: int, limit: float) -> None:
    # the bound for 1, 2, 3 bits is 1/4, 1/16, 1/64; plain residual K-means reaches 0.35, 0.11, 0.035 here
    assert quantize(_weight(128, 128), count, nearest_codes).error < limit


def test_what_is_stored_fits_half_precision_without_loss() -> None:
    parts = quantize(_weight(32, 64), 2, nearest_codes)
    for stored in (parts.codebooks, parts.scales):
        assert np.array_equal(stored, stored.astype(np.float16).astype(np.float32))


def test_rows_of_zeros_inputs_that_are_no_multiple_of_the_group_and_few_groups() -> None:
    weight = _weight(5, 21)
    weight[2] = 0
    parts = quantize(weight, 2, nearest_codes)
    decoded = _decoded(parts)
    assert decoded.shape == (5, 24)
    assert np.isfinite(decoded).all()
    assert parts.error < 1e-3  # 15 groups and 256 codewords
    nothing = quantize(np.zeros((4, 16), np.float32), 1, nearest_codes)
    assert nothing.error == 0
    assert np.isfinite(_decoded(nothing)).all()


def test_the_same_seed_gives_the_same_build() -> None:
    weight = _weight(16, 64)
    one, two = (quantize(weight, 2, nearest_codes, seed=3) for _ in range(2))
    assert np.array_equal(one.codes, two.codes)
    assert np.array_equal(one.codebooks, two.codebooks)
