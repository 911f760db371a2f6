"""From one format to another with the kernels' own packing: the weights stay what they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.hf_aqlm_writer import write_hf_aqlm
from backend.formats.hf_spqr_writer import write_hf_spqr
from backend.formats.pack_writer import write_pack
from kernels import reference
from kernels.packed import PackedLinear
from kernels.packing import aqlm, spqr
from tests.formats.test_hf_spqr import matrix_of, random_parts
from tests.formats.tiny_hf import CONFIG, weights, write_folder

BIASED = "model.layers.0.self_attn.q_proj"


def numbers(checkpoint: Checkpoint) -> dict[str, npt.NDArray[np.float32]]:
    """Every weight, bias and norm."""
    found = {name: np.array(checkpoint.array(name)) for name in checkpoint.arrays()}
    for module in checkpoint.linears():
        packed = checkpoint.linear(module)
        found[module] = reference.dequantize(packed)
        if "bias" in packed.buffers:
            found[f"{module}.bias"] = np.array(packed.buffers["bias"])
    return found


def equal(a: Checkpoint, b: Checkpoint) -> None:
    first, second = numbers(a), numbers(b)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


def everything(checkpoint: Checkpoint) -> tuple[Iterator[tuple[str, PackedLinear]], Iterator[tuple[str, np.ndarray]]]:
    return (
        ((module, checkpoint.linear(module)) for module in checkpoint.linears()),
        ((name, checkpoint.array(name)) for name in checkpoint.arrays()),
    )


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    tensors = weights(dtype=np.float16) | {f"{BIASED}.bias": np.linspace(-9, 9, 64).astype(np.float16)}
    folder = write_folder(tmp_path / "plain", tensors)
    (folder / "tokenizer.json").write_bytes(b"{}")
    return folder


@pytest.mark.parametrize("scheme", ["f32", "f16"])
def test_a_plain_folder_as_a_pack(plain: Path, tmp_path: Path, scheme: str) -> None:
    source = open_checkpoint(plain, dense_scheme=scheme)
    write_pack(tmp_path / "a.nutshell", source.config, *everything(source), source.tokenizer_files(), {})
    pack = open_checkpoint(tmp_path / "a.nutshell")
    equal(source, pack)
    assert {pack.linear(module).scheme for module in pack.linears()} == {scheme}
    assert pack.tokenizer_files() == {"tokenizer.json": b"{}"}
    assert pack.config == source.config


def test_a_gguf_as_a_pack(tiny_gguf: Path, tmp_path: Path) -> None:
    source = open_checkpoint(tiny_gguf)
    write_pack(tmp_path / "a.nutshell", source.config, *everything(source), {}, {})
    equal(source, open_checkpoint(tmp_path / "a.nutshell"))


def test_a_plain_folder_through_an_aqlm_writer(plain: Path, tmp_path: Path) -> None:
    """Nothing in it is AQLM: it comes out as plain f16 without a word on quantization."""
    source = open_checkpoint(plain)
    write_hf_aqlm(tmp_path / "a", source.config, *everything(source), source.tokenizer_files())
    found = open_checkpoint(tmp_path / "a")
    assert "quantization_config" not in found.config
    equal(source, found)


@pytest.mark.parametrize(("count", "bits", "group"), [(2, 8, 8), (3, 8, 8), (1, 16, 8), (2, 12, 16)])
def test_aqlm_to_a_folder_and_a_pack(tmp_path: Path, count: int, bits: int, group: int) -> None:
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 1 << bits, (200, 48 // group, count), np.uint16)
    books = rng.standard_normal((count, 1 << bits, group)).astype(np.float16)
    packed = aqlm.pack(codes, books, rng.random(200).astype(np.float16), bias=np.arange(200, dtype=np.float32))
    write_hf_aqlm(tmp_path / "a", CONFIG, [(BIASED, packed)], [], {})
    folder = open_checkpoint(tmp_path / "a")
    write_pack(tmp_path / "a.nutshell", folder.config, *everything(folder), {}, {})
    equal(folder, open_checkpoint(tmp_path / "a.nutshell"))
    assert np.array_equal(reference.dequantize(folder.linear(BIASED)), reference.dequantize(packed))
    assert np.array_equal(folder.linear(BIASED).buffers["data"], packed.buffers["data"])


@pytest.mark.parametrize(("outliers", "permuted"), [(40, True), (0, False)])
def test_spqr_to_a_folder_and_a_pack(tmp_path: Path, outliers: int, permuted: bool) -> None:
    made = random_parts(outliers=outliers, permuted=permuted)
    packed = spqr.pack(spqr.SpqrParts(**vars(made)), bias=np.arange(48, dtype=np.float32))
    write_hf_spqr(tmp_path / "a", CONFIG, [(BIASED, packed)], [], {})
    folder = open_checkpoint(tmp_path / "a")
    write_pack(tmp_path / "a.nutshell", folder.config, *everything(folder), {}, {})
    equal(folder, open_checkpoint(tmp_path / "a.nutshell"))
    assert np.allclose(reference.dequantize(folder.linear(BIASED)), matrix_of(made), atol=1e-5)


def test_data_free_spqr_through_a_folder(tmp_path: Path) -> None:
    weight = np.random.default_rng(8).standard_normal((64, 96), np.float32)
    packed = spqr.quantize(weight, 3, 0.01)
    write_hf_spqr(tmp_path / "a", CONFIG, [(BIASED, packed)], [], {})
    found = open_checkpoint(tmp_path / "a").linear(BIASED)
    assert np.array_equal(reference.dequantize(found), reference.dequantize(packed))
