"""The choice of the CUDA executor, with everything that is CUDA replaced."""

from __future__ import annotations

import importlib
import importlib.util
import types
from pathlib import Path

import pytest

from backend.api.schemas import GpuReport
from backend.engine import native, native_cuda
from backend.engine.native import NativeModel
from kernels.program import Program


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A computer with a driver, torch and a device; `imported` lists what was imported by name."""
    made: list[object] = []
    module = types.SimpleNamespace(
        available=lambda: True, CudaExecutor=lambda program, **sizes: made.append((program, sizes)) or "it", made=made
    )
    module.imported = []
    module.free_bytes = lambda: 4 << 30
    monkeypatch.setattr(native_cuda, "_driver", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", lambda name: module.imported.append(name) or module)
    return module


def test_where_all_is_there_programs_run_on_cuda(cuda: types.SimpleNamespace) -> None:
    make = native_cuda.cuda_executors()
    assert make is not None
    program = Program()
    assert make(program, 64, 8) == "it"
    assert cuda.made == [(program, {"capacity": 64, "max_rows": 8})]


def test_without_a_driver_torch_is_not_even_imported(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_cuda, "_driver", lambda: False)
    assert native_cuda.cuda_executors() is None
    assert cuda.imported == []


def test_without_torch_or_without_a_device_the_processor_computes(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda.available = lambda: False
    assert native_cuda.cuda_executors() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cuda.imported.clear()
    assert native_cuda.cuda_executors() is None
    assert cuda.imported == []


def test_a_model_that_does_not_fit_on_the_card_stays_on_the_processor(cuda: types.SimpleNamespace) -> None:
    assert native_cuda.cuda_executors(3 << 30) is not None
    assert native_cuda.cuda_executors(int(3.9 * 2**30)) is None, "a tenth is left"


def test_what_is_free_is_asked_of_the_driver_and_not_of_torch(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [GpuReport(name=name, backend="", vram_total=9, vram_free=free) for name, free in (("A", 5), ("B", 7))]
    monkeypatch.setattr(native_cuda, "nvidia_devices", lambda: cards)
    assert native_cuda.cuda_free() == 5
    assert cuda.imported == []
    cards.clear()
    assert native_cuda.cuda_free() == 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else object())
    cards.append(GpuReport(name="A", backend="", vram_total=9, vram_free=5))
    assert native_cuda.cuda_free() == 0


def test_a_model_on_the_card_says_so(smollm2_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the processor's executor in the place of the card's."""
    needs: list[int] = []
    maker = native._native_executors("f16", 2, None)
    monkeypatch.setattr(native, "cuda_executors", lambda need: needs.append(need) or maker)
    model = NativeModel(smollm2_pack, n_ctx=256, n_threads=2, use_gpu=True, kv="q8")
    assert (model.info.n_gpu_layers, model.info.kv) == (30, "f16")
    assert needs[0] > model.info.weight_bytes + model.info.kv_bytes
    model.close()
    monkeypatch.setattr(native, "cuda_executors", lambda need: None)
    model = NativeModel(smollm2_pack, n_ctx=256, n_threads=2, use_gpu=True, kv="q8")
    assert (model.info.n_gpu_layers, model.info.kv) == (0, "q8")
    model.close()
