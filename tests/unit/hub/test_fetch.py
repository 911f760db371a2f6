"""Downloads over a hub that fails: what arrives is right, or a sentence says why, and nothing is fetched twice."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.api.errors import (
    AccessError,
    ConflictError,
    DamagedDownloadError,
    DiskFullError,
    NetworkError,
    NutshellError,
    OfflineError,
    StorageError,
)
from backend.hub import fetch, partial, transfer
from backend.hub.fetch import Moved, Wanted, download, model_path
from backend.hub.hf_cache import file_place, locked, remove_snapshot
from backend.hub.network import Network
from backend.hub.remote import open_repository
from backend.hub.stores import huggingface
from backend.hub.transfer import Pace, StoppedError
from tests.fakes.hub import COMMIT, FakeHub, Fault

REPO = "someone/tiny-GGUF"
FILE = "tiny-Q4_K_M.gguf"
CONTENT = random.Random(0).randbytes(3_000_001)
#: what is read of a socket at a time, and what a cut may lose of it
CHUNK = 1 << 18

Fetch = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def get(hub: FakeHub, network: Network, root: Path) -> Fetch:
    hub.put(REPO, FILE, CONTENT)

    def run(*names: str, **more: object) -> Path:
        repository = open_repository(REPO, network=network)
        files = tuple(file for file in repository.files if not names or file.path in names)
        wanted = Wanted(REPO, repository.commit, files)
        return download(wanted, root=root, network=network, **more)  # type: ignore[arg-type]

    return run


def partials(root: Path) -> list[Path]:
    return list(root.rglob("*.incomplete"))


def test_a_file_arrives_where_other_programs_look(get: Fetch, hub: FakeHub, root: Path) -> None:
    path = get()
    assert path.read_bytes() == CONTENT
    assert path == root / "models--someone--tiny-GGUF" / "snapshots" / COMMIT / FILE
    assert (root / "models--someone--tiny-GGUF" / "refs" / "main").read_text() == COMMIT
    assert [candidate.path for candidate in huggingface(root)] == [path]
    assert hub.sent(FILE) == len(CONTENT)
    get()
    assert hub.sent(FILE) == len(CONTENT)  # it is there already


def test_the_real_client_finds_what_we_fetched(get: Fetch, hub: FakeHub, root: Path) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    path = get()
    assert try_to_load_from_cache(REPO, FILE, cache_dir=root, revision="main") == str(path)
    info = scan_cache_dir(root)
    assert not info.warnings
    assert info.size_on_disk == len(CONTENT)


@pytest.mark.parametrize("seed", range(8))
def test_lines_that_break_anywhere_cost_at_most_a_chunk_each(get: Fetch, hub: FakeHub, seed: int) -> None:
    dice = random.Random(seed)
    cuts = [dice.randrange(1, len(CONTENT) // 2) for _ in range(4)]
    hub.faults[FILE].extend(Fault(cut=cut) for cut in cuts)
    assert get().read_bytes() == CONTENT
    assert hub.sent(FILE) <= len(CONTENT) + len(cuts) * CHUNK


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(get: Fetch, hub: FakeHub, status: int) -> None:
    hub.faults[FILE].extend([Fault(status=status), Fault(cut=1000), Fault(status=status)])
    assert get().read_bytes() == CONTENT


def test_retry_after_is_kept_to(get: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return self.is_set()

    monkeypatch.setattr(fetch.threading, "Event", Stop)
    hub.faults[FILE].append(Fault(status=429, retry_after="7"))
    get()
    assert 7.0 in waited


def test_a_hub_that_stays_busy_is_a_sentence(get: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_MAX_WAIT_S", 0.01)
    hub.faults[FILE].extend([Fault(cut=1000), *[Fault(status=503)] * 6])
    with pytest.raises(NetworkError, match="503"):
        get()
    assert get().read_bytes() == CONTENT  # and it goes on
    assert hub.sent(FILE) == len(CONTENT)


def test_a_wrong_byte_is_noticed_and_fetched_again(get: Fetch, hub: FakeHub) -> None:
    hub.faults[FILE].append(Fault(flip=True))
    assert get().read_bytes() == CONTENT
    assert hub.sent(FILE) == 2 * len(CONTENT)


def test_twice_wrong_is_a_sentence_and_leaves_nothing(get: Fetch, hub: FakeHub, root: Path) -> None:
    hub.faults[FILE].extend([Fault(flip=True)] * 2)
    with pytest.raises(DamagedDownloadError, match="damaged, twice"):
        get()
    assert not list(huggingface(root))
    assert not partials(root)


@pytest.mark.parametrize("length", [len(CONTENT) + 1000, len(CONTENT) - 1000])
def test_a_wrong_length_is_a_sentence(get: Fetch, hub: FakeHub, root: Path, length: int) -> None:
    hub.faults[FILE].append(Fault(length=length))
    with pytest.raises(DamagedDownloadError, match="not the file"):
        get()
    assert not list(huggingface(root))


def test_a_server_without_ranges_starts_over_and_ends_right(get: Fetch, hub: FakeHub) -> None:
    told: list[Moved] = []
    hub.faults[FILE].extend([Fault(cut=1_000_000), Fault(no_ranges=True)])
    assert get(told=told.append).read_bytes() == CONTENT
    assert told[-1].done == told[-1].total == len(CONTENT)
    assert max(moved.done for moved in told) <= len(CONTENT)


def test_a_line_that_falls_silent_is_opened_anew(get: Fetch, hub: FakeHub) -> None:
    hold = threading.Event()
    hub.faults[FILE].append(Fault(hold=hold))
    try:
        assert get().read_bytes() == CONTENT
    finally:
        hold.set()


def test_a_slow_drip_arrives(get: Fetch, hub: FakeHub) -> None:
    hub.faults[FILE].append(Fault(drip=100, pause=0.001, cut=20_000))
    assert get().read_bytes() == CONTENT


def test_stopping_keeps_what_arrived(get: Fetch, hub: FakeHub, root: Path) -> None:
    stop = threading.Event()
    hub.faults[FILE].append(Fault(drip=50_000, pause=0.02))

    def told(moved: Moved) -> None:
        if moved.done >= len(CONTENT) // 4:
            stop.set()

    with pytest.raises(StoppedError):
        get(told=told, stop=stop)
    (partial,) = partials(root)
    kept = partial.stat().st_size
    assert kept >= len(CONTENT) // 4
    assert not list(huggingface(root))
    assert get().read_bytes() == CONTENT
    assert hub.asked[-1].range == f"bytes={kept}-"


def test_the_token_goes_to_the_hub_and_to_nobody_else(
    get: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "accepted")
    hub.gated.add(REPO)
    get()
    assert {one.token for one in hub.asked if one.server == "hub"} == {"Bearer accepted"}
    assert {one.token for one in hub.asked if one.server == "cdn"} == {""}


@pytest.mark.parametrize(("token", "sentence"), [("", "who asks"), ("other", "accept a licence")])
def test_a_gated_model_is_explained(
    get: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, token: str, sentence: str
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.gated.add(REPO)
    with pytest.raises(AccessError, match=sentence) as refused:
        get()
    assert f"huggingface.co/{REPO}" in str(refused.value)


def test_no_room_is_said_before_anything_is_fetched(get: Fetch, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
    with pytest.raises(DiskFullError, match="no room"):
        get()
    assert hub.sent(FILE) == 0


def test_a_disk_that_fills_up_is_a_sentence_and_goes_on(get: Fetch, hub: FakeHub, root: Path) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no limit on the size of files here")
    import resource
    import signal

    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(NutshellError, match=r"cannot be written|full"):
            get()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)
    assert partials(root)[0].stat().st_size == 1_000_000
    before = hub.sent(FILE)
    assert get().read_bytes() == CONTENT
    assert hub.sent(FILE) - before == len(CONTENT) - 1_000_000


def test_a_file_that_another_program_fetches_is_left_alone(
    get: Fetch, hub: FakeHub, root: Path, network: Network
) -> None:
    (file,) = open_repository(REPO, network=network).files
    place = file_place(root, REPO, COMMIT, FILE, file.etag)
    place.blob.parent.mkdir(parents=True)
    with locked(place), pytest.raises(ConflictError, match="Another program"):
        get()
    assert hub.sent(FILE) == 0
    assert get().read_bytes() == CONTENT


def test_switched_off_in_the_middle_nothing_more_is_asked(get: Fetch, hub: FakeHub, network: Network) -> None:
    hub.faults[FILE].append(Fault(cut=500_000))

    def told(_: Moved) -> None:
        network.offline = True

    with pytest.raises(OfflineError):
        get(told=told)
    assert hub.sent(FILE) <= 500_000


def test_files_come_side_by_side_and_small_ones_are_checked_as_git_does(
    get: Fetch, hub: FakeHub, root: Path, network: Network
) -> None:
    for part in range(5):
        hub.put(REPO, f"model-{part}.safetensors", CONTENT[part : part + 100_000])
    hub.put(REPO, "config.json", b'{"a": 1}', small=True)
    told: list[Moved] = []
    folder = get(told=told.append)
    assert folder.is_dir()
    for path, content in hub.files[REPO].items():
        assert (folder / path).read_bytes() == content
    assert told[-1].done == sum(map(len, hub.files[REPO].values()))
    hub.faults["config.json"].extend([Fault(flip=True)] * 2)
    remove_snapshot(root, folder)
    with pytest.raises(DamagedDownloadError):
        get("config.json")


def test_a_write_that_the_disk_loses_is_not_forgotten(
    get: Fetch, hub: FakeHub, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "fdatasync"):
        pytest.skip("no such call here")

    def lost(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(partial, "_SYNC_EVERY", 1 << 20)
    monkeypatch.setattr(partial.os, "fdatasync", lost)
    with pytest.raises(StorageError, match="cannot be written"):
        get()
    assert not list(huggingface(root))


def test_a_failure_of_one_file_stops_the_others(get: Fetch, hub: FakeHub) -> None:
    hold = threading.Event()
    hub.put(REPO, "other.gguf", CONTENT[::-1])
    hub.faults[FILE].append(Fault(length=5))
    hub.faults["other.gguf"].append(Fault(drip=1000, pause=0.01))
    with pytest.raises(DamagedDownloadError):
        get()
    hold.set()
    assert hub.sent("other.gguf") < len(CONTENT)


def test_a_limit_holds_all_files_to_a_rate() -> None:
    pace, stop = Pace(1_000_000), threading.Event()
    waits: list[float] = []
    stop.wait = lambda timeout=None: waits.append(timeout or 0.0) or False  # type: ignore[method-assign]
    for _ in range(10):
        pace.take(100_000, stop)
    assert 0.5 < waits[-1] <= 1.0  # a second's worth, of which a quarter may come at once
    pace.set(0)
    pace.take(10**9, stop)
    assert len(waits) <= 10


def test_deleting_frees_what_nothing_else_names(get: Fetch, hub: FakeHub, root: Path) -> None:
    hub.put(REPO, "second.gguf", CONTENT[:1000])
    hub.put(REPO, "config.json", b"{}", small=True)
    path = get(FILE)
    get("second.gguf")
    twin = path.parent.parent / ("d" * 40) / FILE  # an older revision with the same file
    twin.parent.mkdir()
    twin.symlink_to(os.path.relpath(path.resolve(), twin.parent))
    assert remove_snapshot(root, path.parent, path) == 0
    assert twin.read_bytes() == CONTENT
    assert remove_snapshot(root, twin.parent) == len(CONTENT)
    assert remove_snapshot(root, path.parent) == 1000
    assert not (root / "models--someone--tiny-GGUF").exists()


def test_only_what_is_in_the_cache_is_deleted(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "file").write_text("kept")
    with pytest.raises(NutshellError, match="not a model of"):
        remove_snapshot(root, other)
    assert (other / "file").exists()


def test_where_a_model_is(network: Network, hub: FakeHub, root: Path) -> None:
    hub.put(REPO, "model.safetensors", b"x")
    hub.put(REPO, FILE, b"y")
    files = open_repository(REPO, network=network).files
    assert model_path(Wanted(REPO, COMMIT, files[:1]), root).name == COMMIT
    assert model_path(Wanted(REPO, COMMIT, files[1:]), root).name == FILE
