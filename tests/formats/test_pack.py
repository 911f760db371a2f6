from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.formats.checkpoint import Checkpoint, open_checkpoint
from backend.formats.pack import PackCheckpoint
from backend.formats.pack_layout import buffer_sizes
from backend.formats.pack_writer import write_pack
from kernels import reference
from kernels.packed import PackedLinear
from kernels.packing import aqlm, dense, q4, q8, spqr
from tests.formats.hostile import container, hostile, sentence
from tests.formats.test_hf_dense import use_all
from tests.formats.tiny_hf import CONFIG

TOKENIZER = {"tokenizer.json": b'{"model": 1}', "tokenizer_config.json": b"{}", "chat_template.jinja": b""}


def _aqlm(out: int, columns: int, count: int, bits: int, group: int) -> PackedLinear:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 1 << bits, (out, columns // group, count), np.uint16)
    books = rng.standard_normal((count, 1 << bits, group)).astype(np.float16)
    return aqlm.pack(codes, books, np.ones(out, np.float16), bias=np.arange(out, dtype=np.float32))


def linears(out: int = 72, columns: int = 128) -> dict[str, PackedLinear]:
    """One linear of every scheme, of an odd number of rows."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((out, columns), np.float32)
    bias = rng.standard_normal(out, np.float32)
    return {
        "f32": dense.pack(weight, "f32", bias=bias),
        "f16": dense.pack(weight, "f16"),
        "bf16": dense.pack(weight, "bf16"),
        "q8": q8.quantize(weight, 32, bias=bias),
        "q4": q4.quantize(weight, 64),
        "spqr3": spqr.quantize(weight[:64], 3, 0.01, bias=bias[:64]),
        "spqr4": spqr.quantize(weight[:64], 4, 0.0),
        "aqlm2x8": _aqlm(out, columns, 2, 8, 8),
        "aqlm1x12": _aqlm(out, columns, 1, 12, 16),
        "aqlm3x5": _aqlm(out, 72, 3, 5, 8),
    }


ARRAYS = {"model.norm.weight": np.linspace(0, 1, 65, dtype=np.float32), "x": np.ones((3, 5), np.float32)}


def write(path: Path, modules: dict[str, PackedLinear] | None = None, **metadata: Any) -> Path:
    modules = linears() if modules is None else modules
    write_pack(path, CONFIG, modules.items(), ARRAYS.items(), TOKENIZER, {"name": "Tiny", **metadata})
    return path


def test_everything_comes_back_in_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nutshell", data_free=True)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nutshell"]
    checkpoint = open_checkpoint(path)
    assert isinstance(checkpoint, PackCheckpoint)
    as_protocol: Checkpoint = checkpoint
    assert as_protocol.kind == "pack"
    assert checkpoint.config == CONFIG
    assert dict(checkpoint.tokenizer) == TOKENIZER == checkpoint.tokenizer_files()
    assert set(checkpoint.linears()) == set(linears())
    assert set(checkpoint.arrays()) == set(ARRAYS)
    for module, expected in linears().items():
        found = checkpoint.linear(module)
        assert (found.scheme, found.out_features, found.in_features) == (
            expected.scheme,
            expected.out_features,
            expected.in_features,
        )
        assert found.parameters == expected.parameters
        assert found.buffers.keys() == expected.buffers.keys()
        for name, buffer in expected.buffers.items():
            assert found.buffers[name].dtype == buffer.dtype, (module, name)
            assert found.buffers[name].shape == buffer.shape
            assert np.array_equal(found.buffers[name], buffer)
            assert found.buffers[name].ctypes.data % 64 == 0
            assert not found.buffers[name].flags.owndata  # a view of the file
            assert not found.buffers[name].flags.writeable
    for name, array in ARRAYS.items():
        assert np.array_equal(checkpoint.array(name), array)
    assert np.array_equal(checkpoint.array("q8.bias"), linears()["q8"].buffers["bias"])
    assert checkpoint.has("q8.bias")
    assert not checkpoint.has("q4.bias")
    assert checkpoint.has("q4.weight")
    assert checkpoint.metadata["data_free"] is True
    assert checkpoint.metadata["name"] == "Tiny"
    assert checkpoint.metadata["architecture"] == "llama"
    weights = sum(packed.out_features * packed.in_features for packed in linears().values())
    bits = 8 * sum(packed.nbytes for packed in linears().values()) / weights
    assert checkpoint.metadata["parameters"] == weights
    assert checkpoint.metadata["bits_per_weight"] == pytest.approx(bits, abs=1e-3)


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nutshell")
    tensors = load_file(path)
    assert np.array_equal(tensors["linear/q4/data"], linears()["q4"].buffers["data"])
    with safe_open(path, "np") as peer:
        assert peer.metadata()["format"] == "nutshell"


def test_linears_outlive_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path / "a.nutshell"))
    packed = checkpoint.linear("q8")
    checkpoint.close()
    del checkpoint
    assert np.array_equal(q8.dequantize(packed), q8.dequantize(linears()["q8"]))


def test_more_linears_than_the_header_had_room_for(tmp_path: Path) -> None:
    small = dense.pack(np.ones((1, 32), np.float32), "f16")
    many = {f"a rather long name of a linear, number {number}": small for number in range(200)}
    write_pack(tmp_path / "a.nutshell", {**CONFIG, "num_hidden_layers": 0}, many.items(), [], {}, {})
    checkpoint = open_checkpoint(tmp_path / "a.nutshell")
    assert all(np.array_equal(checkpoint.linear(m).buffers["data"], p.buffers["data"]) for m, p in many.items())


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.nutshell"
    path.write_bytes(b"old")

    def some() -> Any:
        yield "q8", linears()["q8"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(path, CONFIG, some(), [], {}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.nutshell"]
    assert path.read_bytes() == b"old"


def test_a_linear_that_no_reader_would_take_is_not_written(tmp_path: Path) -> None:
    good = linears()["q4"]
    buffers = dict(good.buffers, scales=good.buffers["scales"][:-1])
    with pytest.raises(InvalidModelFileError):
        write(tmp_path / "a.nutshell", {"q4": PackedLinear("q4", 72, 128, good.parameters, buffers)})
    assert not list(tmp_path.iterdir())


def test_the_layout_is_that_of_the_packers() -> None:
    for module, packed in linears(200, 352).items():
        sizes = buffer_sizes(packed)
        assert sizes.keys() | {"bias", "perm"} >= packed.buffers.keys()
        for name, (_, count) in sizes.items():
            assert count in (None, packed.buffers[name].size), (module, name)


def _parts(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def change(path: Path, edit: Callable[[dict[str, Any]], None], data: Callable[[bytearray], None] | None = None) -> None:
    """Rewrites the header (padded to the same place) and the data."""
    header, rest = _parts(path)
    room = path.stat().st_size - len(rest) - 8
    edit(header)
    raw = bytearray(rest)
    if data is not None:
        data(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(container(text.ljust(room), bytes(raw)))


def _about(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"].__setitem__(key, value)


def _linear(module: str, entry: Any) -> Callable[[dict[str, Any]], None]:
    def edit(header: dict[str, Any]) -> None:
        texts = json.loads(header["__metadata__"]["linears"])
        texts[module] = entry
        header["__metadata__"]["linears"] = json.dumps(texts)

    return edit


def _rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.__setitem__(new, header.pop(old))


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (_about("version", "5"), "newer version"),
        (_about("version", "0"), "version number"),
        (_about("version", "one"), "version number"),
        (_about("version", "²"), "version number"),
        (_about("config", "[]"), "names and values"),
        (_about("config", "{"), "read"),
        (_about("about", ""), "read"),
        (_about("linears", '{"q8": 1}'), "list of blocks"),
        (_linear("q8", 1), "makes no sense"),
        (_linear("q8", ["q9", 72, 128, {"group_size": 32}]), "makes no sense"),
        (_linear("q8", ["q8", 72, 128, {"group_size": 31}]), "makes no sense"),
        (_linear("q8", ["q8", 72, 128, {"group_size": True}]), "makes no sense"),
        (_linear("q8", ["q8", 72, 128, {}]), "makes no sense"),
        (_linear("q8", ["q8", 0, 128, {"group_size": 32}]), "makes no sense"),
        (_linear("q8", ["q8", 1 << 40, 128, {"group_size": 32}]), "makes no sense"),
        (_linear("q8", ["q8", 72, 129, {"group_size": 32}]), "fit together"),
        (_linear("q8", ["q8", 81, 128, {"group_size": 32}]), "fit together"),
        (_linear("q8", ["q4", 72, 128, {"group_size": 32}]), "fit together"),
        (_linear("aqlm2x8", ["aqlm", 72, 128, _aqlm(72, 128, 2, 9, 8).parameters]), "fit together"),
        (_linear("aqlm2x8", ["aqlm", 72, 124, _aqlm(72, 128, 2, 8, 8).parameters]), "makes no sense"),
        (_linear("more", ["q8", 72, 128, {"group_size": 32}]), "list of blocks"),
        (_rename("linear/q8/bias", "linear/q8/biased"), "fit together"),
        (_rename("linear/q8/scales", "linear/q8/perm"), "fit together"),
        (_rename("linear/q8/bias", "something"), "does not"),
        (_rename("array/x", "file/../x"), "does not"),
        (_rename("file/tokenizer.json", "file/..\\x"), "does not"),
        (_rename("file/tokenizer.json", "array/y"), "does not"),
    ],
)  # fmt: skip
def test_refuses(tmp_path: Path, edit: Callable[[dict[str, Any]], None], word: str) -> None:
    path = write(tmp_path / "a.nutshell")
    change(path, edit)
    with pytest.raises(ModelError) as caught:
        PackCheckpoint(path)
    assert isinstance(caught.value, InvalidModelFileError | UnsupportedModelError)
    assert word in str(sentence(caught.value)), caught.value.details


def test_refuses_buffers_at_odd_places(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nutshell")
    header, rest = _parts(path)
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(container(text.ljust(path.stat().st_size - len(rest) - 8 + 8), rest))
    with pytest.raises(InvalidModelFileError, match="impossible place"):
        PackCheckpoint(path)


def _overwrite(name: str, numbers: npt.NDArray[Any], last: bool = False) -> Any:
    """What puts numbers over the beginning or end of a tensor."""

    def edit(path: Path) -> None:
        begin, end = _parts(path)[0][name]["data_offsets"]
        raw = numbers.tobytes()
        at = end - len(raw) if last else begin

        def put(data: bytearray) -> None:
            data[at : at + len(raw)] = raw

        change(path, lambda _: None, put)

    return edit


@pytest.mark.parametrize(
    ("module", "edit", "word"),
    [
        ("q8", _overwrite("linear/q8/scales", np.array([np.nan], np.float16)), "not numbers"),
        ("q4", _overwrite("linear/q4/scales", np.array([-np.inf], np.float16), last=True), "not numbers"),
        ("q4", _overwrite("linear/q4/row_max", np.array([np.nan], np.float32)), "not numbers"),
        ("q8", _overwrite("linear/q8/bias", np.array([np.inf], np.float32)), "not numbers"),
        ("aqlm2x8", _overwrite("linear/aqlm2x8/codebooks", np.array([np.nan], np.float16)), "not numbers"),
        ("aqlm2x8", _overwrite("linear/aqlm2x8/scales", np.array([np.inf], np.float16)), "not numbers"),
        ("aqlm1x12", _overwrite("linear/aqlm1x12/data", np.array([4096], np.uint16)), "behind their tables"),
        ("aqlm3x5", _overwrite("linear/aqlm3x5/data", np.array([32], np.uint8), last=True), "behind their tables"),
        ("spqr3", _overwrite("linear/spqr3/scales", np.array([np.nan], np.float16)), "not numbers"),
        ("spqr3", _overwrite("linear/spqr3/outliers", np.array([0x7C00], np.uint16), last=True), "not numbers"),
        ("spqr3", _overwrite("linear/spqr3/outliers", np.array([128], np.uint16)), "outside"),
        ("spqr3", _overwrite("linear/spqr3/outlier_lanes", np.array([16], np.uint8)), "outside"),
        ("spqr3", _overwrite("linear/spqr3/outlier_steps", np.array([1], np.int32)), "outliers contradicts"),
        ("spqr3", _overwrite("linear/spqr3/outlier_steps", np.array([0, 9999], np.int32)), "outliers contradicts"),
        ("spqr3", _overwrite("linear/spqr3/outlier_steps", np.array([99], np.int32), last=True), "contradicts itself"),
    ],
)  # fmt: skip
def test_refuses_numbers(tmp_path: Path, module: str, edit: Callable[[Path], None], word: str) -> None:
    path = write(tmp_path / "a.nutshell")
    edit(path)
    checkpoint = PackCheckpoint(path)
    with pytest.raises(InvalidModelFileError) as caught:
        checkpoint.linear(module)
    assert word in str(sentence(caught.value)), caught.value.details


def test_refuses_an_order_that_is_none(tmp_path: Path) -> None:
    good = linears()["q8"]
    perm = np.arange(128, dtype=np.uint32)
    perm[5] = 128
    packed = PackedLinear("q8", 72, 128, good.parameters, dict(good.buffers, perm=perm))
    with pytest.raises(InvalidModelFileError, match="order of its columns"):
        PackCheckpoint(write(tmp_path / "a.nutshell", {"q8": packed})).linear("q8")


@pytest.mark.parametrize(("scheme", "version"), [("spqr3", "1"), ("aqlm3x5", "1"), ("aqlm3x5", "2")])
def test_a_file_of_a_version_before_is_read_unless_its_layout_was_another(
    tmp_path: Path, scheme: str, version: str
) -> None:
    every = linears()
    path = write(tmp_path / "a.nutshell", {"q4": every["q4"]})
    change(path, _about("version", version))
    assert PackCheckpoint(path).linear("q4").scheme == "q4"
    path = write(tmp_path / "b.nutshell", {"q4": every["q4"], scheme: every[scheme]})
    change(path, _about("version", version))
    with pytest.raises(UnsupportedModelError, match="older version") as caught:
        PackCheckpoint(path)
    assert "Make it again" in str(sentence(caught.value))


def test_refuses_names_that_are_not_there(tmp_path: Path) -> None:
    checkpoint = PackCheckpoint(write(tmp_path / "a.nutshell"))
    for read in (checkpoint.linear, checkpoint.array, checkpoint.shape):
        with pytest.raises(InvalidModelFileError) as caught:
            read("nothing")
        sentence(caught.value)


def test_1000_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nutshell")
    assert 5 < hostile(path, 1000, 51, use_all) < 800


def test_300_damaged_contents(tmp_path: Path) -> None:
    """What is taken can be computed with: nothing leads outside."""
    path = write(tmp_path / "a.nutshell")
    data = path.read_bytes()
    first = len(data) - len(_parts(path)[1])
    rng = np.random.default_rng(52)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(first, len(data), 20):
            damaged[at] = int(rng.integers(256))
        path.write_bytes(damaged)
        checkpoint = PackCheckpoint(path)
        for module in checkpoint.linears():
            try:
                reference.dequantize(checkpoint.linear(module))
            except InvalidModelFileError as error:
                sentence(error)
                refused += 1
    assert refused > 10
