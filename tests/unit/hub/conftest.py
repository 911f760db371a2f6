"""A hub on loopback for the tests of what is fetched from one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.hub.network import Network
from tests.fakes.hub import FakeHub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield fake


@pytest.fixture
def network() -> Network:
    return Network(silence_s=1.0)
