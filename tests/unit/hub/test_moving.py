"""Moving models: on one disk, between disks, killed at any moment; nothing is lost and nothing half is seen."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backend.api.errors import ConflictError, DiskFullError, InvalidRequestError, StorageError
from backend.config.paths import paths
from backend.hub import home, moving
from backend.hub.fetch import Wanted, download
from backend.hub.hf_cache import cache_folder
from backend.hub.home import Home, read_home, where_now, write_home
from backend.hub.local import LocalModels
from backend.hub.moving import STAGING, Far, Item, move
from backend.hub.network import Network
from backend.hub.relocate import relocate
from backend.hub.remote import open_repository
from backend.hub.transfer import StoppedError
from tests.fakes.hub import COMMIT, FakeHub

ROOT = Path(__file__).resolve().parents[3]
REPO = "models--someone--tiny-GGUF"
DICE = random.Random(5)
BLOBS = {f"{number:064x}": DICE.randbytes(size) for number, size in enumerate((9_000_001, 4_194_304, 0, 1))}


@pytest.fixture
def two_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be renamed from one folder to the other."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(moving, "_rename", refuse)
    monkeypatch.setattr(moving, "_same_disk", lambda _: False)


@pytest.fixture(params=["one disk", "two disks"])
def disks(request: pytest.FixtureRequest) -> str:
    if request.param == "two disks":
        request.getfixturevalue("two_disks")
    return str(request.param)


def repository(root: Path, name: str = REPO, blobs: dict[str, bytes] = BLOBS) -> Path:
    folder = root / name
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for number, (etag, content) in enumerate(blobs.items()):
        (folder / "blobs" / etag).write_bytes(content)
        (snapshot / f"part-{number}.gguf").symlink_to(Path("..", "..", "blobs", etag))
    return folder


def is_whole(folder: Path, blobs: dict[str, bytes] = BLOBS) -> bool:
    snapshot = folder / "snapshots" / COMMIT
    return all(
        (snapshot / f"part-{number}.gguf").is_file() and (snapshot / f"part-{number}.gguf").read_bytes() == content
        for number, content in enumerate(blobs.values())
    )


def item(tmp_path: Path) -> Item:
    (tmp_path / "new").mkdir(exist_ok=True)
    return Item(tmp_path / "old" / REPO, tmp_path / "new" / "hub" / REPO, tmp_path / "new")


def test_a_repository_moves_with_its_links(tmp_path: Path, disks: str) -> None:
    repository(tmp_path / "old")
    told: list[Far] = []
    assert move([item(tmp_path)], told.append).moved == 1
    moved = tmp_path / "new" / "hub" / REPO
    assert is_whole(moved)
    assert (moved / "refs" / "main").read_text() == COMMIT
    assert (moved / "snapshots" / COMMIT / "part-0.gguf").is_symlink()
    assert not (tmp_path / "old" / REPO).exists()
    assert not (tmp_path / "new" / STAGING).exists()
    assert told[-1].done == told[-1].total == (2 * moving.size_of(moved) if disks == "two disks" else 0)


def test_what_is_half_there_joins_the_rest(tmp_path: Path, disks: str) -> None:
    repository(tmp_path / "old")
    few = dict(list(BLOBS.items())[:2])
    there = repository(tmp_path / "new" / "hub", blobs=few)
    (there / "refs" / "main").write_text("d" * 40)
    move([item(tmp_path)])
    assert is_whole(there)
    assert (there / "refs" / "main").read_text() == "d" * 40
    assert not (tmp_path / "old" / REPO).exists()


def test_another_file_of_the_same_name_is_not_written_over(tmp_path: Path, disks: str) -> None:
    old = repository(tmp_path / "old")
    etag = next(iter(BLOBS))
    there = repository(tmp_path / "new" / "hub", blobs={etag: b"else"})
    outcome = move([item(tmp_path)])
    assert outcome.moved == 0
    assert "another" in outcome.left[0][1]
    assert is_whole(old)
    assert (there / "blobs" / etag).read_bytes() == b"else"


@pytest.mark.usefixtures("two_disks")
def test_stopped_it_goes_on_without_copying_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = repository(tmp_path / "old")
    stop, written = threading.Event(), 0
    write = moving._write

    def counted(file: object, piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        write(file, piece)  # type: ignore[arg-type]
        if written > 5_000_000:
            stop.set()

    monkeypatch.setattr(moving, "_write", counted)
    with pytest.raises(StoppedError):
        move([item(tmp_path)], stop=stop)
    assert is_whole(old)
    assert not (tmp_path / "new" / "hub" / REPO).exists()
    stop.clear()
    move([item(tmp_path)], stop=threading.Event())
    assert is_whole(tmp_path / "new" / "hub" / REPO)
    assert written == sum(map(len, BLOBS.values())) + len(COMMIT)


@pytest.mark.usefixtures("two_disks")
def test_a_damaged_leftover_is_copied_again(tmp_path: Path) -> None:
    repository(tmp_path / "old")
    etag = next(iter(BLOBS))
    leftover = tmp_path / "new" / STAGING / "hub" / f"{REPO}.part" / "blobs" / etag
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(BLOBS[etag][:4_194_304] + bytes(5_000_000))  # longer than what is right of it
    move([item(tmp_path)])
    assert is_whole(tmp_path / "new" / "hub" / REPO)


@pytest.mark.usefixtures("two_disks")
def test_a_disk_that_gives_back_something_else_keeps_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = repository(tmp_path / "old")
    monkeypatch.setattr(moving, "_write", lambda file, piece: file.write(b"\0" * len(piece)))
    with pytest.raises(StorageError, match="damaged on the new disk"):
        move([item(tmp_path)])
    assert is_whole(old)
    assert not (tmp_path / "new" / "hub" / REPO).exists()


@pytest.mark.usefixtures("two_disks")
def test_a_disk_without_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = repository(tmp_path / "old")
    usage = moving.shutil.disk_usage("/")
    monkeypatch.setattr(moving.shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
    with pytest.raises(DiskFullError, match="no room"):
        move([item(tmp_path)])
    assert is_whole(old)
    assert not (tmp_path / "new" / STAGING).exists()


MOVE = """
import errno, sys
from pathlib import Path
from backend.hub import moving
moving._same_disk = lambda item: False
moving._PIECE = 1 << 16
old, new = Path(sys.argv[1]), Path(sys.argv[2])
items = [moving.Item(one, new / "hub" / one.name, new) for one in sorted(old.glob("models--*"))]
print("go", flush=True)
moving.move(items)
print("done", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is of POSIX")
def test_killed_at_ten_moments_everything_is_whole_somewhere(tmp_path: Path) -> None:
    names = [f"models--someone--{name}" for name in ("a", "b", "c", "d")]
    for name in names:
        repository(tmp_path / "old", name)
    (tmp_path / "new").mkdir()
    dice, kills, done = random.Random(1), 0, False
    command = [sys.executable, "-c", MOVE, str(tmp_path / "old"), str(tmp_path / "new")]
    while not done:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        try:
            if kills < 10:
                process.wait(dice.uniform(0.002, 0.06))
            else:
                process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.wait()
        done = process.stdout.read() == "done\n"
        process.stdout.close()
        for name in names:
            places = [tmp_path / "old" / name, tmp_path / "new" / "hub" / name]
            assert any(is_whole(place) for place in places), (name, kills)
            assert not places[1].exists() or is_whole(places[1]), (name, kills)  # never seen half
    assert kills >= 3
    assert not list((tmp_path / "old").iterdir())
    assert not (tmp_path / "new" / STAGING).exists()


def etags_of(blobs: dict[str, bytes] = BLOBS) -> set[str]:
    return set(blobs)


def test_ours_moves_and_what_others_fetched_stays(hub: FakeHub, tmp_path: Path, disks: str, tiny_gguf: Path) -> None:
    cache = tmp_path / "hub"
    repository(cache)
    repository(cache, "models--other--model", {"e" * 64: b"GGUF"})
    places = paths()
    places.builds.mkdir(parents=True)
    (places.builds / "mine.nutshell").write_bytes(b"build")
    (places.builds / "mine.nutshell.record.json").write_text("{}")
    (places.builds / "other.nutshell.new").write_text("being written")
    chosen = tmp_path / "disk" / "models"
    outcome = relocate(str(chosen), etags_of)
    assert (outcome.moved, outcome.left) == (3, [])
    assert is_whole(chosen / "hub" / REPO)
    assert (chosen / "builds" / "mine.nutshell").read_bytes() == b"build"
    assert (cache / "models--other--model").is_dir()
    assert [one.name for one in places.builds.iterdir()] == ["other.nutshell.new"]
    assert read_home() == Home(folder=str(chosen))
    assert cache_folder() == chosen / "hub"
    assert where_now(cache / REPO / "snapshots" / COMMIT / "part-0.gguf") is not None
    assert where_now(places.builds / "mine.nutshell") == chosen / "builds" / "mine.nutshell"
    assert where_now(tmp_path / "never.gguf") is None

    second = tmp_path / "disk" / "second"
    assert relocate(str(second), etags_of).moved == 3
    assert relocate("", etags_of).moved == 3
    assert is_whole(cache / REPO)
    assert (places.builds / "mine.nutshell").exists()
    assert read_home() == Home()


def test_downloads_go_where_it_was_chosen_and_are_listed(
    hub: FakeHub, tmp_path: Path, network: Network, tiny_gguf: Path
) -> None:
    hub.put("someone/tiny-GGUF", "tiny-Q4_K_M.gguf", tiny_gguf.read_bytes())
    chosen = tmp_path / "disk"
    relocate(str(chosen), set)
    found = open_repository("someone/tiny-GGUF", network=network)
    path = download(Wanted("someone/tiny-GGUF", found.commit, found.files), network=network)
    assert path.is_relative_to(chosen / "hub")
    local = LocalModels(None, env={}, home=tmp_path / "nobody", chosen=home.folders)
    assert [(one.path, one.source) for one in local.scan()] == [(str(path), "huggingface")]


def test_while_it_is_not_finished_both_are_listed(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    relocate(str(first), set)
    repository(first / "hub")

    def stopped(*_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("backend.hub.relocate.move", stopped)
        with pytest.raises(StoppedError):
            relocate(str(second), set)
    assert read_home() == Home(folder=str(second), also=[str(first)], unfinished=True)
    assert home.folders() == [second, first]
    assert relocate(str(second), set).moved == 1
    assert read_home() == Home(folder=str(second))


def test_a_disk_that_is_not_connected_is_a_sentence(hub: FakeHub, tmp_path: Path) -> None:
    write_home(Home(folder=str(tmp_path / "stick")))
    with pytest.raises(StorageError, match="not connected"):
        cache_folder()
    assert not (tmp_path / "stick").exists()
    relocate(str(tmp_path / "other"), set)  # another one can be chosen, and the first is not forgotten
    assert read_home() == Home(folder=str(tmp_path / "other"), also=[str(tmp_path / "stick")])
    assert cache_folder() == tmp_path / "other" / "hub"


def test_other_programs_may_use_the_chosen_folder(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "disk"
    repository(tmp_path / "hub")
    relocate(str(chosen), etags_of)
    monkeypatch.setenv("HF_HUB_CACHE", str(chosen / "hub"))
    assert relocate(str(chosen), etags_of).moved == 0
    assert relocate("", etags_of).moved == 0
    assert is_whole(chosen / "hub" / REPO)
    assert cache_folder() == chosen / "hub"


def test_folders_that_cannot_be_one(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (paths().builds / "x").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "hub" / "inside", paths().builds / "x", Path(tmp_path.anchor)):
        with pytest.raises((InvalidRequestError, StorageError)):
            relocate(str(folder), set)
    relocate(str(tmp_path / "one"), set)
    with pytest.raises(InvalidRequestError, match="inside one another"):
        relocate(str(tmp_path / "one" / "hub" / "deeper"), set)
    assert read_home() == Home(folder=str(tmp_path / "one"))


def test_two_do_not_move_at_once(hub: FakeHub, tmp_path: Path) -> None:
    def again(_: object) -> None:
        with pytest.raises(ConflictError, match="Another Nutshell"):
            relocate(str(tmp_path / "two"), set)

    relocate(str(tmp_path / "one"), set, in_use=again)
    assert read_home().folder == str(tmp_path / "one")
