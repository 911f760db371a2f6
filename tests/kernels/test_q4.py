import numpy as np
import pytest

from kernels.packing import q4
from tests.kernels import linear_checks as check

GROUP_SIZES = (32, 64, 128)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
@pytest.mark.parametrize("width", check.WIDTHS)
@pytest.mark.parametrize("out", check.OUTS)
def test_decoding_and_panels_at_every_size(level: str, out: int, width: int, group_size: int) -> None:
    packed = q4.quantize(check.weights(out, width), group_size)
    check.check_decoding(packed, level, 1)
    check.check_panels(packed, level)


@pytest.mark.parametrize("n", range(1, 10))
def test_every_number_of_rows(level: str, n: int) -> None:
    packed = q4.quantize(check.weights(65, 144), 32, bias=np.linspace(-1, 1, 65))
    if n <= 8:
        check.check_decoding(packed, level, n)
    check.check_many_rows(packed, level, n)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_any_thread_and_any_company_gives_the_same_bits(level: str, group_size: int) -> None:
    check.check_threads(q4.quantize(check.weights(200, 576), group_size), level)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_parts_of_panels(level: str, group_size: int) -> None:
    check.check_parts_of_panels(q4.quantize(check.weights(80, 384), group_size), level)


def test_extreme_codes_and_a_row_of_zeros(level: str) -> None:
    q = np.zeros((33, 128), np.uint8)
    q[::2] = 15
    q[5] = 8
    packed = q4.pack(q, np.full((33, 4), 0.5), 32)
    check.check_decoding(packed, level, 3)
    check.check_panels(packed, level)


@pytest.mark.parametrize("group_size", GROUP_SIZES)
@pytest.mark.parametrize(("out", "width"), [(1, 16), (17, 40), (65, 144), (200, 576)])
def test_codes_and_scales_come_back(out: int, width: int, group_size: int) -> None:
    random = np.random.default_rng(out)
    q = random.integers(0, 16, (out, width)).astype(np.uint8)
    scales = random.standard_normal((out, -(-width // group_size))).astype(np.float16)
    packed = q4.pack(q, scales, group_size)
    codes, back = q4.unpack(packed)
    assert (codes == q).all()
    assert (back == scales).all()
    expected = (q.astype(np.float32) - 8) * np.repeat(scales.astype(np.float32), group_size, 1)[:, :width]
    assert (q4.dequantize(packed) == expected).all()
    assert (packed.buffers["row_max"][:out] == np.abs(expected).max(1)).all()
    assert packed.buffers["row_max"].shape == (-(-out // 64) * 64,)


def test_where_a_code_lies() -> None:
    q = np.full((40, 96), 8, np.uint8)
    q[35, 77] = 13  # panel 2, lane 3; input 8 * 9 + 4 + 1: the high nibble of byte 1
    q[35, 75] = 2  # input 8 * 9 + 3: the low nibble of byte 3
    data = q4.pack(q, np.ones((40, 3)), 32).buffers["data"]
    assert data.shape == (3, 12, 16, 4)
    assert data[2, 9, 3].tolist() == [0x88, 0xD8, 0x88, 0x82]
    data = np.delete(data.reshape(-1, 4), (2 * 12 + 9) * 16 + 3, axis=0)
    assert (data == 0x88).all()


def test_where_a_scale_lies() -> None:
    scales = np.arange(40 * 3).reshape(40, 3)
    laid = q4.pack(np.zeros((40, 96), np.uint8), scales, 32).buffers["scales"]
    assert laid.shape == (3, 3, 16)
    assert laid[2, 1, 3] == scales[35, 1]


@pytest.mark.parametrize("group_size", GROUP_SIZES)
def test_rounding_is_to_nearest_and_no_worse_than_the_largest_at_minus_8(group_size: int) -> None:
    w = check.weights(40, 256)
    packed = q4.quantize(w, group_size)
    found = q4.dequantize(packed)
    groups = w.reshape(-1, group_size)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(1)[:, None], 1)
    scale = (largest / -8).astype(np.float16).astype(np.float32)
    simple = scale * np.clip(np.rint(groups / scale), -8, 7)
    errors = np.square(found.reshape(-1, group_size) - groups).sum(1)
    assert errors.sum() < 0.97 * np.square(simple - groups).sum()
    codes, scales = q4.unpack(packed)
    steps = np.repeat(np.abs(scales.astype(np.float32)), group_size, 1)
    inside = (codes > 0) & (codes < 15)
    assert (np.abs(found - w)[inside] <= 0.501 * steps[inside]).all()


def test_what_does_not_fit_is_refused() -> None:
    q = np.zeros((16, 64), np.uint8)
    with pytest.raises(ValueError, match="groups of 48"):
        q4.pack(q, np.ones((16, 2)), 48)
    with pytest.raises(ValueError, match="scales of shape"):
        q4.pack(q, np.ones((16, 3)), 32)
    with pytest.raises(ValueError, match="f16"):
        q4.pack(q, np.full((16, 2), 1e6), 32)
    with pytest.raises(ValueError, match="bias"):
        q4.pack(q, np.ones((16, 2)), 32, bias=np.ones(15))
