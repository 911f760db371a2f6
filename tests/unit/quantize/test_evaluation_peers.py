from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from backend.api.errors import DiskFullError, ModelError, UnsupportedModelError
from backend.formats.gguf import read_header
from backend.quantize import evaluation_peers
from backend.quantize.evaluation_model import layer_types
from backend.quantize.evaluation_peers import TYPES, Peers, same_type
from tests.formats.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.model


def tokens(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 280, (2, 30), dtype=np.int32)


def test_made_once_with_the_importance_matrix(tiny_gguf: Path, tmp_path: Path) -> None:
    peers = Peers(tiny_gguf, tokens(), tmp_path, 2)
    told: list[str] = []
    path = peers.make("Q2_K", told.append)
    assert path == peers.folder / "Q2_K.gguf"
    assert told[0].startswith("importance matrix")
    assert told[-1].startswith("Q2_K")
    matrix = load_file(peers.folder / "importance.safetensors")
    assert matrix.keys() == {
        tensor.name
        for tensor in read_header(tiny_gguf).tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    }
    assert matrix["blk.1.ffn_down.weight"].shape == (128,)
    assert sum(layer_types(path).values()) == pytest.approx(1)
    assert "Q8_0" not in layer_types(path)
    assert same_type(tiny_gguf, path) == 0
    told.clear()
    before = path.stat().st_mtime_ns
    assert peers.make("Q2_K", told.append) == path
    assert path.stat().st_mtime_ns == before
    assert told == []
    assert not list(peers.folder.glob("*.new"))


def test_the_matrix_reaches_llama_cpp(tiny_gguf: Path, tmp_path: Path) -> None:
    peers = Peers(tiny_gguf, tokens(), tmp_path, 1)
    assert Peers(tiny_gguf, tokens(1), tmp_path, 1).folder != peers.folder
    path = peers.make("IQ4_XS")
    first = path.read_bytes()
    path.unlink()
    assert peers.make("IQ4_XS").read_bytes() == first
    path.unlink()
    from safetensors.numpy import save_file

    matrix = peers.folder / "importance.safetensors"
    steep = {name: np.geomspace(1e-4, 1, values.size, dtype=np.float32) for name, values in load_file(matrix).items()}
    save_file(steep, matrix)
    assert peers.make("IQ4_XS").read_bytes() != first


def test_all_types_are_known_to_llama_cpp() -> None:
    from backend.engine.llama_library import library

    lib = library()
    assert {name: getattr(lib, f"LLAMA_FTYPE_MOSTLY_{name}") for name in TYPES} == dict(TYPES)


def test_the_sources_own_type(tiny_gguf: Path, tmp_path: Path) -> None:
    assert same_type(tiny_gguf, tiny_gguf) == 1
    other = write_tiny_gguf(tmp_path / "other.gguf", weights="F16")
    assert same_type(tiny_gguf, other) == 0


def test_what_llama_cpp_refuses(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_peers, "TYPES", {"Q2_K": 999})
    peers = Peers(tiny_gguf, tokens(), tmp_path, 1)
    with pytest.raises(ModelError, match=r"could not make Q2_K of tiny\.gguf"):
        peers.make("Q2_K")
    assert not (peers.folder / "Q2_K.gguf").exists()
    assert not list(peers.folder.glob("*.new"))


def test_only_of_gguf_files(tiny_pack: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="GGUF"):
        Peers(tiny_pack, tokens(), tmp_path, 1)


def test_no_room(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(evaluation_peers.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match="room"):
        Peers(tiny_gguf, tokens(), tmp_path, 1).make("Q2_K")
