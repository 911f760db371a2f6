"""SpQR with a Hessian: quality, budget, and what it is given that is not quite right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.api.errors import InvalidModelFileError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.hf_spqr_writer import write_hf_spqr
from backend.quantize.layer import LinearTask, relative_error
from backend.quantize.spqr import damping_of, feedback_of, quantize_spqr, spqr_parts
from kernels.packing import spqr
from tests.formats.tiny_hf import CONFIG

MODULE = "model.layers.0.self_attn.q_proj"


def task_of(out: int = 96, width: int = 128, seed: int = 0) -> LinearTask:
    random = torch.Generator().manual_seed(seed)
    mix = torch.eye(width) + 0.2 * torch.randn(width, width, generator=random)
    x = torch.randn(6 * width, width, generator=random) @ mix * torch.linspace(0.2, 2, width)
    weight = 0.02 * torch.randn(out, width, generator=random)
    weight[torch.rand(out, width, generator=random) < 0.01] *= 5
    return LinearTask(MODULE, weight, x.T @ x / len(x), len(x))


@pytest.mark.parametrize(("bits", "times"), [(3, 2.5), (4, 2.0)])
def test_far_better_than_rounding(bits: int, times: float) -> None:
    task = task_of()
    found = quantize_spqr(task, bits=bits, budget=0)
    rounded = spqr.quantize(task.weight.numpy(), bits, 0)
    assert found.error == relative_error(task.weight, found.packed, task.hessian)
    assert times * found.error < relative_error(task.weight, rounded, task.hessian)
    assert found.packed.parameters["bits"] == bits


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.4])
def test_outliers_take_no_more_than_the_budget(budget: float) -> None:
    task = task_of(96, 512)  # six tiles: all of them are the sample
    packed = quantize_spqr(task, bits=3, tau=0.001, budget=budget).packed
    spent = packed.buffers["outliers"].nbytes * 8 / task.weight.numel()
    assert spent <= budget
    assert spent >= 0.6 * budget


def test_fewer_outliers_than_the_budget_where_they_do_not_pay() -> None:
    task = task_of()
    few, many = (spqr_parts(task, bits=3, tau=tau, budget=32.0) for tau in (0.4, 0.05))
    assert 0 < len(few.outlier_vals) < len(many.outlier_vals)


def test_the_bias_comes_along_and_threads_do_not_matter() -> None:
    task = replace(task_of(200, 70), bias=np.arange(200, dtype=np.float32))
    one = quantize_spqr(task, bits=3)
    feedback = feedback_of(task.hessian, damping_of(task.tokens, 70))
    two = quantize_spqr(replace(task, threads=2), bits=3, feedback=feedback)
    np.testing.assert_array_equal(one.packed.buffers["bias"], task.bias)
    assert one.packed.buffers.keys() == two.packed.buffers.keys()
    for name, buffer in one.packed.buffers.items():
        np.testing.assert_array_equal(buffer, two.packed.buffers[name], err_msg=name)


def test_more_damping_for_few_tokens() -> None:
    assert damping_of(8 * 128, 128) < damping_of(8 * 128 - 1, 128)


def test_whole_groups_are_visited_by_falling_energy() -> None:
    task = task_of(16, 54)
    parts = spqr_parts(task, bits=3)
    assert parts.perm is not None
    groups = parts.perm[:48].reshape(3, 16)
    np.testing.assert_array_equal(groups - groups[:, :1], np.tile(np.arange(16), (3, 1)))
    energy = task.hessian.diagonal().numpy()[groups].sum(1)
    assert (np.diff(energy) < 0).all()
    np.testing.assert_array_equal(parts.perm[48:], np.arange(48, 54))


def test_inputs_that_are_always_zero() -> None:
    task = task_of(32, 48)
    hessian = task.hessian.clone()
    hessian[10:20], hessian[:, 10:20] = 0, 0
    found = quantize_spqr(replace(task, hessian=hessian), bits=3)
    assert found.error < 0.05
    plain = quantize_spqr(replace(task, hessian=torch.zeros_like(hessian)), bits=3)
    assert relative_error(task.weight, plain.packed, torch.eye(48)) < 0.05


def test_a_single_row_and_a_row_of_zeros() -> None:
    task = task_of(1, 33)
    assert quantize_spqr(task, bits=3).error < 0.1
    zero = quantize_spqr(replace(task, weight=torch.zeros(1, 33)), bits=4)
    assert zero.error == 0
    assert not spqr.dequantize(zero.packed).any()


def test_fewer_tokens_than_inputs() -> None:
    task = task_of(32, 64)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))
    assert quantize_spqr(replace(task, hessian=x.T @ x / 5, tokens=5), bits=3).error < 0.05


def test_numbers_that_are_not_finite_are_refused() -> None:
    task = task_of(32, 32)
    for value in (float("nan"), float("inf"), 1e6):
        weight = task.weight.clone()
        weight[3, 4] = value
        with pytest.raises(InvalidModelFileError):
            quantize_spqr(replace(task, weight=weight), bits=3)
    hessian = task.hessian.clone()
    hessian[5, 5] = float("nan")
    with pytest.raises(InvalidModelFileError):
        quantize_spqr(replace(task, hessian=hessian), bits=3)


def test_a_hessian_of_no_activations_is_refused() -> None:
    task = task_of(32, 32)
    with pytest.raises(InvalidModelFileError, match="sum of squares"):
        quantize_spqr(replace(task, hessian=task.hessian - 1e6 * (1 - torch.eye(32))), bits=3)


def test_stopping() -> None:
    with pytest.raises(InterruptedError):
        quantize_spqr(task_of(32, 32), bits=3, stop=lambda: True)


def test_the_published_layout_decodes_to_the_same_weights(tmp_path: Path) -> None:
    bias = np.arange(64, dtype=np.float32)
    task = replace(task_of(64, 64), bias=bias)
    packed = quantize_spqr(task, bits=3).packed
    assert "perm" in packed.buffers
    assert len(packed.buffers["outliers"])
    write_hf_spqr(tmp_path / "m", CONFIG, [(MODULE, packed)], [("model.norm.weight", np.ones(64, np.float32))], {})
    again = open_checkpoint(tmp_path / "m").linear(MODULE)
    np.testing.assert_array_equal(spqr.dequantize(again), spqr.dequantize(packed))
    np.testing.assert_array_equal(again.buffers["bias"], bias)
