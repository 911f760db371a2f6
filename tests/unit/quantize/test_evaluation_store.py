from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from backend.api.errors import DiskFullError
from backend.quantize import evaluation_store
from backend.quantize.evaluation_scores import Expected, expect
from backend.quantize.evaluation_store import Store
from backend.quantize.evaluation_text import Contexts

WIDTH = 37


def contexts(seed: int = 0, n: int = 3) -> Contexts:
    tokens = np.random.default_rng(seed).integers(0, WIDTH, (n, 20), dtype=np.int32)
    return Contexts("text", tokens, 5, 99)


def answers(seed: int = 0) -> Expected:
    logits = np.random.default_rng(seed).standard_normal((14, WIDTH), dtype=np.float32)
    return expect(logits, np.arange(14, dtype=np.int32), 1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


def test_what_is_written_is_read(tmp_path: Path, model: Path) -> None:
    store = Store(tmp_path / "cache", model, contexts(), WIDTH)
    store.prepare(3)
    assert store.missing(3) == [0, 1, 2]
    store.write(1, answers())
    again = Store(tmp_path / "cache", model, contexts(), WIDTH)
    assert again.missing(3) == [0, 2]
    found, wanted = again.read(1), answers()
    assert (found.log_probabilities == wanted.log_probabilities).all()
    assert (found.surprise == wanted.surprise).all()
    assert (found.likeliest == wanted.likeliest).all()


def test_half_a_file_is_none(tmp_path: Path, model: Path) -> None:
    store = Store(tmp_path / "cache", model, contexts(), WIDTH)
    store.prepare(3)
    store.write(0, answers())
    file = next((tmp_path / "cache").glob("*/00000.bin"))
    file.write_bytes(file.read_bytes()[:-1])
    assert store.missing(1) == [0]
    file.with_suffix(".new").write_bytes(b"cut off")
    store.prepare(1)
    assert not file.with_suffix(".new").exists()


def test_another_model_or_text_is_another_store(tmp_path: Path, model: Path) -> None:
    store = Store(tmp_path / "cache", model, contexts(), WIDTH)
    store.prepare(3)
    store.write(0, answers())
    assert Store(tmp_path / "cache", model, contexts(1), WIDTH).missing(1) == [0]
    status = model.stat()
    model.write_bytes(b"WEIGHTS")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Store(tmp_path / "cache", model, contexts(), WIDTH).missing(1) == [0]


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"one")
    before = evaluation_store.identity(folder)
    (folder / "notes.txt").write_text("of no importance")
    assert evaluation_store.identity(folder) == before
    (folder / "config.json").write_text("{}")
    assert evaluation_store.identity(folder) != before


def test_no_room(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(evaluation_store.shutil, "disk_usage", lambda _: usage)
    store = Store(tmp_path / "cache", model, contexts(), WIDTH)
    with pytest.raises(DiskFullError, match="not enough room"):
        store.prepare(3)


def test_the_oldest_goes(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [Store(tmp_path / "cache", model, contexts(seed), WIDTH) for seed in range(4)]
    monkeypatch.setattr(evaluation_store, "LIMIT", 5 * 14 * (2 * WIDTH + 8))  # five contexts, or four with notes
    for number, store in enumerate(stores[:3]):
        store.prepare(1)
        store.write(0, answers())
        about = next(path for path in (tmp_path / "cache").glob("*/about.json") if path.stat().st_mtime > 1e9)
        os.utime(about, (1000 + number, 1000 + number))
    stores[3].prepare(2)
    assert [store.missing(1) for store in stores[:3]] == [[0], [], []]
