"""`nutshell folder`, as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli import run_command
from app.models import first_model
from backend.config.paths import paths
from backend.config.settings import Settings
from tests.fakes.hub import FakeHub

REPO = "someone/tiny-GGUF"


def test_where_they_are_there_and_back(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = paths().builds / "mine.nutshell"
    build.parent.mkdir(parents=True)
    build.write_bytes(b"x")
    assert run_command(["folder"]) == 0
    assert f"builds:    {build.parent}" in capsys.readouterr().out
    assert run_command(["folder", "--move", str(tmp_path / "disk")]) == 0
    assert capsys.readouterr().out == "Moved: 1.\n"
    assert (tmp_path / "disk" / "builds" / "mine.nutshell").exists()
    assert run_command(["folder"]) == 0
    assert f"downloads: {tmp_path / 'disk' / 'hub'}" in capsys.readouterr().out
    settings = Settings(tmp_path / "settings.json", {"last_model": str(build)})
    assert first_model("", settings).path == tmp_path / "disk" / "builds" / "mine.nutshell"
    assert run_command(["folder", "--usual"]) == 0
    assert build.exists()


def test_a_download_that_runs_is_not_moved_away(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from backend.api.downloads import Download
    from backend.jobs.download_records import DownloadRecords, Known

    now = time.time()
    one = Download(
        id="a" * 32, repository=REPO, choice="Q4_K_M", revision="main", commit="c" * 40, bytes=1, created_at=now,
        updated_at=now, state="running",
    )  # fmt: skip
    records = DownloadRecords(paths().data / "downloads")
    records.save(Known(download=one, files=[]))
    assert run_command(["folder", "--move", str(tmp_path / "disk")]) == 1
    assert "A download is running. Pause the download" in capsys.readouterr().err
    assert not (tmp_path / "disk").exists()


def test_what_cannot_be_is_a_sentence(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["folder", "--move", " "]) == 1
    assert "no name" in capsys.readouterr().err
    assert run_command(["folder", "--move", "/"]) == 1
