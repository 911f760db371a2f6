"""Packs and Hugging Face folders in the list of models."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from backend.api.errors import InvalidModelFileError, ModelError, UnsupportedModelError
from backend.api.schemas import ModelEntry
from backend.formats.describe import Description
from backend.hub.builds import scheme_words
from backend.hub.local import LocalModels, model_id

pytestmark = pytest.mark.model


def scan(home: Path, *extra: Path) -> list[ModelEntry]:
    return LocalModels(None, extra, env={}, home=home).scan()


@pytest.mark.parametrize(
    ("scheme", "bits", "data_free", "words"),
    [
        ("aqlm-2x8", 2.5, True, "AQLM 2x8, 2.5 bits per weight, data-free"),
        ("aqlm-1x16g16", 1.27, False, "AQLM 1x16, groups of 16, 1.3 bits per weight"),
        ("spqr-3", 3.75, True, "SpQR 3-bit, 3.8 bits per weight, data-free"),
        ("q4", 4.25, True, "Q4, 4.2 bits per weight, data-free"),
        ("f16", 16, False, "F16"),
        ("bf16", 16, True, "BF16"),
        ("", 3, False, "3.0 bits per weight"),
    ],
)
def test_a_scheme_in_words(scheme: str, bits: float, data_free: bool, words: str) -> None:
    found = Description("pack", "x", "llama", 8_000_000, round(bits * 1_000_000), scheme, 0, 0, data_free)
    assert scheme_words(found) == words


def test_a_pack_and_a_folder_in_a_folder_of_the_users(tiny_pack: Path, tiny_folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    shutil.copyfile(tiny_pack, mine / "deep" / "a.nutshell")
    shutil.copyfile(tiny_pack, mine / "b.nutshell.part")
    shutil.copytree(tiny_folder, mine / "folder")
    pack, folder = sorted(scan(tmp_path, mine), key=lambda entry: entry.name)
    assert (folder.name, folder.path, folder.source) == ("folder", str(mine / "folder"), "file")
    assert folder.quantization.startswith("AQLM 1x8, ")
    assert (pack.name, pack.architecture, pack.layers, pack.context_length) == ("Tiny Q8", "llama", 2, 2048)
    assert pack.quantization.startswith("Q8, ")
    assert pack.quantization.endswith(" bits per weight, data-free")
    assert pack.bytes == tiny_pack.stat().st_size
    assert pack.parameters == folder.parameters > 100_000
    assert pack.error is None
    assert folder.error is None


def test_any_file_of_a_folder_names_it(tiny_folder: Path, tmp_path: Path) -> None:
    models = LocalModels(None, env={}, home=tmp_path)
    entry = models.entry_for(tiny_folder)
    assert entry.id == model_id(tiny_folder)
    for name in ("config.json", next(tiny_folder.glob("*.safetensors")).name):
        assert models.entry_for(tiny_folder / name) == entry
    assert models.scan() == [entry]
    assert models.by_id(entry.id) == entry


def test_a_folder_that_changes_is_read_again(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "mine" / "folder")
    models = LocalModels(None, [tmp_path / "mine"], env={}, home=tmp_path)
    before = models.scan()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    os.utime(folder / "config.json", ns=(1, 1))
    (after,) = models.scan()
    assert after.context_length == 4096
    assert after.id == before[0].id
    shutil.rmtree(folder)
    assert models.scan() == []


def test_the_current_revision_of_a_hugging_face_repository(tiny_folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / ".cache/huggingface/hub/models--org--Tiny-AQLM"
    for revision in ("aaa", "bbb"):
        folder = repository / "snapshots" / revision
        folder.mkdir(parents=True)
        for file in tiny_folder.iterdir():
            blob = repository / "blobs" / f"{revision}-{file.name}"
            blob.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, blob)
            (folder / file.name).symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb\n")
    (entry,) = scan(tmp_path)
    assert (entry.name, entry.source) == ("org/Tiny-AQLM", "huggingface")
    assert entry.path == str(repository / "snapshots" / "bbb")


def test_what_is_no_chat_model_is_left_out_unless_it_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "mine" / "folder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    models = LocalModels(None, [tmp_path / "mine"], env={}, home=tmp_path)
    assert models.scan() == []
    with pytest.raises(UnsupportedModelError, match="'bert'"):
        models.entry_for(folder)


def test_damaged_ones_are_listed_with_a_sentence(tiny_pack: Path, tiny_folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    folder = shutil.copytree(tiny_folder, mine / "folder")
    (folder / "config.json").write_text("{")
    (mine / "cut.nutshell").write_bytes(tiny_pack.read_bytes()[:-500])
    (mine / "page.nutshell").write_text("<!DOCTYPE html>")
    entries = scan(tmp_path, mine)
    assert len(entries) == 3
    for entry in entries:
        assert entry.error is not None, entry.name
        assert entry.error.what.endswith(".")
        with pytest.raises(ModelError):
            LocalModels(None, env={}, home=tmp_path).entry_for(Path(entry.path))


def test_a_folder_without_a_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelFileError) as caught:
        LocalModels(None, env={}, home=tmp_path).entry_for(tmp_path)
    assert "folder" in str(caught.value)
