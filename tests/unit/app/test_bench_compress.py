"""`nutshell bench compress`: rows, what is left out, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from app.benchmarks import compress

pytestmark = pytest.mark.model

KEYS = {
    "build", "bits", "bits_all", "file_mb", "kl", "kl_error", "kl_p99", "top1", "ppl", "ppl_source", "bits_per_byte",
    "text", "tokens", "seconds",
}  # fmt: skip


@pytest.fixture
def command(tiny_gguf: Path, tiny_pack: Path) -> list[str]:
    options = ["--tokens", "1024", "--calibration-tokens", "1024", "--threads", "2", "--json"]
    return ["bench", "compress", "--model", str(tiny_gguf), "--build", str(tiny_pack), *options]


def test_rows(command: list[str], tiny_pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command([*command, "--types", "q2_k"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    rows = found["rows"]
    assert [(row["build"], row["text"]) for row in rows] == [
        ("Q2_K", "code"),
        (tiny_pack.name, "code"),
        ("Q2_K", "prose"),
        (tiny_pack.name, "prose"),
    ]
    for row in rows:
        assert row.keys() >= KEYS
        assert row["tokens"] == 767
    peer, ours = rows[:2]
    assert peer["bits"] < ours["bits"]
    assert peer["kl"] > 10 * ours["kl"]
    assert peer["ppl_source"] == ours["ppl_source"]
    assert sum(peer["types"].values()) == pytest.approx(1, abs=1e-3)
    assert peer["same_grid"] == 0
    assert "Q2_K" in out
    assert found["left_out"] == []


def test_what_lies_on_the_sources_own_grid_is_left_out(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compress, "same_type", lambda *_: 0.7)
    assert cli.run_command([*command, "--types", "Q2_K", "--text", "code"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])
    assert [row["build"] for row in found["rows"]] != ["Q2_K"]
    assert found["left_out"] == [{"build": "Q2_K", "why": "70 % of its weights lie on the source's own grid"}]
    assert "left out: Q2_K" in out


def test_without_peers(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command([*command, "--types", "none", "--text", "prose"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found["rows"]) == 1


def test_unknown_types(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command([*command, "--types", "Q9_Z"]) == 1
    assert "Q9_Z is not one of" in capsys.readouterr().err


def test_a_build_that_cannot_be_opened_does_not_cost_the_others(
    command: list[str], tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half.nutshell"
    half.write_bytes(tiny_pack.read_bytes()[:-64])
    command[command.index("--build") : command.index("--build")] = ["--build", str(half)]
    assert cli.run_command([*command, "--types", "none", "--text", "code"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["build"] for row in found["rows"]] == [tiny_pack.name]
    assert [one["build"] for one in found["left_out"]] == ["half.nutshell"]
