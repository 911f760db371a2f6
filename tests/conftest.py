"""What holds for every test (no network, no screen, no file of the person who runs them), and the models they share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.config.paths import paths
from tests import network_guard
from tests.fakes.hub import FakeHub
from tests.formats.tiny_gguf import write_tiny_gguf

SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"

# Before any test module is imported: some read the environment at import, and Qt does when it starts.
network_guard.install()
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_INSTALLED_MODELS = paths().models  # where the installer put them, looked up before the folders are moved
_HOME = tempfile.TemporaryDirectory(prefix="nutshell-tests-", ignore_cleanup_errors=True)
os.environ["NUTSHELL_DATA_DIR"] = str(Path(_HOME.name) / "data")
os.environ["NUTSHELL_CACHE_DIR"] = str(Path(_HOME.name) / "cache")
os.environ["NUTSHELL_KEYRING"] = "off"  # no test reads or writes the passwords of the person who runs it


@pytest.fixture(autouse=True)
def _no_connection_leaves_this_machine() -> Iterator[None]:
    yield
    report = network_guard.take_report()
    assert not report, f"A connection beyond this machine was tried:\n{report}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A model hub on loopback that every part of this process and its children takes for the real one."""
    with FakeHub() as fake:
        monkeypatch.setenv("HF_ENDPOINT", fake.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("NUTSHELL_DATA_DIR", str(tmp_path / "nutshell-data"))  # notes which hubs have a token
        yield fake


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of 126 KB with random weights: Llama architecture, 283 tokens, chat template. Do not change it."""
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The built-in model, from NUTSHELL_TEST_MODELS or where the installer puts it; skips where it is in neither."""
    folders = [
        Path(os.environ.get("NUTSHELL_TEST_MODELS", Path.home() / ".cache" / "nutshell-test-models")),
        _INSTALLED_MODELS,
    ]
    for folder in folders:
        if (folder / SMOLLM2).is_file():
            return folder / SMOLLM2
    pytest.skip(f"the built-in model {SMOLLM2} is not in {' or '.join(str(folder) for folder in folders)}")


@pytest.fixture(scope="session")
def smollm2_pack(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model, its weights rounded to 8 bits, as a file for our own engine. Do not change it."""
    from tests.packs import write_rounded_pack

    return write_rounded_pack(smollm2, tmp_path_factory.mktemp("packs") / "smollm2-q8.nutshell", "q8", name="Smol Q8")


@pytest.fixture(scope="session")
def tiny_pack(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a file for our own engine. Do not change it."""
    from tests.packs import write_rounded_pack

    return write_rounded_pack(tiny_gguf, tmp_path_factory.mktemp("packs") / "tiny-q8.nutshell", "q8", name="Tiny Q8")


@pytest.fixture(scope="session")
def slider_pack(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a slider: q4, q8 and f16. Do not change it."""
    from tests.packs import write_slider_pack

    return write_slider_pack(tiny_gguf, tmp_path_factory.mktemp("packs") / "tiny-slider.nutshell")


@pytest.fixture(scope="session")
def tiny_folder(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with AQLM weights of the tiny model's size and vocabulary. Do not change it."""
    from tests.packs import write_aqlm_folder

    return write_aqlm_folder(tiny_gguf, tmp_path_factory.mktemp("folders") / "tiny-aqlm")
