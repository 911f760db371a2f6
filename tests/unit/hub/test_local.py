from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from backend.api.errors import InvalidModelFileError, NotFoundError, UnsupportedModelError
from backend.api.schemas import ModelEntry
from backend.formats import gguf
from backend.hub import local
from backend.hub.local import LocalModels, model_id
from backend.hub.stores import from_folder, stores
from backend.hub.walk import walk
from tests.formats.tiny_gguf import write_tiny_gguf

HEX = "0123456789abcdef" * 4


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def put(source: Path, target: Path) -> Path:
    """A copy with other bytes at its end, so that no two files are one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target


def scan(home: Path, env: dict[str, str] | None = None, builtin: Path | None = None, *extra: Path) -> list[ModelEntry]:
    return LocalModels(builtin, extra, env=env or {}, home=home).scan()


def test_nothing_anywhere_is_an_empty_list(home: Path) -> None:
    assert scan(home, {}, home / "not-there.gguf", home / "no-folder") == []


def test_the_built_in_model_comes_first_and_under_its_catalogue_name(tiny_gguf: Path, home: Path) -> None:
    put(tiny_gguf, home / ".cache/llama.cpp/a.gguf")
    builtin = put(tiny_gguf, home / "SmolLM2-135M-Instruct.Q4_1.gguf")
    entries = scan(home, {}, builtin)
    assert [(e.source, e.name) for e in entries] == [("builtin", "SmolLM2 135M Instruct"), ("llamacpp", "Tiny")]
    entry = entries[0]
    assert (entry.architecture, entry.quantization, entry.layers, entry.licence) == ("llama", "Q8_0", 2, "apache-2.0")
    assert entry.bytes == tiny_gguf.stat().st_size
    assert entry.parameters > 100_000
    assert entry.id == model_id(builtin)
    assert len(entry.id) == 16
    assert LocalModels(builtin, env={}, home=home).entry_for(builtin) == entry


def huggingface_repository(tiny: Path, hub: Path, *, link: bool = True) -> Path:
    repository = hub / "models--org--tiny-GGUF"
    blob = put(tiny, repository / "blobs" / HEX)
    for revision in ("aaa", "bbb"):
        path = repository / "snapshots" / revision / "tiny.Q8_0.gguf"
        path.parent.mkdir(parents=True)
        if link:
            path.symlink_to(os.path.relpath(blob, path.parent))
        else:
            shutil.copyfile(blob, path)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("bbb\n")
    put(tiny, repository / "blobs" / ("f" * 64 + ".incomplete"))
    (repository / "snapshots" / "bbb" / "README.md").write_text("words")
    return repository / "snapshots" / "bbb" / "tiny.Q8_0.gguf"


@pytest.mark.parametrize("where", ["default", "xdg", "HF_HOME", "HF_HUB_CACHE"])
def test_hugging_face_cache(tiny_gguf: Path, home: Path, tmp_path: Path, where: str) -> None:
    root, env = {
        "default": (home / ".cache/huggingface/hub", {}),
        "xdg": (tmp_path / "x/huggingface/hub", {"XDG_CACHE_HOME": str(tmp_path / "x")}),
        "HF_HOME": (home / "y/hub", {"HF_HOME": "~/y"}),
        "HF_HUB_CACHE": (tmp_path / "z", {"HF_HUB_CACHE": str(tmp_path / "z"), "HF_HOME": "/ignored"}),
    }[where]
    current = huggingface_repository(tiny_gguf, root)
    (entry,) = scan(home, env)
    assert (entry.source, entry.name, entry.path) == ("huggingface", "org/tiny-GGUF", str(current))


def test_lm_studio_old_new_and_moved(tiny_gguf: Path, home: Path, tmp_path: Path) -> None:
    put(tiny_gguf, home / ".lmstudio/models/pub/repo/a.gguf")
    put(tiny_gguf, home / ".cache/lm-studio/models/pub/old/b.gguf")
    put(tiny_gguf, tmp_path / "disk/pub/moved/c.gguf")
    put(tiny_gguf, home / ".lmstudio/models/pub/repo/downloading_d.gguf.part")
    (home / ".lmstudio/settings.json").write_text(json.dumps({"downloadsFolder": str(tmp_path / "disk")}))
    assert [(e.source, e.name) for e in scan(home)] == [("lmstudio", f"pub/{n}") for n in ("moved", "old", "repo")]


def ollama_manifest(root: Path, name: str, digest: str) -> None:
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64},
        {"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": 1},
    ]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))


def test_ollama(tiny_gguf: Path, home: Path, tmp_path: Path) -> None:
    root = home / ".ollama/models"
    other = HEX[::-1]
    put(tiny_gguf, root / "blobs" / f"sha256-{HEX}")
    put(tiny_gguf, root / "blobs" / f"sha256-{other}")
    ollama_manifest(root, "registry.ollama.ai/library/llama3.2/1b", "sha256:" + HEX)
    ollama_manifest(root, "registry.ollama.ai/library/llama3.2/same-blob", "sha256:" + HEX)
    ollama_manifest(root, "hf.co/org/name/latest", "sha256:" + other)
    # each of these must be left alone
    ollama_manifest(root, "registry.ollama.ai/library/gone/1b", "sha256:" + "9" * 64)
    (tmp_path / "secret").write_text("GGUF")
    for number, digest in enumerate(
        (
            "sha256:../../../../secret",
            "sha256:" + HEX.upper(),
            "sha256-" + HEX,
            HEX,
            "sha256:" + HEX + "\n",
            "md5:1",
            "",
        )
    ):
        ollama_manifest(root, f"registry.ollama.ai/library/evil/{number}", digest)
    (root / "manifests/registry.ollama.ai/library/evil/text").write_text("not json")
    (root / "manifests/registry.ollama.ai/library/evil/list").write_text("[[[]]]")
    (root / "manifests/registry.ollama.ai/library/evil/deep").write_text("[" * 100_000)
    (root / "manifests/registry.ollama.ai/library/evil/layers").write_text('{"layers": [1, {"mediaType": 2}]}')
    found = scan(home)
    assert [(e.source, e.name) for e in found] == [("ollama", "hf.co/org/name:latest"), ("ollama", "llama3.2:1b")]
    assert found[1].path == str(root / "blobs" / f"sha256-{HEX}")
    assert found[1].error is None

    moved = tmp_path / "elsewhere"
    (root / "blobs").parent.rename(moved)
    assert scan(home) == []
    assert len(scan(home, {"OLLAMA_MODELS": str(moved)})) == 2


def test_llama_cpp_on_every_system(home: Path, tmp_path: Path) -> None:
    for platform, env, folder in (
        ("linux", {}, home / ".cache/llama.cpp"),
        ("linux", {"XDG_CACHE_HOME": str(tmp_path / "x")}, tmp_path / "x/llama.cpp"),
        ("darwin", {}, home / "Library/Caches/llama.cpp"),
        ("win32", {"LOCALAPPDATA": str(tmp_path / "local")}, tmp_path / "local/llama.cpp"),
        ("win32", {}, home / "AppData/Local/llama.cpp"),
        ("darwin", {"LLAMA_CACHE": str(tmp_path / "mine")}, tmp_path / "mine"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "m.gguf").write_bytes(b"GGUF")
        found = [c for c in stores(env, home, platform) if c.source == "llamacpp"]
        assert [c.path for c in found] == [folder / "m.gguf"]
        (folder / "m.gguf").unlink()


def test_unfinished_downloads_are_never_listed(tiny_gguf: Path, home: Path) -> None:
    folder = home / "mine"
    for name in (
        *("a.gguf.part", "b.gguf.crdownload", "c.gguf.downloadInProgress", "d.gguf.incomplete", "e.part", "f.tmp"),
        *("sha256-00-partial", "sha256-00-partial-12", "._g.gguf"),
    ):
        put(tiny_gguf, folder / name)
    put(tiny_gguf, folder / "h.gguf")
    (folder / "h.gguf.aria2").write_bytes(b"")
    assert scan(home, {}, None, folder) == []


def test_a_folder_of_the_users(tiny_gguf: Path, home: Path) -> None:
    folder = home / "mine"
    put(tiny_gguf, folder / "deep/er/x.GGUF")
    put(tiny_gguf, folder / "without-ending")
    (folder / "notes").write_text("no model")
    (folder / "picture.png").write_bytes(b"GGUF")
    assert sorted(c.path.name for c in from_folder(folder)) == ["without-ending", "x.GGUF"]
    assert [e.source for e in scan(home, {}, None, folder)] == ["file", "file"]


def test_split_models_are_one_entry_and_a_late_part_is_noticed(home: Path) -> None:
    folder = home / "mine"
    folder.mkdir()
    write_tiny_gguf(folder / "m.gguf", split_max_tensors=8)
    last = folder / "m-00003-of-00003.gguf"
    aside = last.rename(home / "aside")
    models = LocalModels(None, [folder], env={}, home=home)
    (entry,) = models.scan()
    assert entry.error is not None
    assert last.name in entry.error.why
    aside.rename(last)
    (entry,) = models.scan()
    assert entry.error is None
    assert entry.bytes == sum(p.stat().st_size for p in folder.iterdir())
    assert models.entry_for(last) == entry  # any part will do


def test_damaged_files_are_listed_with_the_reason(tiny_gguf: Path, home: Path) -> None:
    folder = home / "mine"
    bad = put(tiny_gguf, folder / "bad.gguf")
    with bad.open("r+b") as file:
        file.truncate(5000)
    (folder / "page.gguf").write_text("<!DOCTYPE html>")
    entries = scan(home, {}, None, folder)
    assert [e.name for e in entries] == ["bad.gguf", "page.gguf"]
    assert entries[0].bytes == 5000
    for entry in entries:
        assert entry.error is not None
        assert entry.error.code == "invalid_model_file"
        assert entry.error.what.endswith(".")
        assert entry.error.remedy.endswith(".")


def test_companions_are_left_out_unless_named(home: Path) -> None:
    folder = home / "mine"
    folder.mkdir()
    vision = write_tiny_gguf(folder / "mmproj.gguf", changes={"general.type": "mmproj"})
    assert scan(home, {}, None, folder) == []
    (entry,) = scan(home, {}, None, vision)
    assert entry.error is not None
    assert "mmproj" in entry.error.why
    with pytest.raises(UnsupportedModelError):
        LocalModels(None, env={}, home=home).entry_for(vision)


def test_a_file_in_several_places_is_listed_once(tiny_gguf: Path, home: Path) -> None:
    real = put(tiny_gguf, home / "mine/a.gguf")
    (home / ".cache/llama.cpp").mkdir(parents=True)
    (home / ".cache/llama.cpp/b.gguf").symlink_to(real)
    (entry,) = scan(home, {}, None, home / "mine")
    assert entry.path == str(real)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_loops_dead_links_and_locked_folders(tiny_gguf: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "mine"
    put(tiny_gguf, folder / "a/m.gguf")
    (folder / "a/up").symlink_to(folder)
    (folder / "a/self").symlink_to(folder / "a/self")
    (folder / "dead.gguf").symlink_to(home / "nowhere")
    (folder / "locked").mkdir()
    scandir = os.scandir

    def deny(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    assert [p.name for p in walk(folder, 20)] == ["m.gguf"]
    assert len(scan(home, {}, None, folder)) == 1


def test_depth_and_count_are_bounded(tmp_path: Path) -> None:
    for depth in range(1, 6):
        path = tmp_path.joinpath(*"abcdef"[:depth], "x.gguf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert len(list(walk(tmp_path, 3))) == 2
    assert len(list(walk(tmp_path, 9, limit=4))) == 1


def test_headers_are_read_once_until_the_file_changes(
    tiny_gguf: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "mine"
    paths = [put(tiny_gguf, folder / f"{n}.gguf") for n in range(3)]
    read: list[Path] = []

    def counting(path: Path) -> gguf.GGUFHeader:
        read.append(path)
        return gguf.read_header(path)

    monkeypatch.setattr(local, "read_header", counting)
    models = LocalModels(None, [folder], env={}, home=home)
    first = models.scan()
    assert models.scan() == first
    assert sorted(read) == paths
    os.utime(paths[1], ns=(1, 1))
    models.scan()
    assert read[3:] == [paths[1]]
    paths[0].unlink()
    assert len(models.scan()) == 2


def test_ids_entries_and_opened_files(tiny_gguf: Path, home: Path) -> None:
    models = LocalModels(None, env={}, home=home)
    path = put(tiny_gguf, home / "downloads/a.gguf")
    assert models.scan() == []
    with pytest.raises(NotFoundError) as caught:
        models.by_id(model_id(path))
    assert caught.value.remedy
    entry = models.entry_for(path)
    assert models.by_id(entry.id) == entry
    assert models.scan() == [entry]  # from now on in the list
    put(tiny_gguf, home / ".cache/llama.cpp/late.gguf")
    assert models.by_id(model_id(home / ".cache/llama.cpp/late.gguf")).source == "llamacpp"
    path.unlink()
    assert [e.source for e in models.scan()] == ["llamacpp"]
    with pytest.raises(InvalidModelFileError):
        models.entry_for(path)


def test_many_threads_get_the_same_list(tiny_gguf: Path, home: Path) -> None:
    for n in range(5):
        put(tiny_gguf, home / f"mine/{n}.gguf")
    models = LocalModels(None, [home / "mine"], env={}, home=home)
    lists: list[list[ModelEntry]] = []
    threads = [threading.Thread(target=lambda: lists.append(models.scan())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lists) == 4
    assert all(entries == lists[0] and len(entries) == 5 for entries in lists)


def test_nothing_is_written(tiny_gguf: Path, home: Path) -> None:
    huggingface_repository(tiny_gguf, home / ".cache/huggingface/hub")
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in home.rglob("*"))
    assert scan(home)
    assert sorted((str(p), p.lstat().st_mtime_ns) for p in home.rglob("*")) == before


def test_a_second_scan_of_200_models_is_quick(tiny_gguf: Path, home: Path) -> None:
    for n in range(200):
        put(tiny_gguf, home / f"mine/{n}.gguf")
    models = LocalModels(None, [home / "mine"], env={}, home=home)
    assert len(models.scan()) == 200
    start = time.process_time()  # not the clock on the wall: other programs run beside the tests
    models.scan()
    assert time.process_time() - start < 0.25
