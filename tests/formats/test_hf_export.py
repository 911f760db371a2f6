"""Builds as folders that transformers loads: mixtures, biases, tied tables, what is refused, what is left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, NutshellError, UnsupportedModelError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.hf_export import Exported, export_build
from backend.formats.pack_writer import write_pack
from kernels import reference
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, q8, spqr
from tests.formats.tiny_hf import CONFIG, SQUARE, shapes

#: Qwen's biases and one table for both ends; all linears of one shape, see tiny_hf
QWEN: dict[str, Any] = {**SQUARE, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN["tie_word_embeddings"] = True
Make = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32] | None], PackedLinear]


def codes(count: int, bits: int = 8) -> Make:
    def make(weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None) -> PackedLinear:
        dice = np.random.default_rng(weight.size + count)
        books = (dice.standard_normal((count, 1 << bits, 8)) / 8 / count**0.5).astype(np.float16)
        numbers = dice.integers(0, 1 << bits, (weight.shape[0], weight.shape[1] // 8, count), np.uint16)
        return aqlm.pack(numbers, books, (1 + dice.random(len(weight))).astype(np.float16), bias=bias)

    return make


def tiled(bits: int) -> Make:
    return lambda weight, bias: spqr.quantize(weight, bits, 0.01, bias=bias)


def plain(weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None) -> PackedLinear:
    return dense.pack(weight, "f16", bias=bias)


def build(path: Path, how: Callable[[str], Make], config: dict[str, Any] = QWEN, **files: bytes) -> Path:
    """A pack of random weights whose linears are made as `how` says of their names."""
    dice = np.random.default_rng(5)
    linears, arrays = [], []
    for name, shape in shapes(config).items():
        module = name.removesuffix(".weight")
        if len(shape) == 1:
            arrays.append((name, (1 + dice.standard_normal(shape) / 8).astype(np.float32)))
        elif module != "lm_head" or not config["tie_word_embeddings"]:
            biased = config["model_type"] == "qwen2" and module.endswith(("q_proj", "k_proj", "v_proj"))
            bias = dice.standard_normal(shape[0]).astype(np.float32) if biased else None
            linears.append((module, how(module)((dice.standard_normal(shape) / 8).astype(np.float32), bias)))
    write_pack(path, config, linears, arrays, {"tokenizer.json": b"{}"}, {})
    return path


def mixed(module: str) -> Make:
    """As compression makes them: 2x8, a linear at fewer bits, two that are protected, tables of 4 bits."""
    if ".layers." not in module:
        return lambda weight, bias: q4.quantize(weight, 32, bias=bias)
    if module.endswith("1.mlp.up_proj"):
        return codes(1)
    if module.endswith("down_proj"):
        return tiled(4)
    return codes(2)


def numbers(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    checkpoint = open_checkpoint(path)
    found = {name: np.array(checkpoint.array(name)) for name in checkpoint.arrays()}
    for module in checkpoint.linears():
        packed = checkpoint.linear(module)
        found[module] = reference.dequantize(packed)
        if "bias" in packed.buffers:
            found[f"{module}.bias"] = np.array(packed.buffers["bias"])
    return found


def same(build: Path, folder: Path, compressed: tuple[str, ...]) -> None:
    """Everything as it was, but for the rounding of what is not compressed to f16."""
    ours, theirs = numbers(build), numbers(folder)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        if name in compressed:
            assert np.array_equal(array, theirs[name]), name
        else:
            assert np.allclose(array, theirs[name], rtol=1e-3, atol=1e-6), name


def test_transformers_says_what_our_engine_says(tmp_path: Path) -> None:
    """Biases, a tied table of 4 bits, protected linears, and one with fewer codebooks than the others."""
    for package in ("aqlm", "accelerate", "numba", "scipy", "torch", "transformers"):
        pytest.importorskip(package)
    from tests.exporting import divergence, native_logits, transformers_logits

    path = build(tmp_path / "a.nutshell", mixed)
    made = export_build(path, tmp_path / "out", "hf-aqlm", shard_bytes=40_000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    tokens = np.random.default_rng(1).integers(0, QWEN["vocab_size"], 100)
    theirs, quantized = transformers_logits(tmp_path / "out", tokens)
    assert quantized == set(made.held)
    assert len(quantized) == 12  # of two blocks, less two down_proj
    mean, most, top = divergence(native_logits(path, tokens), theirs)
    assert mean < 1e-4, (mean, most)
    assert top > 0.98
    assert float(np.ptp(theirs, axis=1).mean()) > 1.0  # it says something at all


def test_fewer_codebooks_get_zeros(tmp_path: Path) -> None:
    path = build(tmp_path / "a.nutshell", mixed)
    made = export_build(path, tmp_path / "out", "hf-aqlm")
    assert made.widened == ("model.layers.1.mlp.up_proj",)
    same(path, tmp_path / "out", made.held)
    settings = json.loads((tmp_path / "out" / "config.json").read_text())
    assert settings["quantization_config"]["num_codebooks"] == 2
    assert settings["tie_word_embeddings"] is True
    left = set(settings["quantization_config"]["linear_weights_not_to_quantize"])
    assert {"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj.weight"} <= left
    assert not left & set(made.held)
    assert "2 of 14 linears" in made.notes[0]


def test_the_smallest_folder_decides_the_shape(tmp_path: Path) -> None:
    """One linear of 4x8 among 2x8 is cheaper as f16 than all others at 4x8; of two halves, all are widened."""

    def one(module: str) -> Make:
        return plain if ".layers." not in module else codes(4 if module.endswith("0.mlp.up_proj") else 2)

    def halves(module: str) -> Make:
        return plain if ".layers." not in module else codes(3 if ".1." in module else 2)

    made = export_build(build(tmp_path / "a.nutshell", one, SQUARE), tmp_path / "a", "hf-aqlm")
    assert "model.layers.0.mlp.up_proj" in made.plain
    assert not made.widened
    made = export_build(build(tmp_path / "b.nutshell", halves, SQUARE), tmp_path / "b", "hf-aqlm")
    assert len(made.widened) == 7
    assert len(made.plain) == 2


@pytest.mark.parametrize("bits", [5, 12])
def test_codes_of_other_widths(tmp_path: Path, bits: int) -> None:
    path = build(tmp_path / "a.nutshell", lambda module: codes(2, bits) if ".layers." in module else plain)
    made = export_build(path, tmp_path / "out", "hf-aqlm")
    same(path, tmp_path / "out", made.held)


def test_spqr_without_biases(tmp_path: Path) -> None:
    """Of 3 bits and no bias: the published linears have no place for one."""

    def how(module: str) -> Make:
        return plain if ".layers." not in module else tiled(4 if module.endswith("1.mlp.up_proj") else 3)

    path = build(tmp_path / "a.nutshell", how)
    made = export_build(path, tmp_path / "out", "hf-spqr")
    assert sorted({module.rpartition(".")[2] for module in made.held}) == [
        "down_proj",
        "gate_proj",
        "o_proj",
        "up_proj",
    ]
    assert len(made.held) == 7
    same(path, tmp_path / "out", made.held)
    settings = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert "lm_head" in settings["modules_to_not_convert"]
    assert {f"{module}.in_perm.shape" for module in made.held} <= settings["shapes"].keys()
    assert any("GPU" in note for note in made.notes)


@pytest.mark.parametrize(
    ("form", "how", "words"),
    [
        ("hf-aqlm", tiled(3), "Export it as hf-spqr."),
        ("hf-aqlm", tiled(4), "--level aqlm-2x8"),
        ("hf-spqr", codes(2), "Export it as hf-aqlm."),
        ("hf-spqr", tiled(4), "--level spqr-3"),
        ("hf-spqr", plain, "stored as f16"),
        ("hf-aqlm", lambda weight, bias: q8.quantize(weight, 32, bias=bias), "stored as q8"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path: Path, form: str, how: Make, words: str) -> None:
    path = build(tmp_path / "a.nutshell", lambda module: how if ".layers." in module else plain, {**CONFIG})
    with pytest.raises(UnsupportedModelError) as caught:
        export_build(path, tmp_path / "out", form)
    assert words in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["a.nutshell"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return build(tmp_path / "a.nutshell", mixed)


def refused(error: type[NutshellError], build: Path, out: Path, form: str = "hf-aqlm") -> str:
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    with pytest.raises(error) as caught:
        export_build(build, out, form)
    assert before == (sorted(out.parent.iterdir()) if out.parent.is_dir() else [])
    return str(caught.value)


def test_what_is_refused(small: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert "is there already" in refused(ConflictError, small, tmp_path / "full")
    assert "is there already" in refused(ConflictError, small, small)
    assert "There is no folder" in refused(InvalidRequestError, small, tmp_path / "no" / "out")
    assert "not a build" in refused(InvalidRequestError, tiny_gguf, tmp_path / "out")
    assert "no format" in refused(InvalidRequestError, small, tmp_path / "out", "gguf")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 30, 1 << 30, 1 << 20))
    assert "no room" in refused(DiskFullError, small, tmp_path / "out")


def test_an_empty_folder_may_be_there(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    made: Exported = export_build(small, tmp_path / "out", "hf-aqlm")
    assert made.bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_a_stop_leaves_nothing_behind(small: Path, tmp_path: Path) -> None:
    told = []

    def moved(done: int, total: int) -> bool:
        told.append(done / total)
        return len(told) < 5

    with pytest.raises(InterruptedError):
        export_build(small, tmp_path / "out", "hf-aqlm", moved=moved)
    assert told == sorted(told)
    assert [one.name for one in tmp_path.iterdir()] == ["a.nutshell"]
