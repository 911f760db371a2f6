"""`nutshell export`: options, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from app.commands import export
from backend.formats import hf_export
from tests.formats.test_hf_export import build, mixed


def test_the_formats_of_the_command_are_those_of_the_exporter() -> None:
    assert export._FORMATS == hf_export.FORMATS  # written twice, so that --help needs no numpy


def test_it_writes_a_folder_and_says_what_became_of_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(tmp_path / "a.nutshell", mixed)
    assert cli.run_command(["export", str(path), str(tmp_path / "out"), "--format", "hf-aqlm"]) == 0
    said = capsys.readouterr().out
    assert "12 linears as they are stored, 3 as 16-bit numbers" in said
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert cli.run_command(["export", str(path), str(tmp_path / "b"), "--format", "hf-aqlm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["widened"] == ["model.layers.1.mlp.up_proj"]


def test_failures_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build(tmp_path / "a.nutshell", mixed)
    assert cli.run_command(["export", str(path), str(tmp_path), "--format", "hf-aqlm"]) == 1
    assert capsys.readouterr().err.startswith("nutshell: ")
    assert cli.run_command(["export", str(tmp_path / "no.nutshell"), str(tmp_path / "b"), "--format", "hf-aqlm"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nutshell: ")
    assert "Traceback" not in said
    assert cli.run_command(["export", str(path), str(tmp_path / "b"), "--format", "gguf"]) == 2
