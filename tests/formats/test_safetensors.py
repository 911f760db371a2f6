from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.safetensors import Shards, TensorFile, index_files, to_float32
from backend.formats.safetensors_writer import FolderWriter, TensorWriter, replacing
from tests.formats.hostile import container, entry, hostile, sentence

TYPES = [
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.float16,
    np.uint32,
    np.int32,
    np.float32,
    np.uint64,
    np.int64,
    np.float64,
]


def refuse(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        TensorFile.open(path)
    return sentence(caught.value)


def test_reads_what_the_package_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    tensors = {f"t{n}": rng.integers(0, 100, (n + 1, 3)).astype(kind) for n, kind in enumerate(TYPES)}
    tensors |= {"empty": np.zeros((0, 4), np.float32), "scalar": np.array(7, np.int64)}
    save_file(tensors, tmp_path / "a.safetensors", {"key": "wörd"})
    file = TensorFile.open(tmp_path / "a.safetensors")
    assert file.metadata == {"key": "wörd"}
    assert set(file.tensors) == set(tensors)
    for name, expected in tensors.items():
        found = file.array(name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)
        assert not found.flags.writeable
        assert not found.flags.owndata  # a view of the file


@pytest.mark.parametrize(("room", "alignment"), [(4096, 8), (8, 8), (8, 64), (100_000, 64)])
def test_the_package_reads_what_we_write(tmp_path: Path, room: int, alignment: int) -> None:
    rng = np.random.default_rng(2)
    tensors = {f"t{n}": rng.integers(0, 100, (n, 5)).astype(kind) for n, kind in enumerate(TYPES)}
    bits = rng.integers(0, 1 << 15, (3, 3)).astype(np.uint16)
    path = tmp_path / "a.safetensors"
    with replacing(path) as raw:
        writer = TensorWriter(raw, room=room, alignment=alignment)
        for name, array in tensors.items():
            writer.add(name, array[:, ::-1])  # not one behind the other
        writer.add("bits", bits, "BF16")
        writer.finish({"format": "pt"})
    with safe_open(path, "np") as peer:
        assert {name for name in peer.keys() if not name.startswith("pad/")} == {"bits", *tensors}  # noqa: SIM118
        assert all(np.array_equal(peer.get_tensor(name), array[:, ::-1]) for name, array in tensors.items())
        assert peer.metadata() == {"format": "pt"}
    file = TensorFile.open(path)
    assert file.tensors["bits"].dtype == "BF16"
    assert np.array_equal(file.array("bits"), bits)
    if alignment > 8:
        assert all(t.start % alignment == 0 for t in file.tensors.values() if not t.name.startswith("pad/"))
    assert all(t.start % file.array(t.name).itemsize == 0 for t in file.tensors.values())


def test_a_big_file_moves_behind_its_header_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.formats.safetensors_writer._CHUNK", 1000)
    rng = np.random.default_rng(3)
    tensors = {f"tensor number {n}": rng.integers(0, 256, 777, np.uint8) for n in range(20)}
    with replacing(tmp_path / "a.safetensors") as raw:
        writer = TensorWriter(raw, room=1)
        for name, array in tensors.items():
            writer.add(name, array)
        writer.finish({})
    found = load_file(tmp_path / "a.safetensors")
    assert all(np.array_equal(found[name], array) for name, array in tensors.items())


def test_bfloat16_becomes_float32_exactly() -> None:
    numbers = np.array([1.0, -2.5, 3e38, 1e-40, np.inf], np.float32)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    assert np.array_equal(to_float32(bits, "BF16"), (numbers.view(np.uint32) & 0xFFFF0000).view(np.float32))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "incomplete"),
        (b"\1\0\0", "incomplete"),
        (container({"a": entry("F32", [2], 0, 8)}, bytes(8), length=1 << 63), "larger than"),
        (container({"a": entry("F32", [2], 0, 8)}, bytes(8), length=200), "incomplete"),
        (container(b"[1]"), "begin"),
        (container(b"{" + b"[" * 100_000), "read"),
        (container(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), "read"),
        (container(b"\xff\xfe"), "begin"),
        (container(b'{"a": "\xff"}'), "read"),
        (container(b'{"a": NaN}'), "read"),
        (container(b'{"a":1' + b"0" * 5000 + b"}"), "read"),
        (container(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":1}', b"x"), "read"),
        (container({"a": entry("F32", [2], 0, 8)}, bytes(7)), "incomplete"),
        (container({"a": entry("F32", [2], 0, 8)}, bytes(9)), "goes on"),
        (container({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 3, 7)}, bytes(7)), "overlap"),
        (container({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 0, 4)}, bytes(4)), "overlap"),
        (container({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 5, 9)}, bytes(9)), "hole"),
        (container({"a": entry("U8", [4], 1, 5)}, bytes(5)), "hole"),
        (container({"a": entry("F32", [3], 0, 8)}, bytes(8)), "fit its shape"),
        (container({"a": entry("F32", [2], 8, 0)}, bytes(8)), "fit its shape"),
        (container({"a": entry("F32", [1 << 62, 1 << 62], 0, 8)}, bytes(8)), "fit its shape"),
        (container({"a": entry("F32", [-2, -1], 0, 8)}, bytes(8)), "impossible shape"),
        (container({"a": entry("F32", [2.0], 0, 8)}, bytes(8)), "impossible shape"),
        (container({"a": entry("F32", [True, 2], 0, 8)}, bytes(8)), "impossible shape"),
        (container({"a": entry("F32", [1] * 9, 0, 4)}, bytes(4)), "impossible shape"),
        (container({"a": entry("F32", [2], -8, 0)}, bytes(8)), "impossible place"),
        (container({"a": entry("F32", [2], 0, 1 << 70)}, bytes(8)), "impossible place"),
        (container({"a": entry("F32", [2], "0", 8)}, bytes(8)), "impossible place"),
        (container({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "impossible place"),
        (container({"a": [1]}, b""), "entry"),
        (container({"": entry("U8", [1], 0, 1)}, b"x"), "name"),
        (container({"a\n": entry("U8", [1], 0, 1)}, b"x"), "name"),
        (container({"x" * 2000: entry("U8", [1], 0, 1)}, b"x"), "name"),
        (container({"__metadata__": {"a": 1}}), "itself"),
        (container({"__metadata__": []}), "itself"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_refuses(tmp_path: Path, data: bytes, word: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    error = refuse(tmp_path / "a.safetensors")
    assert isinstance(error, InvalidModelFileError)
    assert word in str(error)


@pytest.mark.parametrize("dtype", ["F7", "", 3, None, ["F32"]])
def test_refuses_unknown_types(tmp_path: Path, dtype: Any) -> None:
    (tmp_path / "a.safetensors").write_bytes(container({"a": entry(dtype, [2], 0, 8)}, bytes(8)))
    assert isinstance(refuse(tmp_path / "a.safetensors"), UnsupportedModelError)


def test_types_that_nothing_computes_with_are_refused_when_read(tmp_path: Path) -> None:
    header = {"a": entry("F8_E4M3", [4], 0, 4), "b": entry("F4", [2], 4, 5), "c": entry("F6_E2M3", [4], 5, 8)}
    (tmp_path / "a.safetensors").write_bytes(container(header, bytes(8)))
    file = TensorFile.open(tmp_path / "a.safetensors")
    for name in header:
        with pytest.raises(UnsupportedModelError) as caught:
            file.array(name)
        sentence(caught.value)


def test_places_that_are_no_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.safetensors", tmp_path / "a.safetensors.part"):
        refuse(path)


@pytest.mark.parametrize(
    "name",
    [
        "../a.safetensors",
        "/etc/a.safetensors",
        "x/a.safetensors",
        "..\\a.safetensors",
        "C:a.safetensors",
        "a.bin",
        ".a.safetensors",
        "",
        7,
        None,
        "a.safetensors\0",
    ],
)
def test_an_index_that_leaves_its_folder(tmp_path: Path, name: Any) -> None:
    (tmp_path / "a.safetensors").write_bytes(container({}))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(InvalidModelFileError) as caught:
        index_files(folder / "model.safetensors.index.json")
    assert "outside" in str(sentence(caught.value))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "incomplete"),
        ("{", "read"),
        ("[]", "names and values"),
        ('{"weight_map": []}', "list of files"),
        ('{"weight_map": {}}', "list of files"),
        ('{"weight_map": {"w": "b.safetensors"}}', "b.safetensors is not beside"),
    ],
)
def test_a_damaged_index(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(InvalidModelFileError) as caught:
        index_files(tmp_path / "i.json")
    assert word in str(sentence(caught.value))


def test_two_files_with_one_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"w": np.ones(3, np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InvalidModelFileError, match="same weights"):
        Shards([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_arrays_outlive_the_file(tmp_path: Path) -> None:
    save_file({"w": np.arange(5000, dtype=np.float32)}, tmp_path / "a.safetensors")
    file = TensorFile.open(tmp_path / "a.safetensors")
    array = file.array("w")
    file.close()
    assert array.sum() == np.arange(5000).sum()


def test_a_system_without_large_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(7, dtype=np.float32)
    save_file({"a": numbers}, tmp_path / "a.safetensors")
    for advice in (9999, None):  # one that the system refuses, and none at all
        if advice is None:
            monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
        else:
            monkeypatch.setattr(mmap, "MADV_HUGEPAGE", advice, raising=False)
        assert np.array_equal(TensorFile.open(tmp_path / "a.safetensors").array("a"), numbers)


def test_2000_damaged_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    path = tmp_path / "a.safetensors"
    save_file({f"t{n}": rng.integers(0, 100, (n, 3)).astype(kind) for n, kind in enumerate(TYPES)}, path, {"a": "b"})

    def read_all(path: Path) -> None:
        file = TensorFile.open(path)
        for name in file.tensors:
            file.array(name).sum()

    assert 20 < hostile(path, 2000, 5, read_all) < 1500


def test_an_interrupted_file_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with replacing(path) as raw:
            TensorWriter(raw, room=10).add("a", np.ones(1000, np.float32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"


def test_an_interrupted_folder_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with FolderWriter(tmp_path / "model") as writer:
            writer.add("a", np.ones(1000, np.float32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(ModelError) as caught:
        FolderWriter(tmp_path)
    sentence(caught.value)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught, replacing(tmp_path / "missing" / "a.nutshell"):
        pass
    sentence(caught.value)


def test_shards_by_size(tmp_path: Path) -> None:
    tensors = {f"t{n}": np.full(100, n, np.float32) for n in range(7)}
    with FolderWriter(tmp_path / "model", shard_bytes=1000) as writer:
        for name, array in tensors.items():
            writer.add(name, array)
        writer.finish({"a": 1}, {"tokenizer.json": b"{}"})
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    files = index_files(tmp_path / "model" / "model.safetensors.index.json")
    assert [path.name for path in files] == [f"model-{n:05d}-of-00004.safetensors" for n in range(1, 5)]
    found = Shards(files)
    assert all(np.array_equal(found.array(name), array) for name, array in tensors.items())
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == b"{}"
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 7 * 400
