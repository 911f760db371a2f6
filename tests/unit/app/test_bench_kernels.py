"""`nutshell bench kernels` on matrices of a few kilobytes: rows, gate, words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from app import cli
from app.benchmarks import kernels
from app.benchmarks.weights import SCHEMES, copies, random_linear, streamed_bytes
from kernels import cpu, reference
from kernels.cpu.timing import gemv_seconds, linear_seconds, native_linears, stream_seconds


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SHAPES", ((96, 128), (64, 256)))
    monkeypatch.setattr(kernels, "_ROTATED", 1 << 19)
    monkeypatch.setattr(kernels, "_PIECE", 1 << 18)
    monkeypatch.setattr(kernels, "_PREFILL", 24)


@pytest.mark.usefixtures("small")
def test_a_row_for_each_operation_scheme_and_shape(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "kernels", "--json", "--rounds", "1", "--threads", "2", "--scheme", "q4,aqlm-2x8"]
    assert cli.run_command(command) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = told["rows"]
    assert len(rows) == 2 * 2 * 3
    assert {(row["op"], row["scheme"], tuple(row["shape"])) for row in rows} == {
        (op, scheme, shape)
        for op in ("decode", "prefill")
        for scheme in ("q4", "aqlm-2x8")
        for shape in ((96, 128), (64, 256))
    }
    assert {row["isa"] for row in rows} == {cpu.levels()[-1]}
    for row in rows:
        assert row["threads"] == 2
        assert row["gmac_s"] > 0
        if row["op"] == "decode":
            assert row["fraction"] == pytest.approx(row["gb_s"] / row["memory_gb_s"], rel=0.05, abs=0.001)


@pytest.mark.usefixtures("small")
def test_a_kernel_that_computes_something_else_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = reference.linear
    monkeypatch.setattr(kernels.reference, "linear", lambda packed, x: right(packed, x) * 1.05)
    assert cli.run_command(["bench", "kernels", "--rounds", "1", "--scheme", "q8"]) == 1
    assert "q8" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--scheme", "q5"], ["--isa", "mmx"]])
def test_words_that_are_not_known_are_answered_with_those_that_are(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run_command(["bench", "kernels", *option]) == 1
    said = capsys.readouterr().err
    assert option[1] in said
    assert "Use one" in said


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_linears_are_real_ones_and_copies_lie_elsewhere(scheme: str) -> None:
    packed = random_linear(scheme, 40, 96)
    weight = reference.dequantize(packed)
    assert np.isfinite(weight).all()
    assert np.abs(weight[:40]).max() > 0
    one, two = copies(packed, 2)
    assert all(one.buffers[name].ctypes.data != two.buffers[name].ctypes.data for name in packed.buffers)
    assert 0 < streamed_bytes(packed) <= packed.nbytes


def test_every_batch_of_every_round_is_timed() -> None:
    weights = native_linears(copies(random_linear("aqlm-2x8", 64, 128), 7))
    x = np.ones((2, 128), np.float32)
    y = np.full((2, 64), np.nan, np.float32)
    assert len(linear_seconds(weights, x, y, batch=2, threads=2, rounds=3)) == 9
    np.testing.assert_allclose(y, cpu.linear(random_linear("aqlm-2x8", 64, 128), x), rtol=1e-6)
    assert len(gemv_seconds(weights, cpu.prepare(x), batch=3, rounds=2)) == 4
    buffer = np.ones(1 << 20, np.uint8)
    assert len(stream_seconds(buffer, 1 << 19, threads=2, rounds=2)) == 4
    with pytest.raises(ValueError, match="256 KB"):
        stream_seconds(buffer, 1 << 10)
