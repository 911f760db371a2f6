"""The installer's folders are the program's folders, on every system."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from backend.config.paths import paths
from installer import locations


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUTSHELL_CACHE_DIR", "NUTSHELL_DATA_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_same_as_the_program() -> None:
    assert locations.cache_dir() == paths().cache
    assert locations.data_dir() == paths().data


def test_same_as_the_program_when_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", f" {tmp_path / 'kept'} ")
    monkeypatch.setenv("NUTSHELL_DATA_DIR", "~/mine")
    assert locations.cache_dir() == paths().cache == tmp_path / "kept"
    assert locations.data_dir() == paths().data == Path.home() / "mine"


def test_portable_folder_beside_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locations, "ROOT", tmp_path)
    monkeypatch.setattr("backend.config.paths.program_folder", lambda: tmp_path)
    (tmp_path / "portable-data").mkdir()
    assert locations.cache_dir() == paths().cache == tmp_path / "portable-data" / "cache"
    assert locations.data_dir() == paths().data == tmp_path / "portable-data"


@pytest.mark.parametrize("xdg", ["", "relative/cache", "{tmp}/xdg"])
@pytest.mark.parametrize(("system", "folders"), [("linux", Unix), ("darwin", MacOS)])
def test_posix_systems(
    system: str, folders: type[Unix] | type[MacOS], xdg: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", xdg.format(tmp=tmp_path))
    monkeypatch.setattr(locations, "sys", SimpleNamespace(platform=system))
    assert str(locations.cache_dir()) == folders("nutshell", appauthor=False).user_cache_dir
    assert str(locations.data_dir()) == folders("nutshell", appauthor=False).user_data_dir


def test_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locations, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert locations.cache_dir() == tmp_path / "nutshell" / "Cache"
    assert locations.data_dir() == tmp_path / "nutshell"
