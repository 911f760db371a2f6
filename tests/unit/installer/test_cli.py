"""The commands as a person types them, in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from installer import cli, locations
from installer.catalogue import BuiltinModel

ROOT = Path(__file__).resolve().parents[3]
NO_DISPLAY = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "QT_QPA_PLATFORM": None}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the installer needs of a clone, with a program that prints its arguments."""
    shutil.copytree(ROOT / "installer", tmp_path / "clone" / "installer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "models_catalog", tmp_path / "clone" / "models_catalog")
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "clone")
    (tmp_path / "clone" / "app").mkdir()
    (tmp_path / "clone" / "app" / "__main__.py").write_text("import sys; print('app', sys.argv[1:])", encoding="utf-8")
    return tmp_path / "clone"


def installer(
    clone: Path, *arguments: str, answer: str = "", env: dict[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    changed: dict[str, str | None] = {
        "NUTSHELL_CACHE_DIR": str(clone.parent / "cache"),
        "NUTSHELL_DATA_DIR": str(clone.parent / "data"),
        "PYTHONPATH": None,
        "NUTSHELL_GUARD_REPORT": None,
        **(env or {}),
    }
    environment = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-m", "installer", *arguments],
        cwd=clone,
        input=answer,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def make_ready(clone: Path) -> None:
    """As if a set-up had finished: the stamp, the model's file (a hole of the right size), a Python."""
    code = (
        "from installer.stamp import Stamp, wanted_keys; stamp = Stamp(); "
        "[stamp.finish(step, key) for step, key in wanted_keys().items()]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    module = clone / locations.NATIVE_KERNELS.relative_to(ROOT)
    module.parent.mkdir(parents=True)
    module.touch()
    models = clone.parent / "cache" / "models"
    models.mkdir(parents=True)
    model = BuiltinModel.read()
    with (models / model.file).open("wb") as out:
        out.truncate(model.size)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_no_display_is_said_at_once_and_the_terminal_is_offered(clone: Path) -> None:
    done = installer(clone, "run", env=NO_DISPLAY)
    assert done.returncode == 2
    assert "no display" in done.stderr
    assert "python3 -m installer run ask" in done.stderr
    assert "python3 -m installer run chat" in done.stderr
    assert done.stdout == ""
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "window"),
    [([], True), (["--portable"], True), (["ask", "why"], False), (["chat"], False), (["--version"], False)],
)
def test_which_arguments_open_the_window(arguments: list[str], window: bool) -> None:
    assert cli.wants_window(arguments) is window


def test_terminal_commands_are_the_programs_own() -> None:
    """A new command of the program must be known here, or `run` asks for a display in vain."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("ask", "chat", "models", "serve", "hardware", "bench"):
        assert name in done.stdout
        assert not cli.wants_window([name])


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_a_set_up_program_starts_at_once_with_its_arguments(clone: Path) -> None:
    make_ready(clone)
    # the time that the installer adds: with it, less without it; the best of some, since other programs run too
    with_it, without = [], []
    for _ in range(5):
        began = time.perf_counter()
        done = installer(clone, "run", "ask", "two words", "--json")
        with_it.append(time.perf_counter() - began)
        assert (done.returncode, done.stdout, done.stderr) == (0, "app ['ask', 'two words', '--json']\n", "")
        began = time.perf_counter()
        subprocess.run([clone / ".venv/bin/python", "-m", "app"], cwd=clone, capture_output=True, check=True)
        without.append(time.perf_counter() - began)
    assert min(with_it) - min(without) < 0.3


@pytest.mark.skipif(os.name == "nt", reason="symbolic links")
def test_starting_imports_nothing_that_only_a_set_up_needs(clone: Path) -> None:
    make_ready(clone)
    code = (
        "import os, sys; from installer import cli, locations; "
        "os.execv = lambda *words: print(sorted(set(sys.modules) & {'subprocess', 'zipfile', 'tarfile', 'argparse', "
        "'installer.steps', 'installer.system', 'importlib.metadata'})); cli.main(['run', 'ask'])"
    )
    env = {**os.environ, "NUTSHELL_CACHE_DIR": str(clone.parent / "cache")}
    env.pop("PYTHONPATH", None)  # the socket guard of the tests imports much itself
    done = subprocess.run([sys.executable, "-c", code], cwd=clone, env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_uninstall_asks_and_keeps_conversations(clone: Path) -> None:
    for folder in (clone / ".venv", clone.parent / "cache", clone.parent / "data"):
        folder.mkdir()
    done = installer(clone, "uninstall", answer="\n")
    assert done.returncode == 1
    assert "Nothing was removed." in done.stdout
    assert (clone / ".venv").exists()
    done = installer(clone, "uninstall", answer="y\n")
    assert done.returncode == 0, done.stderr
    assert not (clone / ".venv").exists()
    assert not (clone.parent / "cache").exists()
    assert (clone.parent / "data").exists()
    assert str(clone.parent / "data") in done.stdout


def test_unknown_command(clone: Path) -> None:
    done = installer(clone, "rnu")
    assert done.returncode == 2
    assert "Unknown command: rnu." in done.stderr
    assert "run [args...]" in done.stderr


@pytest.mark.parametrize("arguments", [["add"], ["add", "speed"], ["setup", "--all"], ["lock", "base"], ["check", "x"]])
def test_wrong_arguments_change_nothing(clone: Path, arguments: list[str]) -> None:
    done = installer(clone, *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (clone / ".venv").exists()


def test_an_old_python_gets_a_sentence() -> None:
    code = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_module('installer', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Nutshell needs Python 3.11 or newer and this is Python 3.9.")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(clone: Path) -> None:
    (clone.parent / "cache").mkdir(mode=0o555)
    done = installer(clone, "setup")
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_folder_that_is_a_file(clone: Path) -> None:
    (clone.parent / "cache").touch()
    done = installer(clone, "setup")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
