from typing import Any, Literal

import numpy as np
import pytest

from kernels import cpu
from kernels.reference.attention import attention as reference
from kernels.tree import positions_and_mask

Kv = Literal["f16", "q8"]
TOLERANCE = 1e-5  # of f16 cells, against the same cells in float64: float32 sums, scores of up to 15
Q8_TOLERANCE = 2e-3  # of q8 cells: a few numbers halfway between two integers were rounded the other way


def _problem(n: int, committed: int, q_heads: int, kv_heads: int, head_dim: int) -> dict[str, Any]:
    random = np.random.default_rng(n * 1000 + committed + q_heads + head_dim)
    q = random.standard_normal((n, q_heads * head_dim)).astype(np.float32)
    k, v = random.standard_normal((2, committed + n, kv_heads * head_dim)).astype(np.float32)
    return {"q": q * 3, "k": k, "v": v, "head_dim": head_dim, "scale": head_dim**-0.5, "committed": committed}


def _check(problem: dict[str, Any], level: str, kv: Kv = "f16") -> None:
    y = cpu.attention(**problem, kv=kv, level=level)
    expected = reference(**problem, kv=kv)
    assert np.abs(y - expected).max() <= (TOLERANCE if kv == "f16" else Q8_TOLERANCE)


def _tree(n: int, committed: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    parents = [int(random.integers(-1, i)) if i else -1 for i in range(n)]
    positions, mask, _ = positions_and_mask(parents, committed)
    return {"mask": mask, "positions": positions}


@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize("committed", [0, 5, 300, 1000])
@pytest.mark.parametrize("n", [1, 3, 16, 17, 40])
def test_chains(level: str, n: int, committed: int, kv: Kv) -> None:
    _check(_problem(n, committed, 4, 2, 32), level, kv)


@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize("head_dim", [16, 48, 64, 80, 96, 128, 256])
@pytest.mark.parametrize("n", [2, 19])
def test_head_sizes(level: str, n: int, head_dim: int, kv: Kv) -> None:
    _check(_problem(n, 37, 3, 1, head_dim), level, kv)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 6, 7, 8, 13])
@pytest.mark.parametrize("n", [1, 18])
def test_grouped_heads(level: str, n: int, group: int) -> None:
    _check(_problem(n, 270, 2 * group, 2, 16), level)


@pytest.mark.parametrize("committed", [0, 5, 300])
@pytest.mark.parametrize("n", [5, 16, 33, 63, 100])
def test_trees(level: str, n: int, committed: int) -> None:
    _check({**_problem(n, committed, 2, 1, 32), **_tree(n, committed, n)}, level)


@pytest.mark.parametrize("window", [1, 2, 7, 16, 100, 2000])
@pytest.mark.parametrize("committed", [0, 5, 300])
@pytest.mark.parametrize("n", [1, 9, 50])
def test_windows(level: str, n: int, committed: int, window: int) -> None:
    problem = {**_problem(n, committed, 2, 1, 32), "window": window}
    _check(problem, level)
    _check({**problem, **_tree(n, committed, window)}, level)


def test_a_prompt_of_513_tokens(level: str) -> None:
    _check(_problem(513, 0, 2, 1, 16), level)


@pytest.mark.parametrize("kv", ["f16", "q8"])
@pytest.mark.parametrize(("n", "committed"), [(1, 0), (5, 300), (16, 250), (17, 3), (63, 129), (100, 0)])
def test_a_chain_is_its_mask_bit_for_bit(level: str, n: int, committed: int, kv: Kv) -> None:
    problem = _problem(n, committed, 6, 2, 32)
    positions, mask, chain = positions_and_mask(list(range(-1, n - 1)), committed)
    assert chain
    np.testing.assert_array_equal(
        cpu.attention(**problem, kv=kv, level=level),
        cpu.attention(**problem, kv=kv, level=level, mask=mask, positions=positions),
    )


@pytest.mark.parametrize(("n", "committed"), [(1, 1000), (16, 700), (40, 33)])
def test_threads_do_not_change_a_bit(level: str, n: int, committed: int) -> None:
    problem = {**_problem(n, committed, 6, 2, 32), **_tree(n, committed, 3)}
    one = cpu.attention(**problem, level=level, threads=1)
    for threads in (2, 3):
        np.testing.assert_array_equal(one, cpu.attention(**problem, level=level, threads=threads))


@pytest.mark.parametrize("n", [3, 30])
def test_a_cell_that_a_row_does_not_see_changes_nothing(level: str, n: int) -> None:
    problem = {**_problem(n, 20, 2, 1, 32), **_tree(n, 20, 5)}
    before = cpu.attention(**problem, level=level)
    # the last node is nobody's parent: only its own row sees it
    problem["k"][-1] *= 50
    problem["v"][-1] *= 50
    after = cpu.attention(**problem, level=level)
    np.testing.assert_array_equal(before[:-1], after[:-1])
    assert not np.array_equal(before[-1], after[-1])


@pytest.mark.parametrize("n", [1, 20])
def test_scores_of_any_size_stay_finite(level: str, n: int) -> None:
    problem = _problem(n, 300, 2, 1, 32)
    problem["q"] *= 1e4
    _check(problem, level)
    problem["q"] *= 0
    _check(problem, level)
