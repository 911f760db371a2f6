"""The choice of the CUDA executor, with everything that is CUDA replaced."""

from __future__ import annotations

import importlib
import importlib.util
import types

import pytest

from backend.engine import native_cuda
from kernels.program import Program


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A computer with a driver, torch and a device; `imported` lists what was imported by name."""
    made: list[object] = []
    module = types.SimpleNamespace(
        available=lambda: True, CudaExecutor=lambda program, **sizes: made.append((program, sizes)) or "it", made=made
    )
    module.imported = []
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
