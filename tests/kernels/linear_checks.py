"""What every linear must do, for the tests of each scheme."""

import numpy as np
import numpy.typing as npt

from kernels import cpu, reference
from kernels.packed import PackedLinear

#: Of |w| |x|: float32 sums of blocks whose own sums are exact integers, or of 4 chains of products.
SUM_TOLERANCE = 1e-6
#: Of |w| |x|: 15-bit activations, one scale per 128; one input alone is rounded by up to 1/32766.
ACTIVATION_TOLERANCE = 6e-5
#: Of |w| |x| for many rows: the weights have 14 bits as well; a row's largest is rounded by up to 1/16382.
MANY_TOLERANCE = 2e-4

#: Around the 16 rows of a panel and the 64 of a tile, and a few tiles.
OUTS = (1, 15, 16, 17, 31, 63, 65, 200)
#: Around a step of 32 inputs and a block of 128.
WIDTHS = (16, 32, 40, 48, 128, 144, 576)


def weights(out: int, width: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Heavy-tailed weights."""
    numbers = np.random.default_rng(out * 1009 + width + seed).standard_t(4, (out, width))
    return (0.02 * numbers).astype(np.float32)


def rows(n: int, width: int) -> npt.NDArray[np.float32]:
    """Activations, with one far larger than the others."""
    x = np.random.default_rng(n * 1013 + width).standard_normal((n, width)).astype(np.float32)
    x[:, width // 3] *= 20
    return x


def as_prepared(x: npt.NDArray[np.float32], level: str) -> npt.NDArray[np.float64]:
    """The rounded activations that decoding multiplies by."""
    made = cpu.prepare(x, level)
    return (made["q"] * np.repeat(made["scale"].astype(np.float64), cpu.BLOCK, 1))[:, : x.shape[1]]


def assert_close(
    y: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float64],
    packed: PackedLinear,
    x: npt.NDArray,
    tolerance: float,
) -> None:
    """Every number within `tolerance` of |weight row| |activation row|."""
    size = np.linalg.norm(x.astype(np.float64), axis=1)[:, None] * np.linalg.norm(reference.dequantize(packed), axis=1)
    assert y.shape == expected.shape
    assert np.isfinite(y).all()
    bad = np.abs(y - expected) - (tolerance * size + 1e-30 + 1e-7 * np.abs(expected))
    assert bad.max() <= 0, (
        f"{(np.abs(y - expected) / size).max()} of |w| |x| at {np.unravel_index(bad.argmax(), y.shape)}"
    )


def check_decoding(packed: PackedLinear, level: str, n: int) -> None:
    """The decode regime with `n` rows, up to 8, with the activations as they are rounded and as they are."""
    x = rows(n, packed.in_features)
    y = cpu.linear(packed, x, level=level, regime="decode")
    assert_close(y, reference.linear(packed, as_prepared(x, level)), packed, x, SUM_TOLERANCE)
    assert_close(y, reference.linear(packed, x), packed, x, ACTIVATION_TOLERANCE)


def check_many_rows(packed: PackedLinear, level: str, n: int) -> None:
    """The many-rows regime, and precise mode, which has neither kind of rounding."""
    x = rows(n, packed.in_features)
    expected = reference.linear(packed, x)
    assert_close(cpu.linear(packed, x, level=level, regime="many"), expected, packed, x, MANY_TOLERANCE)
    assert_close(cpu.linear(packed, x, level=level, precise=True), expected, packed, x, 2 * SUM_TOLERANCE)


def check_panels(packed: PackedLinear, level: str, *, rounding: float = 0.501) -> None:
    """Panels hold the weights: as numbers to float32's precision, as integers to `rounding` of a row's step."""
    width = packed.in_features
    expected = reference.dequantize(packed)[:, packed.buffers.get("perm", np.arange(width))]
    scale = np.abs(expected).max(1, initial=1e-30)[:, None]
    numbers = cpu.panel_f32(packed, level)
    assert numbers.shape == (packed.out_features, packed.in_padded)
    assert np.isfinite(numbers).all()
    assert (np.abs(numbers[:, :width] - expected) <= 4e-6 * scale).all()
    integers, steps = cpu.panel_i16(packed, level)
    assert np.abs(integers[:, :width].astype(np.int32)).max() <= 8191  # padding meets zeros
    assert (steps[:, None] <= 1.001 * scale / 8191).all()
    assert (np.abs(integers[:, :width] * steps[:, None] - expected) <= (rounding + 0.02) * steps[:, None] + 1e-30).all()


def check_parts_of_panels(packed: PackedLinear, level: str) -> None:
    """A panel of inputs k0 .. k0 + k is a part of the whole one, also where k0 is inside a group."""
    weight, inputs = cpu.native_linear(packed, level), packed.in_padded
    whole_i16, whole_f32 = cpu.panel_i16(packed, level)[0], cpu.panel_f32(packed, level)
    count = min(64, packed.out_features)
    for k0, k in ((0, 32), (32, 64), (inputs - 32, 32), (64, inputs - 64)):
        integers = np.full((4, k // 2, 16, 2), -(2**15), np.int16)
        numbers = np.full((4, k, 16), np.nan, np.float32)
        weight.panel_i16(0, k0, k, integers, np.full(64, np.nan, np.float32))
        weight.panel_f32(0, k0, k, numbers)
        found = integers.transpose(0, 2, 1, 3).reshape(64, k)[:count]
        assert (found == whole_i16[:count, k0 : k0 + k]).all()
        assert (numbers.transpose(0, 2, 1).reshape(64, k)[:count] == whole_f32[:count, k0 : k0 + k]).all()


def check_threads(packed: PackedLinear, level: str) -> None:
    """The same bits for any number of threads, and for a row alone or among others."""
    x = rows(8, packed.in_features)
    alone = cpu.linear(packed, x, level=level, regime="decode")
    for threads in (2, 3):
        assert (cpu.linear(packed, x, level=level, regime="decode", threads=threads) == alone).all()
    for n in range(1, 8):
        assert (cpu.linear(packed, x[:n], level=level, regime="decode") == alone[:n]).all()
