"""`nutshell compress`: options, words, exit codes."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from app import cli
from app.commands import compress
from app.commands.options import byte_count
from backend.quantize.options import LEVELS, TUNINGS, Progress
from backend.quantize.recipes import HEAD_SCHEMES
from installer.cli import wants_window
from tests.formats.tiny_hf import weights, write_folder

SMALL = ("--tokens", "256", "--sequence", "32", "--threads", "1", "--memory", "4G")


def test_the_words_of_the_command_are_those_of_the_compressor() -> None:
    # written twice, so that --help needs no numpy
    assert compress._LEVELS == LEVELS
    assert compress._TUNINGS == TUNINGS
    assert compress._HEADS == HEAD_SCHEMES
    assert not wants_window(["compress", "a", "b"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "source", weights())


@pytest.fixture
def _random_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")
    from backend.quantize import compress as compressor
    from tests.unit.quantize.compressing import random_texts

    monkeypatch.setattr(compressor, "read_texts", random_texts)


@pytest.mark.usefixtures("_random_text")
def test_it_compresses_and_says_what_the_build_is(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run_command(["compress", str(source), str(tmp_path / "out"), "--level", "spqr-3", *SMALL]) == 0
    said = capsys.readouterr().out
    assert "model.layers.1.mlp.down_proj" in said
    assert "bits per weight in the layers" in said
    assert "perplexity" in said
    assert (tmp_path / "out.nutshell").is_file()


@pytest.mark.usefixtures("_random_text")
def test_json(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compress", str(source), str(tmp_path / "out"), "--level", "q8", "--json", *SMALL]
    assert cli.run_command(command) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["path"] == str(tmp_path / "out.nutshell")
    assert len(built["rows"]) == 16
    assert built["rows"][3]["level"] == "q8"


@pytest.mark.usefixtures("_random_text")
def test_an_interruption_keeps_the_work_and_is_130(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = compress._Line.tell

    def interrupted(line: compress._Line, now: Progress) -> bool:
        if now.module.endswith("layers.1.mlp.up_proj"):
            signal.raise_signal(signal.SIGINT)
        return show(line, now)

    command = ["compress", str(source), str(tmp_path / "out"), "--level", "q8", *SMALL]
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(compress._Line, "tell", interrupted)
        assert cli.run_command(command) == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "the same command goes on" in capsys.readouterr().err
    assert not (tmp_path / "out.nutshell").exists()
    assert list((tmp_path / "out.nutshell.work").glob("*layers.0*"))
    assert cli.run_command(command) == 0
    assert (tmp_path / "out.nutshell").is_file()


def test_a_plan_makes_nothing(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compress", str(source), str(tmp_path / "out"), "--level", "aqlm-2x8", "--level", "q8", "--plan"]
    assert cli.run_command(command) == 0
    said = capsys.readouterr().out
    assert "aqlm-2x8" in said
    assert "7 billion" in said
    assert cli.run_command([*command, "--json"]) == 0
    assert [one["level"] for one in json.loads(capsys.readouterr().out)["levels"]] == ["aqlm-2x8", "q8"]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_without_torch_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert cli.run_command(["compress", "a", str(tmp_path / "b"), "--level", "q8"]) == 1
    assert "installer add compression" in capsys.readouterr().err


def test_failures_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="torch is not installed: nothing can be compressed")
    assert cli.run_command(["compress", str(tmp_path / "no.gguf"), str(tmp_path / "out"), "--level", "q8"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nutshell: ")
    assert "Traceback" not in said
    assert cli.run_command(["compress", "a", "b", "--level", "q9"]) == 2
    assert cli.run_command(["compress", "a", "b"]) == 2
    assert cli.run_command(["compress", "a", "b", "--level", "q8", "--memory", "much"]) == 2


@pytest.mark.parametrize(
    ("text", "expected"), [("4G", 4 << 30), ("1.5 g", 3 << 29), ("800MB", 800 << 20), ("2GiB", 2 << 30), ("77", 77)]
)
def test_sizes(text: str, expected: int) -> None:
    assert byte_count(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-4G", "4T", "0"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        byte_count(text)


def test_the_line_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now: dict[str, Any] = {
        "module": "model.layers.11.mlp.up_proj",
        "level": "aqlm-2x8",
        "rate": 1.25,
        "memory": 2 << 30,
    }
    line = compress._Line()
    assert line.tell(Progress("quantize", 30.0, 120.0, 11, 24, error=0.0421, seconds_left=90.0, **now))
    said = capsys.readouterr().err
    for part in (
        "25 %",
        "12/24",
        "1.2 M weights/s",
        "1 min 30 s left",
        "2.1 GB",
        "error 0.0421",
        "layers.11.mlp.up_proj",
    ):
        assert part in said
    line.stopping = True
    assert not line.tell(Progress("quantize", 31.0, 120.0))
