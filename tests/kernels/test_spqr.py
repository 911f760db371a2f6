from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from kernels import cpu, reference
from kernels.packed import PackedLinear
from kernels.packing import spqr
from tests.kernels import linear_checks as check

BITS = (3, 4)
FRACTIONS = (0.0, 0.01)


def _check_decoding(packed: PackedLinear, level: str, n: int) -> None:
    """Outliers meet the activations as they are, the dense part meets them rounded."""
    x = check.rows(n, packed.in_features)
    y = cpu.linear(packed, x, level=level, regime="decode")
    parts = spqr.unpack(packed)
    none = replace(
        parts,
        outlier_rows=np.zeros_like(parts.outlier_rows),
        outlier_cols=np.empty(0, np.uint16),
        outlier_vals=np.empty(0, np.float16),
    )
    dense = reference.dequantize(spqr.pack(none)).astype(np.float64)
    sparse = reference.dequantize(packed).astype(np.float64) - dense
    order = packed.buffers.get("perm", np.arange(packed.in_features))
    rounded = np.empty(x.shape)
    rounded[:, order] = check.as_prepared(x[:, order], level)
    check.assert_close(y, rounded @ dense.T + x @ sparse.T + packed.buffers.get("bias", 0), packed, x, 2e-6)
    check.assert_close(y, reference.linear(packed, x), packed, x, check.ACTIVATION_TOLERANCE)


def _parts(out: int, width: int, bits: int, outliers: int = 0) -> spqr.SpqrParts:
    """Random parts; every row has `outliers` of them, columns in no order."""
    random = np.random.default_rng(out * 31 + width)
    tiles = -(-width // 16)
    statistics = random.uniform(0.5, 2, (-(-out // 16), tiles, 4)) * [0.01, 0.5, -1, -1]
    columns = np.concatenate([random.permutation(width)[:outliers] for _ in range(out)])
    return spqr.SpqrParts(
        bits=bits,
        codes=random.integers(0, 2**bits, (out, width)).astype(np.uint8),
        scale_codes=random.integers(0, 8, (out, tiles)).astype(np.uint8),
        zero_codes=random.integers(0, 8, (out, tiles)).astype(np.uint8),
        statistics=statistics.astype(np.float16),
        outlier_rows=(np.arange(out + 1) * outliers).astype(np.int32),
        outlier_cols=columns.astype(np.uint16),
        outlier_vals=random.standard_normal(len(columns)).astype(np.float16),
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("width", check.WIDTHS)
@pytest.mark.parametrize("out", check.OUTS)
def test_decoding_and_panels_at_every_size(level: str, out: int, width: int, bits: int) -> None:
    packed = spqr.quantize(check.weights(out, width), bits, 0.01)
    _check_decoding(packed, level, 1)
    check.check_panels(packed, level, rounding=1)


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n", range(1, 10))
def test_every_number_of_rows(level: str, n: int, bits: int, fraction: float) -> None:
    packed = spqr.quantize(check.weights(65, 144), bits, fraction, bias=np.linspace(-1, 1, 65))
    if n <= 8:
        _check_decoding(packed, level, n)
    check.check_many_rows(packed, level, n)


@pytest.mark.parametrize("bits", BITS)
def test_any_thread_and_any_company_gives_the_same_bits(level: str, bits: int) -> None:
    check.check_threads(spqr.quantize(check.weights(200, 576), bits, 0.01), level)


@pytest.mark.parametrize("bits", BITS)
def test_panels_without_outliers_are_rounded_once(level: str, bits: int) -> None:
    check.check_panels(spqr.pack(_parts(81, 176, bits)), level)


@pytest.mark.parametrize("bits", BITS)
def test_parts_of_panels(level: str, bits: int) -> None:
    check.check_parts_of_panels(spqr.quantize(check.weights(80, 384), bits, 0.05), level)


@pytest.mark.parametrize("bits", BITS)
def test_a_row_that_is_all_outliers(level: str, bits: int) -> None:
    parts = _parts(40, 176, bits)
    counts = np.zeros(40, np.int64)
    counts[18] = 176
    packed = spqr.pack(
        replace(
            parts,
            outlier_rows=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
            outlier_cols=np.arange(176, dtype=np.uint16)[::-1],
            outlier_vals=np.linspace(-3, 3, 176).astype(np.float16),
        )
    )
    _check_decoding(packed, level, 4)
    check.check_panels(packed, level, rounding=1)


@pytest.mark.parametrize("most", [(170, 3), (170, 170, 90, 1), (20, 19, 18, 17, 16, 9)])
def test_rows_of_very_different_lengths(level: str, most: tuple[int, ...]) -> None:
    parts = _parts(53, 176, 3)
    random = np.random.default_rng(8)
    counts = random.integers(0, 3, 53)
    counts[[7, 9, 30, 17, 51, 52][: len(most)]] = most
    columns = np.concatenate([random.permutation(176)[:count] for count in counts]).astype(np.uint16)
    wanted = replace(
        parts,
        outlier_rows=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        outlier_cols=columns,
        outlier_vals=random.uniform(0.5, 2, len(columns)).astype(np.float16),
    )
    packed = spqr.pack(wanted)
    assert len(packed.buffers["outliers"]) * 16 < 2.5 * len(columns) + 3 * 16 * 12, "lanes that wait for a full row"
    back = spqr.unpack(packed)
    keys = np.repeat(np.arange(53), counts) * 1000 + columns
    order = np.argsort(keys)
    assert (back.outlier_rows == wanted.outlier_rows).all()
    assert (back.outlier_cols == columns[order]).all()
    assert (back.outlier_vals == wanted.outlier_vals[order]).all()
    _check_decoding(packed, level, 4)
    check.check_panels(packed, level, rounding=1)
    check.check_parts_of_panels(packed, level)


def test_columns_ascend_along_every_lane() -> None:
    buffers = spqr.quantize(check.weights(80, 384), 3, 0.05).buffers
    laid = buffers["outliers"]
    for first, last in zip(buffers["outlier_steps"], buffers["outlier_steps"][1:], strict=False):
        assert (np.diff(laid[first:last, 0].astype(int), axis=0) >= 0).all()


def test_many_outliers_in_every_row(level: str) -> None:
    packed = spqr.pack(_parts(70, 144, 3, outliers=50))
    _check_decoding(packed, level, 3)
    check.check_panels(packed, level, rounding=1)


def test_a_dense_part_larger_than_the_weight(level: str) -> None:
    parts = _parts(16, 32, 3)
    dense = reference.dequantize(spqr.pack(parts))
    every = replace(
        parts,
        outlier_rows=(np.arange(17) * 32).astype(np.int32),
        outlier_cols=np.tile(np.arange(32, dtype=np.uint16), 16),
        outlier_vals=(0.4 * dense - dense).astype(np.float16).reshape(-1),
    )
    check.check_panels(spqr.pack(every), level, rounding=1.001)


@pytest.mark.parametrize("bits", BITS)
def test_an_order_of_the_inputs(level: str, bits: int) -> None:
    order = np.random.default_rng(5).permutation(144).astype(np.uint32)
    parts = _parts(33, 144, bits, outliers=2)
    packed = spqr.pack(replace(parts, perm=order))
    assert (reference.dequantize(packed)[:, order] == reference.dequantize(spqr.pack(parts))).all()
    _check_decoding(packed, level, 2)
    check.check_many_rows(packed, level, 9)
    check.check_panels(packed, level, rounding=1)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("out", "width"), [(1, 16), (17, 40), (65, 144), (200, 576)])
def test_parts_come_back(out: int, width: int, bits: int) -> None:
    parts = _parts(out, width, bits, outliers=3)
    back = spqr.unpack(spqr.pack(parts))
    assert (back.codes == parts.codes).all()
    assert (back.scale_codes == parts.scale_codes).all()
    assert (back.zero_codes == parts.zero_codes).all()
    assert (back.statistics == parts.statistics).all()
    assert (back.outlier_rows == parts.outlier_rows).all()
    for i in range(out):
        given, found = (slice(*p.outlier_rows[i : i + 2]) for p in (parts, back))
        order = np.argsort(parts.outlier_cols[given])
        assert (back.outlier_cols[found] == parts.outlier_cols[given][order]).all()
        assert (back.outlier_vals[found] == parts.outlier_vals[given][order]).all()


@pytest.mark.parametrize("bits", BITS)
def test_numbers_are_what_the_formula_says(bits: int) -> None:
    parts = _parts(40, 70, bits, outliers=1)
    w = reference.dequantize(spqr.pack(parts))
    row, column = 35, 69
    ss, sz, zs, zz = (float(x) for x in parts.statistics[row // 16, column // 16])
    s = ss * (parts.scale_codes[row, column // 16] - zs)
    z = sz * (parts.zero_codes[row, column // 16] - zz)
    outlier = float(parts.outlier_vals[row]) if parts.outlier_cols[row] == column else 0
    assert w[row, column] == pytest.approx(s * (float(parts.codes[row, column]) - z) + outlier, rel=1e-5)


def _codes(bits: int, **at: int) -> npt.NDArray[np.uint8]:
    """The data of 40 x 96 codes, all 0 but one row 35 (panel 2, lane 3)."""
    parts = _parts(40, 96, bits)
    parts.codes[:] = 0
    for column, code in at.items():
        parts.codes[35, int(column[1:])] = code
    return spqr.pack(parts).buffers["data"]


def test_where_a_3_bit_code_lies() -> None:
    data = _codes(3, c70=0b110)  # step 2, tile 0, input 6 = 4 * 1 + 2
    assert data.shape == (3, 3, 192)
    assert data[2, 2, 3 * 4 + 2] == 0b10 << 2
    assert data[2, 2, 128 + 3 * 4 + 2] == 1 << HIGH_BITS[0][1]
    assert np.count_nonzero(data) == 2
    data = _codes(3, c95=0b101)  # step 2, tile 1, input 15 = 4 * 3 + 3
    assert data[2, 2, 64 + 3 * 4 + 3] == 0b01 << 6
    assert data[2, 2, 128 + 3 * 4 + 3] == 1 << HIGH_BITS[1][3]
    assert np.count_nonzero(data) == 2


#: Bit of the third plane for each tile and quad.
HIGH_BITS = ((0, 1, 4, 5), (2, 3, 6, 7))


def test_where_a_4_bit_code_lies() -> None:
    data = _codes(4, c77=13, c75=2)  # inputs 8 * 9 + 4 + 1 and 8 * 9 + 3
    assert data.shape == (3, 12, 16, 4)
    assert data[2, 9, 3].tolist() == [0, 0xD0, 0, 0x02]
    assert np.count_nonzero(data) == 2


def test_where_first_level_codes_lie() -> None:
    parts = _parts(40, 96, 3)
    parts.scale_codes[:], parts.zero_codes[:] = 0, 0
    parts.scale_codes[35, 4], parts.zero_codes[34, 4] = 0b110, 0b001
    levels = spqr.pack(parts).buffers["levels"]
    assert levels.shape == (3, 6, 6)
    bits = int.from_bytes(levels[2, 4].tobytes(), "little")
    assert bits == 0b110 << 3 * 3 | 0b001 << 48 + 3 * 2
    assert np.count_nonzero(levels) == 2


@pytest.mark.parametrize("bits", BITS)
def test_rounding_without_data(bits: int) -> None:
    w = check.weights(200, 576)
    w[7] = 0
    size = np.linalg.norm(w)
    plain = np.linalg.norm(reference.dequantize(spqr.quantize(w, bits, 0)) - w) / size
    with_outliers = spqr.quantize(w, bits, 0.01)
    found = reference.dequantize(with_outliers)
    # of uniform noise over the range of 16 numbers of this distribution; the second level costs a little
    assert plain < {3: 0.17, 4: 0.095}[bits]
    assert np.linalg.norm(found - w) / size < 0.85 * plain
    parts = spqr.unpack(with_outliers)
    assert len(parts.outlier_vals) == round(0.01 * w.size)
    assert (np.abs(found[7]) <= 1e-3).all()
    rows, columns = np.repeat(np.arange(200), np.diff(parts.outlier_rows)), parts.outlier_cols
    assert np.abs(found - w)[rows, columns].max() <= 1e-3 * np.abs(w).max()


def test_what_does_not_fit_is_refused() -> None:
    parts = _parts(16, 32, 3, outliers=1)
    with pytest.raises(ValueError, match="5 bits"):
        spqr.pack(replace(parts, bits=5))
    with pytest.raises(ValueError, match="first-level"):
        spqr.pack(replace(parts, zero_codes=parts.zero_codes[:, :1]))
    with pytest.raises(ValueError, match="statistics"):
        spqr.pack(replace(parts, statistics=parts.statistics[:, :1]))
    with pytest.raises(ValueError, match="rows"):
        spqr.pack(replace(parts, outlier_rows=parts.outlier_rows[:-1]))
    with pytest.raises(ValueError, match="beyond"):
        spqr.pack(replace(parts, outlier_cols=parts.outlier_cols + np.uint16(32)))
    with pytest.raises(ValueError, match="outliers"):
        spqr.quantize(np.ones((16, 16)), 3, 0.5)
