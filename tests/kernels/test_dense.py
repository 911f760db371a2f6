import numpy as np
import pytest

from kernels import cpu, reference
from kernels.packing import dense
from tests.kernels import linear_checks as check

SCHEMES = ("f32", "f16", "bf16")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", check.WIDTHS)
@pytest.mark.parametrize("out", check.OUTS)
def test_decoding_at_every_size(level: str, out: int, width: int, scheme: str) -> None:
    packed = dense.pack(check.weights(out, width), scheme)
    x = check.rows(1, width)
    y = cpu.linear(packed, x, level=level, regime="decode")
    check.assert_close(y, reference.linear(packed, x), packed, x, check.SUM_TOLERANCE)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n", range(1, 10))
def test_every_number_of_rows(level: str, n: int, scheme: str) -> None:
    packed = dense.pack(check.weights(65, 144), scheme, bias=np.linspace(-1, 1, 65))
    x = check.rows(n, 144)
    if n <= 8:
        y = cpu.linear(packed, x, level=level, regime="decode")
        check.assert_close(y, reference.linear(packed, x), packed, x, check.SUM_TOLERANCE)
    check.check_many_rows(packed, level, n)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_thread_and_any_company_gives_the_same_bits(level: str, scheme: str) -> None:
    check.check_threads(dense.pack(check.weights(200, 576), scheme), level)


@pytest.mark.parametrize("scheme", ["f16", "bf16"])
@pytest.mark.parametrize(("out", "width"), [(1, 16), (17, 40), (65, 144), (200, 576)])
def test_panels(level: str, out: int, width: int, scheme: str) -> None:
    packed = dense.pack(check.weights(out, width), scheme)
    check.check_panels(packed, level)
    if width > 144:
        check.check_parts_of_panels(packed, level)


@pytest.mark.parametrize("out", [1, 65, 200])
def test_panels_of_f32_are_the_weights(level: str, out: int) -> None:
    w = check.weights(out, 144)
    panel = cpu.panel_f32(dense.pack(w, "f32"), level)
    assert (panel[:, :144] == w).all()
    assert (panel[:, 144:] == 0).all()


@pytest.mark.parametrize(("out", "width"), [(1, 16), (17, 40), (65, 144), (200, 576)])
def test_weights_come_back(out: int, width: int) -> None:
    w = check.weights(out, width)
    assert (dense.dequantize(dense.pack(w, "f32")) == w).all()
    half = dense.pack(w, "f16")
    assert (dense.dequantize(half) == w.astype(np.float16).astype(np.float32)).all()
    assert (half.buffers["row_max"][:out] == np.abs(w.astype(np.float16)).max(1)).all()
    brain = dense.dequantize(dense.pack(w, "bf16"))
    assert (np.abs(brain - w) <= np.abs(w) / 256).all()
    assert (brain.view(np.uint32) & 0xFFFF == 0).all()


def test_bf16_rounds_halves_to_even() -> None:
    w = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF]], np.uint32).view(np.float32)
    assert (dense.dequantize(dense.pack(w, "bf16")).view(np.uint32) >> 16).tolist() == [
        [0x3F80, 0x3F82, 0x3F81, 0x3F80]
    ]


def test_where_a_number_lies() -> None:
    w = np.zeros((40, 70), np.float32)
    w[35, 66] = 5
    data = dense.pack(w, "f32").buffers["data"]
    assert data.shape == (3, 96, 16)
    assert data[2, 66, 3] == 5
    assert np.count_nonzero(data) == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="q4"):
        dense.pack(np.ones((2, 2)), "q4")
    with pytest.raises(ValueError, match="f16"):
        dense.pack(np.full((2, 2), 1e5, np.float32), "f16")
