"""AQLM packing: the bytes of layout.md, back and forth, and what is refused."""

import numpy as np
import pytest

from kernels.packing import aqlm


def parts(out=70, inputs=40, books=2, bits=8, group=8):
    rng = np.random.default_rng(out)
    codes = rng.integers(0, 1 << bits, (out, -(-inputs // group), books))
    return codes, rng.normal(size=(books, 1 << bits, group)).astype(np.float16), rng.random(out).astype(np.float16)


@pytest.mark.parametrize("out", [1, 64, 65, 128, 200, 256, 300, 513])
@pytest.mark.parametrize(("books", "bits", "group"), [(2, 8, 8), (1, 5, 16), (3, 12, 8), (1, 16, 16)])
def test_unpack_gives_back_what_was_packed(out, books, bits, group):
    codes, codebooks, scales = parts(out, 40, books, bits, group)
    packed = aqlm.pack(codes, codebooks, scales, in_features=40)
    again = aqlm.unpack(packed)
    for given, got in zip((codes, codebooks, scales), again, strict=True):
        np.testing.assert_array_equal(got, given)
    assert packed.in_features == 40
    assert packed.in_padded == 64
    assert packed.buffers["data"].dtype == (np.uint8 if bits <= 8 else np.uint16)


def test_tiles():
    rows = [(0, 256), (256, 384), (384, 448), (448, 512)]
    tiles = list(aqlm.tiles(450, 160, 8 / 3))
    assert [(tile.rows.start, tile.rows.stop) for tile in tiles] == rows * 2
    assert [(tile.codes.start, tile.codes.stop) for tile in tiles] == [(0, 48)] * 4 + [(48, 60)] * 4
    assert [tile.place.start for tile in tiles] == [0, *(tile.place.stop for tile in tiles[:-1])]
    assert tiles[-1].place.stop == 512 * 60


def test_where_a_code_lies():
    """Block by block of 128 inputs, there chunk by chunk of rows, and in it (codes, rows)."""
    codes, codebooks, scales = parts(450, 168, 3)
    data = aqlm.pack(codes, codebooks, scales).buffers["data"]
    assert data.size == 512 * 24 * 3
    for row, first, rows in [(7, 0, 256), (300, 256, 128), (449, 448, 64)]:
        for j, k in [(0, 0), (4, 2), (15, 1)]:
            assert data[first * 16 * 3 + (j * 3 + k) * rows + row - first] == codes[row, j, k]
        for j, k in [(16, 0), (20, 2)]:
            place = 512 * 16 * 3 + first * 8 * 3 + ((j - 16) * 3 + k) * rows + row - first
            assert data[place] == codes[row, j, k]


@pytest.mark.parametrize("out", [5, 600])
def test_dequantize_is_the_definition(out):
    codes, codebooks, scales = parts(out, 40)
    weights = aqlm.dequantize(aqlm.pack(codes, codebooks, scales))
    total = sum(codebooks[k][codes[:, :, k]].astype(np.float64) for k in range(2))
    expected = scales.astype(np.float64)[:, None] * np.asarray(total).reshape(out, 40)
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-7)


def test_scales_of_the_padding_are_zero():
    codes, codebooks, scales = parts(65)
    packed = aqlm.pack(codes, codebooks, scales, bias=np.ones(65))
    assert packed.buffers["scales"].shape == (128,)
    assert not packed.buffers["scales"][65:].any()
    assert packed.buffers["bias"].dtype == np.float32


def changed(**changes):
    codes, codebooks, scales = parts()
    return {"codes": codes, "codebooks": codebooks, "scales": scales} | changes


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"codes": parts()[0][:, :, :1]}, "codebooks of shape"),
        ({"codes": parts()[0][0]}, "codebooks of shape"),
        ({"codes": parts()[0] - 1}, "integers from 0"),
        ({"codes": parts()[0] + 1}, "integers from 0"),
        ({"codes": parts()[0] * 1.0}, "integers from 0"),
        ({"codebooks": parts()[1][:, :255]}, "power of two"),
        ({"codebooks": parts()[1][:, :, :4]}, "groups of 8 or 16"),
        ({"codebooks": parts()[1].astype(np.float32) * 1e6}, "too large"),
        ({"codebooks": parts()[1] * np.nan}, "not a finite number"),
        ({"scales": np.ones(69)}, "scales of shape"),
        ({"scales": np.full(70, np.inf)}, "not a finite number"),
        ({"bias": np.ones(71)}, "bias of shape"),
        ({"in_features": 41}, "41 inputs"),
        ({"in_features": 32}, "32 inputs"),
        ({"codes": np.zeros((0, 5, 2), np.uint8), "scales": np.ones(0)}, "codes of shape"),
    ],
)
def test_what_does_not_fit_is_refused(changes, about):
    given = changed(**changes)
    with pytest.raises(ValueError, match=about):
        aqlm.pack(given.pop("codes"), given.pop("codebooks"), given.pop("scales"), **given)
