"""`nutshell bench download`: it measures both, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.benchmarks import download
from app.cli import run_command
from backend.config.paths import paths
from tests.fakes.hub import FakeHub


@pytest.mark.parametrize("with_curl", [True, False])
def test_it_measures_both_and_leaves_nothing(
    hub: FakeHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    with_curl: bool,
) -> None:
    if with_curl and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    if not with_curl:
        monkeypatch.setattr(download.shutil, "which", lambda _: None)
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    assert run_command(["bench", "download", "--size", "3M", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found["rows"]) == 2
    assert all(row["ours_mb_s"] > 0 for row in found["rows"])
    assert (found["share"] is not None) == with_curl
    assert list(paths().cache.iterdir()) == []
    assert not hub.asked  # the bench has a hub of its own
