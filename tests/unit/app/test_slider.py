"""`nutshell slider`, and positions of other commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from backend.formats.pack import PackCheckpoint


def test_the_positions_of_a_build(slider_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command(["slider", str(slider_pack)]) == 0
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()[2:]]
    assert lines[0][:2] == ["POSITION", "SIZE"]
    assert (lines[1][0], lines[-1][0]) == ("0.000", "1.000")
    assert lines[1][3].endswith("*")
    assert sum("default" in line for line in lines) == 1
    assert cli.run_command(["slider", str(slider_pack), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    slider = PackCheckpoint(slider_pack).slider
    assert slider is not None
    assert found["upgrades"] == slider.last
    assert [row["bytes"] for row in found["positions"]] == [slider.bytes[row["upgrades"]] for row in found["positions"]]
    assert [row["upgrades"] for row in found["positions"] if row["measured"]] == [0, slider.last]


def test_what_cannot_be_shown_or_polished_is_a_sentence(
    slider_pack: Path, tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, word in (
        ([str(tiny_pack)], "no slider"),
        ([str(tmp_path / "none.nutshell")], "There is no file"),
        ([str(slider_pack), "--polish", "0.5"], "--reference"),
    ):
        assert cli.run_command(["slider", *arguments]) == 1
        assert word in capsys.readouterr().err
    assert cli.run_command(["slider", str(slider_pack), "--polish", "1.5"]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_measure_at_a_position(
    slider_pack: Path, tiny_pack: Path, tiny_gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"{n}. The storm near the lighthouse, winter {n * 37 % 101}." for n in range(60)), "utf-8")
    rest = ["--reference", str(tiny_gguf), "--text", str(text), "--tokens", "1024", "--json"]
    found = {}
    for position in ("0", "1"):
        assert cli.run_command(["measure", str(slider_pack), "--position", position, *rest]) == 0
        found[position] = json.loads(capsys.readouterr().out)
    assert found["0"]["kl_mean"] > 10 * found["1"]["kl_mean"]
    assert found["0"]["bits_per_weight"] < found["1"]["bits_per_weight"]
    # a position's share of the file, as if it were one of its own
    assert found["0"]["file_bytes"] < found["1"]["file_bytes"] < slider_pack.stat().st_size
    assert cli.run_command(["measure", str(tiny_pack), "--position", "0.5", *rest]) == 1
    assert "no slider" in capsys.readouterr().err
