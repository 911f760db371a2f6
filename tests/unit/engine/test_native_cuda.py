"""The choice of the CUDA executor and of what stays on the card, with everything that is CUDA replaced."""

from __future__ import annotations

import importlib
import importlib.util
import types
from pathlib import Path

import pytest

from backend.api.schemas import GpuReport
from backend.engine import native, native_cuda
from backend.engine.native import NativeModel
from backend.speculative.decoder import Speculation
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
    module.weights = 1 << 30
    # all of it, or what stays and a tenth for the ring
    module.needs = lambda program, resident: types.SimpleNamespace(
        device=int(module.weights * (resident + (0.1 if resident < 1 else 0))),
        link=int(module.weights * (1 - resident)),
    )
    module.place = lambda program, resident: f"{resident:.2f} placed, {len(made)} made before"
    monkeypatch.setattr(native_cuda, "_driver", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", lambda name: module.imported.append(name) or module)
    return module


def test_where_all_is_there_programs_run_on_cuda(cuda: types.SimpleNamespace) -> None:
    program = Program()
    card = native_cuda.cuda_executors(program, 0, 20)
    assert card is not None
    assert (card.layers, card.link_bytes) == (20, 0)
    assert card.make(program, 64, 8) == "it"
    assert card.make(program, 32, 8) == "it", "an input to embed, over the same weights"
    other = Program()
    assert card.make(other, 64, 8) == "it", "the slider was moved"
    first, again, moved = (sizes.pop("placed") for _, sizes in cuda.made)
    assert first == again == "1.00 placed, 0 made before"
    assert moved == "1.00 placed, 2 made before"
    assert cuda.made[0] == (program, {"capacity": 64, "max_rows": 8})


def test_without_a_driver_torch_is_not_even_imported(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_cuda, "_driver", lambda: False)
    assert native_cuda.cuda_executors(Program(), 0, 20) is None
    assert cuda.imported == []


def test_without_torch_or_without_a_device_the_processor_computes(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda.available = lambda: False
    assert native_cuda.cuda_executors(Program(), 0, 20) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cuda.imported.clear()
    assert native_cuda.cuda_executors(Program(), 0, 20) is None
    assert cuda.imported == []


def test_a_model_that_does_not_fit_on_the_card_stays_on_the_processor(cuda: types.SimpleNamespace) -> None:
    assert native_cuda.cuda_executors(Program(), 2 << 30, 20) is not None
    assert native_cuda.cuda_executors(Program(), int(2.9 * 2**30), 20) is None, "a tenth is left"


def test_where_some_may_wait_as_many_layers_stay_as_were_wanted_and_fit(cuda: types.SimpleNamespace) -> None:
    cuda.weights = 8 << 30
    found = native_cuda.cuda_executors(Program(), 0, 20, 5)
    assert found is not None
    assert (found.layers, found.link_bytes) == (5, 6 << 30)
    fewer = native_cuda.cuda_executors(Program(), 1 << 30, 20, 19)
    assert fewer is not None
    assert fewer.layers == 4, "4 GB are 3.6, 1 of them is the cache and 0.8 the ring: 1.8 are left for layers of 0.4"
    assert fewer.make(Program(), 64, 8) == "it"
    assert cuda.made[0][1]["placed"].startswith("0.20 placed")
    assert native_cuda.cuda_executors(Program(), 3 << 30, 20, 5) is None, "not even the ring"
    cuda.weights = 1 << 30
    whole = native_cuda.cuda_executors(Program(), 0, 20, 25)
    assert whole is not None
    assert (whole.layers, whole.link_bytes) == (20, 0)


def test_what_is_free_is_asked_of_the_driver_and_not_of_torch(
    cuda: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = [GpuReport(name=name, backend="", vram_total=9, vram_free=free) for name, free in (("A", 5), ("B", 7))]
    monkeypatch.setattr(native_cuda, "nvidia_devices", lambda: cards)
    assert native_cuda.cuda_card() is cards[0]
    assert cuda.imported == []
    cards.clear()
    assert native_cuda.cuda_card() is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else object())
    cards.append(GpuReport(name="A", backend="", vram_total=9, vram_free=5))
    assert native_cuda.cuda_card() is None


def test_a_model_on_the_card_says_so(smollm2_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the processor's executor in the place of the card's."""
    asked: list[tuple[int, int, int]] = []
    maker = native._native_executors("f16", 2, None)

    def executors(program: Program, besides: int, layers: int, wanted: int) -> native_cuda.OnCard:
        asked.append((besides, layers, wanted))
        return native_cuda.OnCard(maker, 12, 99)

    monkeypatch.setattr(native, "cuda_executors", executors)
    model = NativeModel(smollm2_pack, n_ctx=256, n_threads=2, n_gpu_layers=12, kv="q8")
    info = model.info
    assert (info.n_gpu_layers, info.link_bytes, info.kv, info.exact_chain) == (12, 99, "f16", 0)
    besides, layers, wanted = asked[0]
    assert (layers, wanted) == (30, 12)
    assert besides > info.kv_bytes
    speculation = Speculation(model)
    assert speculation.controller.most_nodes == 128, "a pass of many nodes takes no longer than that of one"
    model.close()
    monkeypatch.setattr(native, "cuda_executors", lambda *_: None)
    model = NativeModel(smollm2_pack, n_ctx=256, n_threads=2, n_gpu_layers=-1, kv="q8")
    assert (model.info.n_gpu_layers, model.info.link_bytes, model.info.kv) == (0, 0, "q8")
    model.close()
