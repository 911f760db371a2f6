import numpy as np
import pytest

from kernels.packing import q8
from tests.kernels import linear_checks as check

GROUP_SIZES = (32, 64, 128)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
@pytest.mark.parametrize("width", check.WIDTHS)
@pytest.mark.parametrize("out", check.OUTS)
def test_decoding_and_panels_at_every_size(level: str, out: int, width: int, group_size: int) -> None:
    packed = q8.quantize(check.weights(out, width), group_size)
    check.check_decoding(packed, level, 1)
    check.check_panels(packed, level)


@pytest.mark.parametrize("n", range(1, 10))
def test_every_number_of_rows(level: str, n: int) -> None:
    packed = q8.quantize(check.weights(65, 144), 32, bias=np.linspace(-1, 1, 65))
    if n <= 8:
        check.check_decoding(packed, level, n)
    check.check_many_rows(packed, level, n)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_any_thread_and_any_company_gives_the_same_bits(level: str, group_size: int) -> None:
    check.check_threads(q8.quantize(check.weights(200, 576), group_size), level)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_parts_of_panels(level: str, group_size: int) -> None:
    check.check_parts_of_panels(q8.quantize(check.weights(80, 384), group_size), level)


def test_extreme_numbers_and_a_row_of_zeros(level: str) -> None:
    q = np.full((33, 128), 127, np.int8)
    q[::2] = -127
    q[5] = 0
    packed = q8.pack(q, np.full((33, 1), 0.5), 128)
    check.check_decoding(packed, level, 3)
    check.check_panels(packed, level)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
@pytest.mark.parametrize(("out", "width"), [(1, 16), (17, 40), (65, 144), (200, 576)])
def test_numbers_and_scales_come_back(out: int, width: int, group_size: int) -> None:
    random = np.random.default_rng(out)
    q = random.integers(-127, 128, (out, width)).astype(np.int8)
    scales = random.standard_normal((out, -(-width // group_size))).astype(np.float16)
    packed = q8.pack(q, scales, group_size)
    numbers, back = q8.unpack(packed)
    assert (numbers == q).all()
    assert (back == scales).all()
    expected = q.astype(np.float32) * np.repeat(scales.astype(np.float32), group_size, 1)[:, :width]
    assert (q8.dequantize(packed) == expected).all()
    assert (packed.buffers["row_max"][:out] == np.abs(expected).max(1)).all()


def test_where_a_number_lies() -> None:
    q = np.zeros((40, 96), np.int8)
    q[35, 76:80] = 1, 2, 3, -4  # panel 2, lane 3, quad 19
    data = q8.pack(q, np.ones((40, 3)), 32).buffers["data"]
    assert data.shape == (3, 24, 16, 4)
    assert data[2, 19, 3].tolist() == [1, 3, 2, -4]
    assert np.count_nonzero(data) == 4


def test_rounding_is_to_nearest() -> None:
    w = check.weights(40, 256)
    w[3] = 0
    packed = q8.quantize(w, 32)
    scales = np.repeat(q8.unpack(packed)[1].astype(np.float32), 32, 1)
    # half a step, and what f16 takes off the scale: 127 steps of 2^-11
    assert (np.abs(q8.dequantize(packed) - w) <= (0.5 + 127 / 2048) * scales + 1e-12).all()
    assert (q8.dequantize(packed)[3] == 0).all()
