"""`nutshell token`, as a person types it."""

from __future__ import annotations

import io
import sys

import pytest

from app.cli import run_command
from backend.hub import account
from backend.hub.keychain import Vault
from tests.fakes.hub import FakeHub
from tests.unit.hub.test_account import Ring


def test_set_status_forget(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ring = Ring()
    monkeypatch.setattr(account, "vault", lambda: (Vault("Test ring", ring), ""))
    monkeypatch.setattr(account, "_remembered", account._Remembered())
    assert run_command(["token"]) == 0
    assert "no token" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("hf_0123456789\n"))
    assert run_command(["token", "set"]) == 0
    assert list(ring.kept.values()) == ["hf_0123456789"]
    assert run_command(["token", "status"]) == 0
    told = capsys.readouterr()
    assert f"Test ring). It is sent to {hub.endpoint} only." in told.out
    assert "0123" not in told.out + told.err
    assert run_command(["token", "forget"]) == 0
    assert not ring.kept


def test_without_a_keyring_it_fails_with_the_way_out(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hf_0123456789\n"))
    assert run_command(["token", "set"]) == 1
    told = capsys.readouterr().err
    assert "hf auth login" in told
    assert "0123" not in told


def test_it_is_never_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["token", "set", "hf_0123456789"]) == 2
