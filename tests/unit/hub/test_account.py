"""The hub's token: which one, where it lies, and that it reaches one machine only."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.api.errors import InvalidRequestError, StorageError
from backend.api.hub_schemas import NewToken
from backend.config.paths import paths
from backend.hub import account, keychain
from backend.hub.fetch import Wanted, download
from backend.hub.keychain import SWITCH, Vault, vault
from backend.hub.network import Network
from backend.hub.remote import open_repository, search
from tests.fakes.hub import FakeHub

REPO = "someone/tiny-GGUF"
SECRET = "accepted"
OTHER = "https://huggingface.co"


class Ring:
    """A keyring in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.read = 0
        self.broken: Exception | None = None
        self.hold: threading.Event | None = None

    def get_password(self, service: str, username: str) -> str | None:
        self.read += 1
        if self.hold is not None:
            self.hold.wait(30)
        if self.broken is not None:
            raise self.broken
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.broken is not None:
            raise self.broken
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


@pytest.fixture
def ring(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    ring = Ring()
    monkeypatch.setattr(account, "vault", lambda: (Vault("Test ring", ring), ""))
    monkeypatch.setattr(account, "_remembered", account._Remembered())
    yield ring
    if ring.hold is not None:
        ring.hold.set()


def files_with(secret: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_token_is_kept_used_and_forgotten(ring: Ring, hub: FakeHub, network: Network, tmp_path: Path) -> None:
    hub.put(REPO, "tiny-Q4_K_M.gguf", b"GGUF" * 1000)
    hub.gated.add(REPO)
    assert account.state().source == "none"
    assert ring.read == 0  # who has none is not asked to unlock anything
    info = account.keep(f" {SECRET}\n")
    assert (info.source, info.keyring, info.endpoint) == ("keyring", "Test ring", hub.endpoint)
    found = open_repository(REPO, network=network)
    download(Wanted(REPO, found.commit, found.files), root=tmp_path / "hub", network=network)
    assert {one.token for one in hub.asked if one.server == "hub"} == {f"Bearer {SECRET}"}
    assert {one.token for one in hub.asked if one.server == "cdn"} == {""}
    assert ring.read == 1
    assert not files_with(SECRET, tmp_path)
    assert account.forget().source == "none"
    assert not ring.kept
    assert account.token() is None
    assert account.forget().source == "none"  # a second time


def test_the_environment_goes_first_and_a_login_last(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    login.write_text("of-the-login")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(login))
    assert (account.token(), account.state().source) == ("of-the-login", "login")
    account.keep("of-the-ring")
    assert (account.token(), account.state().source) == ("of-the-ring", "keyring")
    monkeypatch.setenv("HF_TOKEN", "of-the-environment")
    assert (account.token(), account.state().source) == ("of-the-environment", "environment")


def test_a_mirror_does_not_get_the_token_of_another_hub(
    ring: Ring, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, network: Network
) -> None:
    hub.put(REPO, "a.gguf", b"x")
    monkeypatch.setenv("HF_ENDPOINT", OTHER)
    account.keep("hf_for_the_real_one")
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    open_repository(REPO, network=network)
    assert {one.token for one in hub.asked} == {""}
    assert (account.token(), account.state().source) == (None, "none")
    monkeypatch.setenv("HF_ENDPOINT", OTHER)
    assert account.token() == "hf_for_the_real_one"


def test_the_next_page_of_a_list_on_another_host_gets_no_token(ring: Ring, hub: FakeHub, network: Network) -> None:
    hub.put(REPO, "a.gguf", b"x")
    account.keep(SECRET)
    hub.next_page = f"{hub.cdn}/api/models?cursor=1"
    search("tiny", network=network)
    tokens = {one.server: one.token for one in hub.asked}
    assert tokens == {"hub": f"Bearer {SECRET}", "cdn": ""}


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://huggingface.co/api/models", True),
        ("https://HUGGINGFACE.co:443/x", True),
        ("http://huggingface.co/x", False),
        ("https://huggingface.co:8443/x", False),
        ("https://cdn-lfs.huggingface.co/x", False),
        ("https://huggingface.co.evil.example/x", False),
        ("https://huggingface.co@evil.example/x", False),
    ],
)
def test_which_addresses_may_have_it(monkeypatch: pytest.MonkeyPatch, url: str, *, may: bool) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert account.may_carry(url) is may


@pytest.mark.parametrize(
    "text", ["", "hf_x", "two words here", "hf_abc\r\nHost: evil", "hf_" + "x" * 600, "hf_\u00e4" * 9]
)
def test_what_is_no_token_is_not_kept(ring: Ring, text: str) -> None:
    with pytest.raises(InvalidRequestError, match="not an access token"):
        account.keep(text)
    assert not ring.kept


def test_no_token_travels_unencrypted(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example")
    with pytest.raises(InvalidRequestError, match="without encryption"):
        account.keep("hf_0123456789")
    assert not ring.kept


def test_without_a_keyring_nothing_is_written(hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="HF_TOKEN") as refused:
        account.keep("hf_0123456789")
    assert SWITCH in refused.value.why
    assert not files_with("hf_0123456789", tmp_path)
    assert not paths().data.exists()
    info = account.state()
    assert (info.source, info.keyring) == ("none", "")
    assert SWITCH in info.why


def test_a_machine_without_a_secret_service_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(keychain.sys, "platform", "linux")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/at/all")
    found, why = vault()
    assert found is None
    assert "Secret Service" in why


def test_a_locked_keyring_is_a_sentence_and_is_asked_again(ring: Ring, caplog: pytest.LogCaptureFixture) -> None:
    account.keep(SECRET)
    ring.broken = RuntimeError(f"locked, {SECRET}")
    account._remembered.key = None
    assert account.token() is None
    assert account.token() is None
    read = ring.read
    info = account.state()
    assert ring.read == read + 1
    assert info.source == "none"
    assert "Unlock it" in info.why
    with pytest.raises(StorageError) as refused:
        account.keep("hf_0123456789")
    assert SECRET not in f"{refused.value}{refused.value.details}{caplog.text}"
    ring.broken = None
    assert account.state().source == "keyring"


def test_a_dialog_that_nobody_sees_does_not_hold_up(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    account.keep(SECRET)
    monkeypatch.setattr(keychain, "PATIENCE_S", 0.05)
    ring.hold = threading.Event()
    account._remembered.key = None
    assert account.token() is None
    assert "did not answer" in account.state().why


def test_another_process_that_changes_it_is_noticed(ring: Ring) -> None:
    account.keep("hf_0123456789")
    assert account.token() == "hf_0123456789"
    ring.kept[keychain.SERVICE, account.endpoint()] = "hf_9876543210"
    note = paths().data / account._NOTED
    import os

    os.utime(note, ns=(1, 1))
    assert account.token() == "hf_9876543210"


@pytest.mark.parametrize("text", ["{}", "null", "[1, {}]", "\x00", "[" * 100_000])
def test_a_damaged_note_is_no_note(ring: Ring, text: str) -> None:
    account.keep(SECRET)
    (paths().data / account._NOTED).write_text(text)
    assert account.token() is None


def test_a_token_is_not_in_what_python_prints() -> None:
    new: Any = NewToken(token="hf_0123456789")
    assert "0123" not in f"{new} {new!r} {[new]}"
