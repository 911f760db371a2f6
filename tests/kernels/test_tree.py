from __future__ import annotations

import random

import numpy as np
import pytest

from kernels.tree import check_path, positions_and_mask


def seen_by(mask: np.ndarray, row: int) -> set[int]:
    return {64 * word + bit for word in range(mask.shape[1]) for bit in range(64) if int(mask[row, word]) >> bit & 1}


def ancestors(parents: list[int], node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(node)
        node = parents[node]
    return path


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 128, 130, 512])
@pytest.mark.parametrize("kind", [list, tuple, range])
def test_chain(n: int, kind: type) -> None:
    parents = range(-1, n - 1) if kind is range else kind(range(-1, n - 1))
    positions, mask, chain = positions_and_mask(parents, 7)
    assert chain
    assert positions.dtype == np.int32
    assert mask.dtype == np.uint64
    assert mask.flags.c_contiguous
    assert mask.flags.writeable
    assert positions.tolist() == list(range(7, 7 + n))
    assert mask.shape == (n, -(-n // 64))
    assert all(seen_by(mask, i) == set(range(i + 1)) for i in range(n))


@pytest.mark.parametrize("n", [1, 2, 5, 64, 65, 200])
def test_random_forests(n: int) -> None:
    dice = random.Random(n)
    for _ in range(5):
        parents = [dice.randrange(-1, node) for node in range(n)]
        positions, mask, chain = positions_and_mask(parents, 100)
        assert chain == (parents == list(range(-1, n - 1)))
        assert mask.shape == (n, -(-n // 64))
        assert mask.flags.c_contiguous
        for node in range(n):
            path = ancestors(parents, node)
            assert seen_by(mask, node) == set(path)
            assert positions[node] == 100 + len(path) - 1


def test_a_tree_with_the_bits_of_a_second_word() -> None:
    parents = [-1, *[0] * 70, 70]
    positions, mask, chain = positions_and_mask(parents, 0)
    assert not chain
    assert seen_by(mask, 71) == {0, 70, 71}
    assert seen_by(mask, 69) == {0, 69}
    assert positions.tolist() == [0, *[1] * 70, 2]


@pytest.mark.parametrize("parents", [[0], [-2], [1, -1], [-1, 1], [-1, 0, 2], [-1, 5], [-1, -3]])
def test_a_parent_stands_before_its_child(parents: list[int]) -> None:
    with pytest.raises(ValueError, match=r"does not stand before it"):
        positions_and_mask(parents, 3)


def test_no_negative_length() -> None:
    with pytest.raises(ValueError, match="-1 committed tokens"):
        positions_and_mask([-1], -1)


def test_paths_go_downwards_from_a_root() -> None:
    parents = [-1, 0, 0, 1, -1]
    for good in ([], [0], [4], [0, 2], [0, 1, 3]):
        check_path(parents, good)
    for bad in ([1], [0, 3], [0, 4], [0, 0], [5], [-1], [0, 1, 2]):
        with pytest.raises(ValueError, match="of the path is not a child of"):
            check_path(parents, bad)
