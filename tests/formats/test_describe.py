from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.api.errors import InvalidModelFileError, ModelError
from backend.formats.checkpoint import open_checkpoint
from backend.formats.describe import Description, describe
from backend.formats.gguf import read_header
from backend.formats.pack_writer import write_pack
from backend.formats.sniff import recognise
from kernels.packing import dense, q8
from tests.formats.hostile import container, sentence
from tests.formats.test_hf_aqlm import folder_of as aqlm_folder
from tests.formats.test_hf_aqlm import quantised
from tests.formats.test_hf_spqr import folder_of as spqr_folder
from tests.formats.test_hf_spqr import random_parts, written
from tests.formats.tiny_gguf import write_tiny_gguf
from tests.formats.tiny_hf import CONFIG, shapes, weights, write_folder

WEIGHTS = sum(int(np.prod(shape)) for shape in shapes().values() if len(shape) == 2)


def test_a_plain_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "my-model", weights(dtype=np.float16), shards=2)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert recognise(folder) == recognise(folder / "config.json") == "hf"
    assert describe(folder) == Description("hf", "my-model", "llama", WEIGHTS, size, "f16", 512, 2)
    assert describe(folder / "config.json") == describe(folder)


def test_folders_of_aqlm_and_spqr(tmp_path: Path, plain_packing: None) -> None:
    found = describe(aqlm_folder(tmp_path / "a", quantised((64, 64), 2, 8, 8)))
    assert (found.parameters, found.scheme) == (WEIGHTS, "f16")  # one linear of fourteen is AQLM
    folder = spqr_folder(tmp_path / "s", written(tmp_path / "w", random_parts()))
    assert describe(folder).parameters == WEIGHTS - 16 * 64
    only = write_folder(tmp_path / "o", {f"m.{n}": a for n, a in quantised((64, 64), 1, 16, 16).items()}, {
        "quantization_config": {"quant_method": "aqlm"}, "_name_or_path": "org/Llama\n-AQLM", "model_type": 7,
    })  # fmt: skip
    size = (only / "model.safetensors").stat().st_size
    assert describe(only) == Description("hf", "Llama -AQLM", "", 4096, size, "aqlm-1x16g16", 0, 0)


def test_a_pack(tmp_path: Path) -> None:
    path = tmp_path / "tiny.nutshell"
    weight = np.ones((64, 128), np.float32)
    modules = {"a": q8.quantize(weight, 32), "b": q8.quantize(weight, 32), "lm_head": dense.pack(weight[:16], "f16")}
    write_pack(path, CONFIG, modules.items(), [], {}, {"name": "Tiny\x1b", "data_free": True})
    assert recognise(path) == "pack"
    expected = Description("pack", "Tiny", "llama", 2 * 8192 + 2048, path.stat().st_size, "q8", 512, 2, data_free=True)
    assert describe(path) == expected


def test_a_gguf(tiny_gguf: Path) -> None:
    header = read_header(tiny_gguf)
    assert recognise(tiny_gguf) == "gguf"
    found = describe(tiny_gguf)
    assert (found.kind, found.name, found.architecture, found.scheme) == ("gguf", "Tiny", "llama", "Q8_0")
    assert (found.parameters, found.bytes, found.layers) == (header.parameters, header.total_bytes, 2)


def test_reads_headers_only(tmp_path: Path) -> None:
    path = tmp_path / "big.nutshell"
    packed = q8.pack(np.zeros((4096, 8192), np.int8), np.ones((4096, 256), np.float16), 32)
    write_pack(path, CONFIG, [("a", packed)], [], {}, {})
    tracemalloc.start()
    try:
        describe(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\3\4 archive/data.pkl"),
        lambda path: path.write_bytes(container({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})),
        lambda path: path.write_bytes(b"<!DOCTYPE html>"),
    ],
)
def test_what_is_no_model(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "x.safetensors")
    assert recognise(tmp_path / "x.safetensors") is None
    for read in (describe, open_checkpoint):
        with pytest.raises(ModelError) as caught:
            read(tmp_path / "x.safetensors")
        sentence(caught.value)


def test_an_unfinished_download(tmp_path: Path) -> None:
    (tmp_path / "a.nutshell.part").write_bytes(b"x")
    with pytest.raises(InvalidModelFileError, match="unfinished"):
        describe(tmp_path / "a.nutshell.part")


def test_other_architectures_are_described_all_the_same(tmp_path: Path) -> None:
    assert describe(write_tiny_gguf(tmp_path / "a.gguf", architecture="qwen3")).architecture == "qwen3"
