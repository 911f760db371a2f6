import numpy as np
import pytest
import torch

from backend.api.errors import InvalidModelFileError, InvalidRequestError
from backend.quantize.aqlm import quantize_aqlm
from backend.quantize.aqlm_books import starting_books
from backend.quantize.aqlm_descent import descend
from backend.quantize.aqlm_feedback import Search, encode, factor, through
from backend.quantize.layer import LinearTask, relative_error
from backend.quantize.residual_kmeans import quantize
from kernels import cpu
from kernels.packing import aqlm


def _task(out: int = 96, inputs: int = 136, tokens: int = 4000, **more: object) -> LinearTask:
    random = np.random.default_rng(out + inputs)
    mixing = random.standard_normal((inputs, inputs)) * random.uniform(0.1, 1.0, inputs)
    x = random.standard_normal((tokens, inputs)) @ mixing / np.sqrt(inputs)
    x *= random.uniform(0.2, 3.0, inputs)
    weight = random.standard_normal((out, inputs)) * random.uniform(0.01, 0.05, (out, 1))
    return LinearTask(
        "some.linear",
        torch.from_numpy(weight.astype(np.float32)),
        torch.from_numpy((x.T @ x / tokens).astype(np.float32)),
        tokens,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("count", "group", "inputs"), [(1, 8, 136), (2, 8, 136), (3, 8, 100), (4, 8, 24), (2, 16, 136)]
)
def test_the_error_is_that_of_what_is_packed(count: int, group: int, inputs: int) -> None:
    task = _task(inputs=inputs)
    made = quantize_aqlm(task, num_codebooks=count, group=group)
    assert (made.packed.out_features, made.packed.in_features) == tuple(task.weight.shape)
    assert made.error == pytest.approx(relative_error(task.weight, made.packed, task.hessian), rel=1e-3, abs=1e-7)
    assert made.seconds > 0


def test_feedback_is_far_better_than_codes_for_the_weights_alone() -> None:
    task = _task(out=256, inputs=256)
    made = quantize_aqlm(task, num_codebooks=2)
    parts = quantize(task.weight.numpy(), 2, cpu.nearest_codes)
    without = aqlm.pack(parts.codes, parts.codebooks, parts.scales)
    assert made.error < 0.6 * relative_error(task.weight, without, task.hessian)


def test_more_codebooks_leave_less_error() -> None:
    one, two, three = (quantize_aqlm(_task(), num_codebooks=count).error for count in (1, 2, 3))
    assert one > 1.5 * two > 2.0 * three


def test_the_same_task_gives_the_same_bits_and_another_seed_others() -> None:
    first, again, other = (quantize_aqlm(_task(seed=seed), num_codebooks=2).packed.buffers for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["codebooks"], other["codebooks"])


def test_warm_codebooks_are_used_where_they_fit() -> None:
    cold = quantize_aqlm(_task(out=300), num_codebooks=2)
    warm = quantize_aqlm(_task(out=300), num_codebooks=2, warm=cold.warm)
    assert warm.error < 1.05 * cold.error
    unfit = quantize_aqlm(_task(out=300), num_codebooks=3, warm=cold.warm)
    assert unfit.packed.parameters["num_codebooks"] == 3


def test_rows_and_inputs_that_are_never_used_do_no_harm() -> None:
    task = _task()
    task.weight[3] = 0
    task.hessian[:, 40:60] = task.hessian[40:60] = 0
    made = quantize_aqlm(task, num_codebooks=2)
    assert not aqlm.dequantize(made.packed)[3].any()
    assert made.error < 0.1
    task.hessian.zero_()
    assert quantize_aqlm(task, num_codebooks=2).error == 0.0
    assert np.square(aqlm.dequantize(made.packed) - task.weight.numpy()).sum() < 0.3 * task.weight.square().sum()


@pytest.mark.parametrize(("count", "inputs"), [(1, 136), (2, 256), (3, 100)])
def test_descent_lowers_the_error(count: int, inputs: int) -> None:
    task = _task(out=130, inputs=inputs)
    without, swept = (quantize_aqlm(task, num_codebooks=count, descent=descent) for descent in (False, True))
    assert swept.error < 0.99 * without.error
    assert swept.error == pytest.approx(relative_error(task.weight, swept.packed, task.hessian), rel=1e-3)


def test_the_bias_is_kept() -> None:
    bias = np.linspace(-1, 1, 96, dtype=np.float32)
    packed = quantize_aqlm(_task(bias=bias), num_codebooks=1).packed
    np.testing.assert_array_equal(packed.buffers["bias"], bias)


def test_it_stops_when_told_to() -> None:
    for patience in (0, 3, 10):
        answers = iter([False] * patience)
        with pytest.raises(InterruptedError):
            quantize_aqlm(_task(), num_codebooks=1, stop=lambda answers=answers: next(answers, True))


@pytest.mark.parametrize("bad", [float("nan"), 1e6])
def test_weights_that_half_precision_cannot_hold_are_refused(bad: float) -> None:
    task = _task()
    task.weight[1, 1] = bad
    with pytest.raises(InvalidModelFileError, match=r"some\.linear"):
        quantize_aqlm(task, num_codebooks=2)


def test_a_hessian_that_is_no_number_is_refused() -> None:
    task = _task()
    task.hessian[0, 0] = float("inf")
    with pytest.raises(InvalidModelFileError):
        quantize_aqlm(task, num_codebooks=2)


@pytest.mark.parametrize(
    "wrong", [{"num_codebooks": 0}, {"num_codebooks": 1, "nbits": 16}, {"num_codebooks": 1, "group": 4}]
)
def test_shapes_without_a_search_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError):
        quantize_aqlm(_task(), **wrong)


def test_a_sweep_knows_what_it_left_and_no_row_gets_worse() -> None:
    task = _task(out=60, inputs=296)
    by = factor(task.hessian, 0.1, 8, lambda: False)
    rows = (task.weight / task.weight.square().mean(1, keepdim=True).sqrt())[:, by.stored]
    search = Search(1, lambda: False)
    books = starting_books(rows, torch.ones(60), by, 2, 0)
    coded = encode(rows, by, books, search)
    swept = descend(rows, coded, by, books, search)
    for each in (coded, swept):
        seen = torch.stack([books[k][each.codes[:, :, k].long()] for k in range(2)]).sum(0)
        plain = torch.empty_like(rows)
        plain[:, :] = rows - seen.reshape(60, -1, 8).flip(1, 2).reshape(60, -1)
        torch.testing.assert_close(each.left, plain, atol=1e-5, rtol=0)
        torch.testing.assert_close(each.rest, through(each.left, by, lambda: False), atol=1e-4, rtol=0)
    before, after = (each.rest.square().sum(1) for each in (coded, swept))
    assert bool((after <= before * (1 + 1e-5)).all())
    assert float(after.sum()) < 0.99 * float(before.sum())


def test_the_factor_is_a_root_of_the_damped_hessian() -> None:
    task = _task(out=8, inputs=136)
    by = factor(task.hessian, 0.3, 8, lambda: False)
    back = torch.empty_like(task.hessian)
    back[by.stored[:, None], by.stored] = by.lower @ by.lower.T
    mean = task.hessian.diagonal().mean()
    torch.testing.assert_close(back, task.hessian + 0.3 * mean * torch.eye(136), atol=1e-4, rtol=1e-4)
    traces = task.hessian.diagonal().reshape(-1, 8).sum(1)[by.visits]
    assert bool((traces[:-1] >= traces[1:]).all())


@pytest.mark.parametrize("inputs", [1024, 1032, 2216])
def test_feedback_reaches_over_wide_blocks(inputs: int) -> None:
    task = _task(out=16, inputs=inputs, tokens=3000)
    by = factor(task.hessian, 0.1, 8, lambda: False)
    rows = (task.weight / task.weight.square().mean(1, keepdim=True).sqrt())[:, by.stored]
    search = Search(1, lambda: False)
    coded = encode(rows, by, starting_books(rows, torch.ones(16), by, 1, 0), search)
    expected = (coded.left.double() @ by.lower.double()).flip(1).float()
    torch.testing.assert_close(coded.rest, expected, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(through(coded.left, by, lambda: False), expected, atol=2e-4, rtol=1e-3)
