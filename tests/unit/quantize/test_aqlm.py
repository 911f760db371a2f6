import numpy as np
import pytest
import torch

from backend.api.errors import InvalidModelFileError, InvalidRequestError
from backend.quantize.aqlm import quantize_aqlm
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
    assert made.error == pytest.approx(relative_error(task.weight, made.packed, task.hessian), rel=1e-3)
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
