from typing import Literal

import numpy as np
import pytest

from kernels import cpu
from kernels.reference.attention import stored

Kv = Literal["f16", "q8"]


def _rows(cells: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal((cells, width)) * random.uniform(0.1, 10, (cells, 1))).astype(np.float32)


def _read(cache: dict[str, np.ndarray], kv: Kv) -> tuple[np.ndarray, np.ndarray]:
    """K and V as (cells, heads, head_dim) from the layout of types.h."""
    heads, blocks, dim, _ = cache["k"].shape
    k = cache["k"].transpose(1, 3, 0, 2).reshape(blocks * 16, heads, dim).astype(np.float64)
    v = cache["v"].transpose(1, 0, 2).astype(np.float64)
    if kv == "q8":
        k = k * cache["ks"].T[:, :, None].astype(np.float64)
        v = v * cache["vs"].T[:, :, None].astype(np.float64)
    return k, v


@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize("head_dim", [16, 64, 80, 96, 128, 256])
def test_cells_hold_what_was_stored(level: str, kv: Kv, head_dim: int) -> None:
    k, v = _rows(19, 3 * head_dim), _rows(19, 3 * head_dim, 1)
    cache = cpu.store_kv(k, v, head_dim=head_dim, kv=kv, level=level)
    for read, rows in zip(_read(cache, kv), (k, v), strict=True):
        expected = stored(rows, head_dim, kv)
        # q8: a number halfway between two integers may go either way
        step = np.abs(expected).max(2, keepdims=True) / 126 if kv == "q8" else 0
        assert (np.abs(read[:19] - expected) <= step).all()
        assert np.mean(read[:19] == expected) > 0.999
    if kv == "f16":
        assert np.isnan(cache["v"][:, 19:]).all()
        assert np.isnan(cache["k"][:, 1, :, 3:]).all()


@pytest.mark.parametrize("kv", ["f16", "q8"])
def test_extreme_numbers_stay_finite(level: str, kv: Kv) -> None:
    rows = np.zeros((4, 32), np.float32)
    rows[0, :] = 1e30
    rows[1, 5] = -1e6
    rows[2, :] = 1e-12
    for read in _read(cpu.store_kv(rows, rows, head_dim=32, kv=kv, level=level), kv):
        assert np.isfinite(read[:4]).all()
        assert (read[3] == 0).all()
        assert np.abs(read[2]).max() < 1e-5


@pytest.mark.parametrize("kv", ["f16", "q8"])
def test_a_moved_cell_is_the_cell_it_came_from(level: str, kv: Kv) -> None:
    k, v = _rows(40, 128), _rows(40, 128, 1)
    plain = cpu.store_kv(k, v, head_dim=64, kv=kv, level=level)
    moved = cpu.store_kv(k, v, head_dim=64, kv=kv, moves=[(39, 3), (17, 16), (3, 20)], level=level)
    source = np.arange(40)
    source[[3, 16, 20]] = [39, 17, 39]
    for before, after in zip(_read(plain, kv), _read(moved, kv), strict=True):
        np.testing.assert_array_equal(after[:40], before[source])
