"""The Triton kernels under Triton's interpreter, or compiled where a CUDA device is."""

from __future__ import annotations

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton", reason="triton is not installed")

from kernels.cuda import aqlm, executor, spqr, weights  # noqa: E402
from kernels.packed import PackedLinear  # noqa: E402
from kernels.packing import aqlm as pack_aqlm  # noqa: E402
from kernels.packing import dense as pack_dense  # noqa: E402
from kernels.packing import spqr as pack_spqr  # noqa: E402
from kernels.program import Program  # noqa: E402
from kernels.reference import ReferenceExecutor, dequantize  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
#: float32 sums of at most 256 terms of size 1 in another order
TOLERANCE = 1e-4


def _aqlm(rng: np.random.Generator, out: int, inputs: int, k: int, bits: int, group: int, bias: bool) -> PackedLinear:
    codes = rng.integers(0, 1 << bits, (out, inputs // group, k), dtype=np.uint16)
    codebooks = rng.standard_normal((k, 1 << bits, group)).astype(np.float16)
    scales = rng.uniform(0.5, 2, out).astype(np.float16)
    return pack_aqlm.pack(codes, codebooks, scales, bias=rng.standard_normal(out).astype(np.float32) if bias else None)


def _expected(packed: PackedLinear, x: np.ndarray) -> np.ndarray:
    y = x.astype(np.float64) @ dequantize(packed).astype(np.float64).T
    return y + packed.buffers["bias"] if "bias" in packed.buffers else y


def _close(y: torch.Tensor, expected: np.ndarray) -> None:
    assert y.shape == expected.shape
    assert np.abs(y.cpu().numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(("k", "bits", "group"), [(1, 8, 8), (2, 8, 8), (1, 16, 8), (1, 16, 16), (4, 8, 8), (2, 5, 8)])
@pytest.mark.parametrize(("out", "inputs", "rows"), [(1, 16, 1), (33, 272, 3), (70, 48, 9), (65, 64, 65)])
def test_aqlm_matches_the_dense_product_in_both_regimes(
    k: int, bits: int, group: int, out: int, inputs: int, rows: int
) -> None:
    rng = np.random.default_rng(out * rows + k)
    packed = _aqlm(rng, out, inputs, k, bits, group, bias=out % 2 == 1)
    x = rng.standard_normal((rows, inputs)).astype(np.float32)
    weight = aqlm.AqlmWeight.upload(packed, DEVICE, torch.float32)
    expected = _expected(packed, x)
    _close(aqlm.matvec(torch.from_numpy(x[:9]).to(DEVICE), weight), expected[:9])
    _close(aqlm.gemm(torch.from_numpy(x).to(DEVICE), weight), expected)


@pytest.mark.parametrize("bits", [3, 4])
@pytest.mark.parametrize("outliers", [0.0, 0.02])
@pytest.mark.parametrize(("out", "inputs", "rows"), [(16, 16, 1), (33, 272, 3), (70, 48, 65)])
def test_spqr_matches_the_dense_product_in_both_regimes(
    bits: int, outliers: float, out: int, inputs: int, rows: int
) -> None:
    rng = np.random.default_rng(bits + out)
    packed = pack_spqr.quantize(rng.standard_normal((out, inputs)).astype(np.float32), bits, outliers)
    x = rng.standard_normal((rows, inputs)).astype(np.float32)
    weight = spqr.SpqrWeight.upload(packed, DEVICE)
    expected = _expected(packed, x)
    _close(spqr.matvec(torch.from_numpy(x[:9]).to(DEVICE), weight), expected[:9])
    _close(spqr.gemm(torch.from_numpy(x).to(DEVICE), weight), expected)


def test_few_rows_take_the_matvec_and_many_the_gemm(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(aqlm, "matvec", lambda x, weight: taken.append("matvec"))
    monkeypatch.setattr(aqlm, "gemm", lambda x, weight: taken.append("gemm"))
    packed = _aqlm(np.random.default_rng(0), 16, 16, 2, 8, 8, bias=False)
    weight = weights.upload(packed, DEVICE, torch.float32)
    weights.linear(torch.zeros(weights.MATVEC_ROWS, 16, device=DEVICE), weight)
    weights.linear(torch.zeros(weights.MATVEC_ROWS + 1, 16, device=DEVICE), weight)
    assert taken == ["matvec", "gemm"]


def _program(rng: np.random.Generator) -> Program:
    """Two blocks of a small grouped-head model with every kind of step, AQLM and SpQR linears."""
    width, heads, kv_heads, head_dim, hidden, vocabulary = 32, 4, 2, 16, 48, 40
    program = Program()

    def dense(out: int, inputs: int) -> PackedLinear:
        return pack_dense.pack((rng.standard_normal((out, inputs)) / np.sqrt(inputs)).astype(np.float32), "f32")

    def small(out: int, inputs: int) -> PackedLinear:
        return pack_spqr.quantize((rng.standard_normal((out, inputs)) / np.sqrt(inputs)).astype(np.float32), 3, 0.01)

    table = dense(vocabulary, width)
    ones = np.ones(width, np.float32)
    frequencies = (10000.0 ** (-np.arange(head_dim // 2) / (head_dim // 2))).astype(np.float32)
    x = program.embed(table)
    for layer in range(2):
        h = program.rms_norm(x, ones, 1e-5)
        q, k, v = program.linears(
            h,
            _aqlm(rng, heads * head_dim, width, 2, 8, 8, bias=True),
            small(kv_heads * head_dim, width),
            small(kv_heads * head_dim, width),
        )
        program.rope(q, head_dim, frequencies)
        program.rope(k, head_dim, frequencies)
        a = program.attention(layer, q, k, v, head_dim, head_dim**-0.5, window=4 if layer else 0)
        program.linear_add(a, small(width, heads * head_dim), x)
        gate, up = program.linears(program.rms_norm(x, ones, 1e-5), small(hidden, width), small(hidden, width))
        program.linear_add(program.swiglu(gate, up), small(width, hidden), x)
    program.output(program.rms_norm(x, ones, 1e-5), table)
    return program


def test_a_program_gives_the_logits_of_the_reference_through_trees_commits_and_rewinds() -> None:
    program = _program(np.random.default_rng(3))
    ours = executor.CudaExecutor(program, capacity=32, device=DEVICE, dtype=torch.float32)
    reference = ReferenceExecutor(program, capacity=32)

    def both(tokens: list[int], parents: list[int], wanted: list[int]) -> None:
        got, expected = (e.forward(tokens, parents, wanted) for e in (ours, reference))
        assert np.abs(got - expected).max() <= 1e-3 * np.abs(expected).max()
        assert np.abs(ours.hidden() - reference.hidden()).max() <= 1e-3 * np.abs(reference.hidden()).max()

    both([1, 2, 3, 4, 5, 6, 7], [-1, 0, 1, 2, 3, 4, 5], [0, 6])
    ours.commit(range(7))
    reference.commit(range(7))
    both([8, 9, 10, 11], [-1, 0, 0, 2], [1, 3])
    ours.commit([0, 2, 3])
    reference.commit([0, 2, 3])
    both([12], [-1], [0])
    ours.rewind(4)
    reference.rewind(4)
    both([13, 14], [-1, -1], [0, 1])
    assert ours.length == 4


def test_too_many_nodes_and_an_abort_change_nothing() -> None:
    ours = executor.CudaExecutor(_program(np.random.default_rng(4)), capacity=16, device=DEVICE, dtype=torch.float32)
    with pytest.raises(ValueError, match="17 nodes"):
        ours.forward([1] * 17, range(-1, 16), [16])
    ours.abort(True)
    with pytest.raises(InterruptedError):
        ours.forward([1], [-1], [0])
    ours.abort(False)
    assert ours.length == 0
    assert ours.forward([1], [-1], [0]).shape == (1, 40)
