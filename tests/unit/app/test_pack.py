"""`nutshell pack`: options, words, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import cli
from app.commands import pack
from backend.quantize import recipes
from tests.formats.tiny_hf import weights, write_folder


def test_the_words_of_the_command_are_those_of_the_packer() -> None:
    # written twice, so that --help needs no numpy
    assert pack._SCHEMES == recipes.SCHEMES
    assert pack._HEADS == recipes.HEAD_SCHEMES


def test_it_packs_and_says_what_the_build_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folder(tmp_path / "source", weights())
    assert cli.run_command(["pack", str(source), str(tmp_path / "out"), "--scheme", "q4", "--head", "f16"]) == 0
    told = capsys.readouterr()
    assert "without calibration data" in told.err
    said = told.out
    assert "data-free" in said
    assert "model.layers.1.mlp.down_proj" in said
    assert "bits per weight in the layers" in said
    assert (tmp_path / "out.nutshell").is_file()


def test_failures_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command(["pack", str(tmp_path / "no.gguf"), str(tmp_path / "out"), "--scheme", "q4"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nutshell: ")
    assert "Traceback" not in said
    assert cli.run_command(["pack", "a", "b", "--scheme", "q9"]) == 2
    assert cli.run_command(["pack", "a", "b"]) == 2


def test_an_interruption_is_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.quantize import quick

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quick, "pack_model", interrupt)
    assert cli.run_command(["pack", "a", "b", "--scheme", "q4"]) == 130
