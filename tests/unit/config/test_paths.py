import subprocess
import sys
from pathlib import Path

import pytest

from backend.config import paths as module
from backend.config.paths import paths


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("NUTSHELL_DATA_DIR", raising=False)
    monkeypatch.delenv("NUTSHELL_CACHE_DIR", raising=False)
    monkeypatch.setattr(module, "program_folder", lambda: tmp_path / "program")


def test_the_environment_wins(monkeypatch, tmp_path):
    (tmp_path / "program" / "portable-data").mkdir(parents=True)
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("NUTSHELL_CACHE_DIR", str(tmp_path / "cache"))
    found = paths()
    assert found.data == tmp_path / "data"
    assert found.database == tmp_path / "data" / "nutshell.db"
    assert found.settings == tmp_path / "data" / "settings.json"
    assert found.logs == tmp_path / "data" / "logs"
    assert found.cache == tmp_path / "cache"
    assert found.models == tmp_path / "cache" / "models"
    assert not found.data.exists()
    assert not found.cache.exists()


def test_a_relative_folder_in_the_environment_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUTSHELL_DATA_DIR", "here")
    assert paths().data == tmp_path / "here"


def test_portable_mode_keeps_everything_beside_the_program(tmp_path):
    portable = tmp_path / "program" / "portable-data"
    portable.mkdir(parents=True)
    found = paths()
    assert found.data == portable
    assert all(path.is_relative_to(portable) for path in found)


def test_only_the_data_folder_named_leaves_the_cache_where_it_was(monkeypatch, tmp_path):
    usual = paths()
    monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "data"))
    assert paths().cache == usual.cache
    assert paths().logs == tmp_path / "data" / "logs"


def test_the_usual_folders_are_the_users_own():
    found = paths()
    assert found.data.is_relative_to(Path.home())
    assert "nutshell" in found.data.parts
    assert found.data != found.cache


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys; import backend.config.paths, backend.config.settings;"
        "print([m for m in ('numpy', 'msgspec', 'sqlite3', 'dataclasses', 'json', 'asyncio', 'logging', 'platformdirs')"
        " if m in sys.modules])"
    )
    root = Path(module.__file__).parents[2]
    out = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
