"""What a hub says about its repositories, by the real client, with answers that make no sense among them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from backend.api.errors import AccessError, NetworkError, NotFoundError, OfflineError
from backend.config.settings import Settings
from backend.hub.choices import choices, choose
from backend.hub.network import Network, obey
from backend.hub.remote import open_repository, search
from tests.fakes.hub import COMMIT, FakeHub, Fault, git_sha1

REPO = "someone/tiny-GGUF"


def test_a_repository_has_a_commit_files_and_their_checksums(hub: FakeHub, network: Network) -> None:
    large = hub.put(REPO, "tiny-Q4_K_M.gguf", b"GGUF" * 100)
    small = hub.put(REPO, "config.json", b"{}", small=True)
    found = open_repository(REPO, network=network)
    assert (found.commit, found.licence, found.gated) == (COMMIT, "apache-2.0", False)
    files = {file.path: file for file in found.files}
    assert files["tiny-Q4_K_M.gguf"].sha256 == files["tiny-Q4_K_M.gguf"].etag == hashlib.sha256(large).hexdigest()
    assert (files["config.json"].etag, files["config.json"].sha256) == (git_sha1(small), "")
    assert [call.host for call in network.calls()] == ["127.0.0.1"]


def test_what_is_asked_says_nothing_about_this_machine(hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "a.gguf", b"x")
    open_repository(REPO, network=network)
    assert all("torch" not in one.agent and not one.token for one in hub.asked)


def test_offline_nothing_is_asked(hub: FakeHub, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(REPO, "a.gguf", b"x")
    network.offline = True
    with pytest.raises(OfflineError, match="offline"):
        open_repository(REPO, network=network)
    network.offline = False
    network.allow("models", False)
    with pytest.raises(OfflineError, match="switched off"):
        search("tiny", network=network)
    network.allow("models", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(OfflineError):
        open_repository(REPO, network=network)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["no-slash", "a/b/c", "../x", "a/..", "a b/c", "", "a/" + "x" * 200])
def test_what_is_no_name_is_not_asked_for(hub: FakeHub, network: Network, name: str) -> None:
    with pytest.raises(NotFoundError, match="not the name"):
        open_repository(name, network=network)
    assert hub.asked == []


@pytest.mark.parametrize(
    "path",
    ["../../.bashrc", "/etc/passwd", "a/../b.gguf", "C:\\x.gguf", "con.gguf", "a\nb.gguf", "x" * 300, "a//b", "z."],
)
def test_names_that_would_leave_the_cache_are_refused(hub: FakeHub, network: Network, path: str) -> None:
    hub.put(REPO, path, b"x")
    with pytest.raises(NetworkError, match="makes no sense"):
        open_repository(REPO, network=network)


@pytest.mark.parametrize(
    "spoil", [{"sha": "../x"}, {"siblings": [{"rfilename": "a.gguf", "size": -1, "blobId": "0" * 40}]},
              {"siblings": [{"rfilename": "a.gguf", "size": 1, "blobId": "../../x"}]},
              {"siblings": [{"rfilename": "a.gguf"}]}]
)  # fmt: skip
def test_answers_that_make_no_sense_are_a_sentence(hub: FakeHub, network: Network, spoil: dict[str, object]) -> None:
    hub.put(REPO, "a.gguf", b"x")
    hub.spoil = spoil
    with pytest.raises(NetworkError, match="makes no sense"):
        open_repository(REPO, network=network)


def test_refusals_are_sentences(hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "a.gguf", b"x")
    with pytest.raises(NotFoundError, match="no repository someone/else"):
        open_repository("someone/else", network=network)
    hub.info_faults.append(Fault(status=429))
    with pytest.raises(NetworkError, match="too many requests"):
        open_repository(REPO, network=network)
    hub.info_faults.append(Fault(status=500))
    with pytest.raises(NetworkError, match="500"):
        open_repository(REPO, network=network)
    hub.info_faults.append(Fault(status=401))
    with pytest.raises((AccessError, NotFoundError)):
        open_repository(REPO, network=network)


def test_a_hub_that_is_not_there_is_a_sentence(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub() as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.endpoint)
    with pytest.raises(NetworkError, match="cannot be reached"):
        open_repository(REPO, network=network)


def test_search_finds_by_name(hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "a.gguf", b"x")
    hub.put("other/thing", "a.gguf", b"x")
    assert search("tiny", network=network) == [(REPO, 10, 1, 0)]


def test_a_repository_offers_its_models_smallest_first(hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "tiny-Q8_0.gguf", b"x" * 80)
    hub.put(REPO, "tiny-Q4_K_M.gguf", b"x" * 40)
    for part in (1, 2):
        hub.put(REPO, f"F16/tiny-F16-0000{part}-of-00002.gguf", b"x" * 100)
    hub.put(REPO, "tiny-BF16-00001-of-00002.gguf", b"half of it is not there")
    hub.put(REPO, "mmproj-tiny.gguf", b"x")
    hub.put(REPO, "evil.bin", b"x")
    found = choices(open_repository(REPO, network=network))
    assert [(one.name, one.bytes, len(one.files)) for one in found] == [
        ("Q4_K_M", 40, 1), ("Q8_0", 80, 1), ("F16", 200, 2),
    ]  # fmt: skip


def test_safetensors_come_with_what_they_need_and_without_code_or_pickles(hub: FakeHub, network: Network) -> None:
    for name in (
        *("config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "modeling_evil.py", "pytorch_model.bin", "adapter_model.safetensors"),
        *("training_args.bin", "README.md"),
    ):
        hub.put(REPO, name, b"x")
    (found,) = choices(open_repository(REPO, network=network))
    assert found.name == "safetensors"
    assert [file.path for file in found.files] == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json",
    ]  # fmt: skip


def test_a_choice_is_found_by_name_file_or_part(hub: FakeHub, network: Network) -> None:
    for name in ("tiny-Q4_K_M.gguf", "tiny-Q4_K_S.gguf"):
        hub.put(REPO, name, b"x")
    repository = open_repository(REPO, network=network)
    assert [one.name for one in choose(repository, "Q4_K_M")] == ["Q4_K_M"]
    assert [one.name for one in choose(repository, "tiny-Q4_K_S.gguf")] == ["Q4_K_S"]
    assert len(choose(repository, "q4")) == 2
    assert choose(repository, "Q8") == []


def test_the_settings_hold_for_the_network(hub: FakeHub, network: Network, tmp_path: Path) -> None:
    hub.put(REPO, "a.gguf", b"x")
    settings = Settings(tmp_path / "settings.json", {"offline": True})
    obey(settings, network)
    with pytest.raises(OfflineError):
        open_repository(REPO, network=network)
    settings.offline, settings.network_models = False, False
    obey(settings, network)
    with pytest.raises(OfflineError, match="switched off"):
        open_repository(REPO, network=network)
    settings.network_models = True
    obey(settings, network)
    assert open_repository(REPO, network=network).files


def test_a_list_that_never_ends_is_given_up(hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "a.gguf", b"x")
    hub.next_page = f"{hub.endpoint}/api/models?search=nothing-of-that-name"
    with pytest.raises(NetworkError, match="does not end"):
        search("tiny", network=network)
    assert len(hub.asked) == 8
    hub.next_page = ""
    hub.asked.clear()
    assert len(search("tiny", network=network)) == 1, "the next search is counted anew"
