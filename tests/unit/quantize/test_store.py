"""The work folder: what was put comes back bit for bit, or not at all."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.api.errors import ConflictError, StorageError
from backend.quantize import store as module
from backend.quantize.store import Store, work_folder
from kernels.packed import PackedLinear
from kernels.packing import aqlm, q8, spqr

RUN: dict[str, Any] = {"options": {"levels": ["aqlm-2x8"], "seed": 3}, "source": {"bytes": 5}, "program": "1"}
NAME = "model.layers.0.mlp.up_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return work_folder(tmp_path / "a.nutshell")


def _packed(kind: str, bias: bool) -> PackedLinear:
    dice = np.random.default_rng(1)
    weight = dice.standard_normal((19, 48), dtype=np.float32)
    offset = dice.standard_normal(19, dtype=np.float32) if bias else None
    if kind == "aqlm":
        codes = dice.integers(0, 256, (19, 6, 2), dtype=np.uint8)
        books = dice.standard_normal((2, 256, 8)).astype(np.float16)
        return aqlm.pack(codes, books, np.ones(19, np.float32), bias=offset)
    return spqr.quantize(weight, 3, 0.01, bias=offset) if kind == "spqr" else q8.quantize(weight, 32, bias=offset)


@pytest.mark.parametrize("kind", ["aqlm", "spqr", "q8"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_comes_back_as_it_was(folder: Path, kind: str, bias: bool) -> None:
    packed, warm = _packed(kind, bias), {"books": np.arange(6, dtype=np.float16).reshape(2, 3)}
    store = Store(folder, RUN)
    store.put(NAME, "some", packed, error=0.25, seconds=1.5, warm=warm, notes={"protected": True})
    store.close()
    again = Store(folder, RUN)
    assert again.resumed
    assert again.levels(NAME) == ("some",)
    found = again.get(NAME, "some")
    assert found is not None
    assert (found.error, found.seconds, found.notes) == (0.25, 1.5, {"protected": True})
    assert (found.packed.scheme, found.packed.out_features, found.packed.in_features) == (packed.scheme, 19, 48)
    assert found.packed.parameters == packed.parameters
    assert found.packed.buffers.keys() == packed.buffers.keys()
    for name, buffer in packed.buffers.items():
        assert found.packed.buffers[name].dtype == buffer.dtype
        np.testing.assert_array_equal(found.packed.buffers[name], buffer)
    np.testing.assert_array_equal(found.warm["books"], warm["books"])
    assert again.get(NAME, "other") is None
    assert again.get(NAME + "x", "some") is None


def test_an_error_that_nobody_measured_is_none(folder: Path) -> None:
    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("q8", False))
    found = store.get(NAME, "some")
    assert found is not None
    assert math.isnan(found.error)


def test_arrays_and_notes(folder: Path) -> None:
    store = Store(folder, RUN)
    store.put_arrays("tokens", {"all": np.arange(7, dtype=np.int32)}, {"sha": "x"})
    store.put_note("rates", {"a": 1.5})
    store.close()
    again = Store(folder, RUN)
    found = again.get_arrays("tokens")
    assert found is not None
    assert found[0] == {"sha": "x"}
    np.testing.assert_array_equal(found[1]["all"], np.arange(7))
    assert again.note("rates") == {"a": 1.5}
    assert again.note("none") is None
    assert again.get_arrays("none") is None


def test_every_flipped_byte_is_noticed(folder: Path) -> None:
    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("aqlm", True), error=0.5)
    path = next(folder.glob("*.level"))
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    dice = np.random.default_rng(0)
    places = [*range(whole.index(b"about"), whole.index(b"sums"), 3), *dice.integers(header, len(whole), 60)]
    for place in map(int, places):
        broken = bytearray(whole)
        broken[place] ^= 4
        path.write_bytes(broken)
        found = store.get(NAME, "some")
        if found is None:
            assert not path.exists()
        else:  # padding, or the spaces behind the header
            path.write_bytes(whole)
            original = store.get(NAME, "some")
            assert original is not None
            for name, buffer in original.packed.buffers.items():
                np.testing.assert_array_equal(found.packed.buffers[name], buffer)
            assert found.error == original.error
    path.write_bytes(whole[:-3])
    assert store.get(NAME, "some") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {"levels": ["aqlm-3x8"], "seed": 3}}, r"levels \(aqlm-2x8, now aqlm-3x8\)"),
        ({"options": {"levels": ["aqlm-2x8"], "seed": 4}}, r"seed \(3, now 4\)"),
        ({"source": {"bytes": 6}}, "files of the model"),
        ({"program": "2"}, r"program \(1, now 2\)"),
    ],
)
def test_another_run_is_refused_and_leaves_everything(folder: Path, change: dict[str, Any], words: str) -> None:
    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("q8", False))
    store.close()
    with pytest.raises(ConflictError, match=words):
        Store(folder, RUN | change)
    assert Store(folder, RUN).has(NAME, "some")


def test_restart_throws_away_what_is_there(folder: Path) -> None:
    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("q8", False))
    store.close()
    (folder / ".x.part").write_bytes(b"half")
    fresh = Store(folder, RUN | {"program": "2"}, restart=True)
    assert not fresh.resumed
    assert not fresh.has(NAME, "some")
    assert sorted(path.name for path in folder.iterdir()) == ["work.json", "work.lock"]


def test_half_written_files_go_when_it_is_opened(folder: Path) -> None:
    Store(folder, RUN).close()
    (folder / f".{NAME}@some.level.abc.part").write_bytes(b"half")
    Store(folder, RUN)
    assert not list(folder.glob("*.part"))


def test_a_folder_of_the_users_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.odt").write_bytes(b"years")
    for restart in (False, True):
        with pytest.raises(ConflictError, match=r"thesis\.odt"):
            Store(folder, RUN, restart=restart)
    assert (folder / "thesis.odt").read_bytes() == b"years"


def test_one_process_at_a_time(folder: Path) -> None:
    code = (
        "import sys, pathlib; from backend.quantize.store import Store; "
        "s = Store(pathlib.Path(sys.argv[1]), {}); print('in', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        with pytest.raises(ConflictError, match="being made already"):
            Store(folder, {})
    finally:
        child.kill()
        child.communicate()
    assert Store(folder, {}).resumed  # a lock dies with its process


def test_the_folder_goes_when_its_build_is_finished(folder: Path) -> None:
    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("q8", False))
    store.remove()
    assert not folder.exists()


def test_what_the_system_refuses_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="may write into"):
        Store(tmp_path / "missing" / "x.work", RUN)


def test_the_store_is_no_model(folder: Path) -> None:
    from backend.formats.sniff import recognise
    from backend.hub.stores import from_folder

    store = Store(folder, RUN)
    store.put(NAME, "some", _packed("q8", False))
    assert {recognise(path) for path in folder.iterdir()} == {None}
    assert list(from_folder(folder.parent)) == []
    assert module.FORMAT != "nutshell"
