"""SpQR's column loop at every level, against the reference and against the weights that come out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from kernels.cpu.column import quantize_columns
from kernels.packing import spqr
from kernels.packing.spqr_columns import Columns
from kernels.reference.column import quantize_columns as reference

Array = npt.NDArray[Any]
SHAPES = [(1, 1), (37, 70), (64, 128), (70, 150)]


def problem(out: int, width: int) -> tuple[Array, Array, Array, Array]:
    """Weights with heavy tails, feedback and importance of a Hessian, and the Hessian."""
    random = np.random.default_rng(out + width)
    weight = (random.standard_t(4, (out, width)) * 0.02).astype(np.float32)
    x = random.standard_normal((4 * width, width)) @ (np.eye(width) + 0.1 * random.standard_normal((width, width)))
    hessian = x.T @ x / len(x)
    hessian += 0.01 * np.mean(np.diag(hessian)) * np.eye(width)
    upper = np.linalg.cholesky(hessian[::-1, ::-1])[::-1, ::-1]
    roots = np.diag(upper)
    return weight, (upper.T / roots[:, None]).astype(np.float32), (roots * roots).astype(np.float32), hessian


def price_of(weight: Array, importance: Array, tau: float = 0.4) -> float:
    return tau * float(np.mean(weight.var(0) * importance))


def assert_same(one: Columns, two: Columns) -> None:
    for name in ("codes", "scale_codes", "zero_codes", "statistics", "sparse", "errors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize(("out", "width"), SHAPES)
def test_the_reference_s_codes(level: str, out: int, width: int, bits: int) -> None:
    weight, feedback, importance, _ = problem(out, width)
    price = price_of(weight, importance)
    found = quantize_columns(weight, feedback, importance, bits=bits, price=price, level=level)
    expected = reference(weight, feedback, importance, bits=bits, price=price)
    if level == "scalar":
        assert_same(found, expected)
        return
    # one code that rounds the other way changes what all later columns make up for
    assert np.mean(found.codes == expected.codes) > 0.9
    np.testing.assert_allclose(found.errors.sum(), expected.errors.sum(), rtol=0.02)
    assert abs(found.outliers - expected.outliers) <= 2 + expected.outliers // 20


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize(("out", "width"), SHAPES)
def test_the_errors_are_those_of_the_decoded_weights(level: str, out: int, width: int, bits: int) -> None:
    weight, feedback, importance, hessian = problem(out, width)
    price = price_of(weight, importance)
    found = quantize_columns(weight, feedback, importance, bits=bits, price=price, level=level)
    assert found.codes.max() < 2**bits
    assert max(found.scale_codes.max(), found.zero_codes.max()) < 8
    error = weight - spqr.dequantize(spqr.pack(found.parts(None)))
    np.testing.assert_allclose(found.errors, np.einsum("oi,ij,oj->o", error, hessian, error), rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(level: str, threads: int) -> None:
    weight, feedback, importance, _ = problem(200, 150)
    price = price_of(weight, importance)
    one, more = (
        quantize_columns(weight, feedback, importance, bits=3, price=price, level=level, threads=count)
        for count in (1, threads)
    )
    assert_same(one, more)


def test_a_row_does_not_depend_on_the_rows_of_other_tiles(level: str) -> None:
    weight, feedback, importance, _ = problem(100, 150)
    price = price_of(weight, importance)
    whole = quantize_columns(weight, feedback, importance, bits=3, price=price, level=level)
    part = quantize_columns(weight[32:48], feedback, importance, bits=3, price=price, level=level)
    np.testing.assert_array_equal(part.codes, whole.codes[32:48])
    np.testing.assert_array_equal(part.sparse, whole.sparse[32:48])


def test_outliers_are_what_the_price_buys(level: str) -> None:
    weight, feedback, importance, _ = problem(64, 128)
    weight[5, 7] = 3.0
    counts, errors = [], []
    for tau in (np.inf, 0.8, 0.2):
        price = price_of(weight, importance, tau)
        found = quantize_columns(weight, feedback, importance, bits=3, price=price, level=level)
        counts.append(found.outliers)
        errors.append(float(found.errors.sum()))
        assert found.errors.max() < 128 * price
    assert counts[0] == 0 < counts[1] < counts[2]
    assert errors[0] > errors[1] > errors[2]
    assert found.sparse[5, 7] > 1


def test_columns_make_up_for_those_before(level: str) -> None:
    weight, feedback, importance, hessian = problem(64, 256)

    def error(feedback: Array) -> float:
        found = quantize_columns(weight, feedback, importance, bits=3, price=np.inf, level=level)
        wrong = weight - spqr.dequantize(spqr.pack(found.parts(None)))
        return float(np.einsum("oi,ij,oj->", wrong, hessian, wrong))

    assert error(feedback) < 0.7 * error(np.zeros_like(feedback))


@pytest.mark.parametrize("value", [0.0, 0.25, -1e-9])
def test_weights_that_are_all_the_same(level: str, value: float) -> None:
    feedback, importance = np.zeros((40, 40), np.float32), np.ones(40, np.float32)
    weight = np.full((20, 40), value, np.float32)
    found = quantize_columns(weight, feedback, importance, bits=3, price=np.inf, level=level)
    np.testing.assert_allclose(spqr.dequantize(spqr.pack(found.parts(None))), weight, rtol=1e-2, atol=1e-7)


def test_shapes_must_fit() -> None:
    weight, feedback, importance, _ = problem(20, 30)
    for arguments in (
        (weight[:, :20], feedback, importance),
        (weight, feedback[:20], importance),
        (weight, feedback, importance[:20]),
        (weight[:0], feedback, importance),
        (weight[0], feedback, importance),
    ):
        with pytest.raises(ValueError, match="weights of shape"):
            quantize_columns(*arguments, bits=3, price=1.0)
    with pytest.raises(ValueError, match="2 bits"):
        quantize_columns(weight, feedback, importance, bits=2, price=1.0)
