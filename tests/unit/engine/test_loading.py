"""What a load asks of the engines where the user left it open: layers on a card as they are planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.api.errors import UnsupportedModelError
from backend.api.schemas import GpuReport, LoadModel, ModelEntry
from backend.engine import llama_cpp, loading, native
from backend.engine.loading import load_model
from backend.planner import machine as machines
from backend.planner.machine import this_machine
from backend.planner.plan import Machine
from backend.planner.speed import Rates

GB = 10**9
CARD = GpuReport(name="A", backend="CUDA", vram_total=GB, vram_free=GB, link="PCIe 4.0 x8", link_rate=16e9)
MACHINE = Machine(cores=2, memory_total=GB, memory_free=GB, rates=Rates(ram=40e9, gpu=300e9), gpu_free=GB, cuda_free=GB)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`n_gpu_layers` of the models that were made; they are made without a card all the same."""
    found: list[int] = []

    def note(kind: type) -> None:
        made = kind.__init__  # type: ignore[misc]

        def noted(self: object, path: Path, **options: Any) -> None:
            found.append(options["n_gpu_layers"])
            made(self, path, **{**options, "n_gpu_layers": 0})

        monkeypatch.setattr(kind, "__init__", noted)

    note(llama_cpp.LlamaCppModel)
    note(native.NativeModel)
    monkeypatch.setattr(loading, "cuda_card", lambda: CARD)
    monkeypatch.setattr(loading, "gpu_reports", lambda: [CARD])
    monkeypatch.setattr(loading, "this_machine", lambda _folder: MACHINE)
    return found


def _load(path: Path, **options: Any) -> None:
    entry = ModelEntry(id="a" * 16, name="Small", path=str(path), source="file", bytes=path.stat().st_size)
    model, _ = load_model(entry, LoadModel(n_ctx=64, n_threads=1, **options), lambda _: True)
    model.close()


def test_layers_go_to_the_card_as_planned(tiny_gguf: Path, tiny_pack: Path, asked: list[int]) -> None:
    for path, layers in ((tiny_gguf, 3), (tiny_pack, 2)):
        _load(path)
        _load(path, n_gpu_layers=1)
        _load(path, n_gpu_layers=0)
        assert asked == [layers, 1, 0]
        asked.clear()


def test_without_room_or_a_card_nothing_goes_there(
    tiny_gguf: Path, tiny_pack: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "this_machine", lambda _folder: replace(MACHINE, gpu_free=1000, cuda_free=1000))
    for path in (tiny_gguf, tiny_pack):
        _load(path)
    monkeypatch.setattr(loading, "cuda_card", lambda: None)
    monkeypatch.setattr(loading, "gpu_reports", lambda: [GpuReport(name="A", backend="", vram_total=GB, vram_free=GB)])
    monkeypatch.setattr(loading, "this_machine", lambda _folder: pytest.fail("measured for nothing"))
    for path in (tiny_gguf, tiny_pack):
        _load(path)
    assert asked == [0, 0, 0, 0]


def test_a_model_that_cannot_be_planned_is_left_to_llama_cpp(
    tiny_gguf: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> int:
        raise UnsupportedModelError("What this model needs cannot be computed.")

    monkeypatch.setattr(loading, "layers_to_load", cannot)
    _load(tiny_gguf)
    assert asked == [-1]


@pytest.mark.parametrize(("wanted", "layers"), [(-1, 30), (0, 0), (1, 0), (2, 1), (31, 30), (999, 30)])
def test_the_head_is_no_layer_of_the_model(wanted: int, layers: int) -> None:
    assert llama_cpp._layers_there(wanted, 30) == layers


def test_a_machine_has_the_link_of_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "memory_bandwidth", lambda _cores: 40e9)
    monkeypatch.setattr(machines, "gpu_reports", lambda: [CARD])
    monkeypatch.setattr(machines, "cuda_card", lambda: CARD)
    found = this_machine(tmp_path)
    assert (found.gpu_free, found.cuda_free, found.rates.link) == (GB, GB, pytest.approx(0.8 * 16e9))
    assert found.rates.gpu > found.rates.link
    monkeypatch.setattr(machines, "gpu_reports", list)
    monkeypatch.setattr(machines, "cuda_card", lambda: None)
    found = this_machine(tmp_path)
    assert (found.gpu_free, found.cuda_free, found.rates.link, found.rates.gpu) == (0, 0, 0.0, 0.0)
