"""`nutshell measure`: options, words, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli

KEYS = {
    "build", "reference", "text", "perplexity", "perplexity_reference", "bits_per_byte", "kl_mean", "kl_p99",
    "kl_error", "top1", "bits_per_weight", "bits_per_weight_all", "file_bytes", "tokens", "context", "unscored",
    "seconds", "reference_seconds",
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"{n}. The storm near the lighthouse, winter {n * 37 % 101}." for n in range(60)), "utf-8")
    return path


def test_one_object(tiny_gguf: Path, tiny_pack: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["measure", str(tiny_pack), "--reference", str(tiny_gguf), "--text", str(text), "--tokens", "1024"]
    assert cli.run_command([*command, "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found.keys() == KEYS
    assert (found["text"], found["tokens"], found["context"], found["unscored"]) == ("text.txt", 767, 1024, 256)
    assert found["build"] == tiny_pack.name
    assert found["file_bytes"] == tiny_pack.stat().st_size
    assert 8 < found["bits_per_weight"] < 9
    assert tiny_pack.name in told.err  # progress is not for the pipe
    assert cli.run_command(command) == 0
    said = capsys.readouterr().out
    assert "perplexity" in said
    assert "same first guess" in said


@pytest.mark.parametrize("name", ["code", "prose"])
def test_the_texts_that_come_along(
    name: str, tiny_gguf: Path, tiny_pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["measure", str(tiny_pack), "--reference", str(tiny_gguf), "--text", name, "--tokens", "1024", "--json"]
    assert cli.run_command(command) == 0
    assert json.loads(capsys.readouterr().out)["text"] == name


def test_failures_are_sentences(tiny_pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("Buy milk.")
    for text, build, word in (
        ("short.txt", str(tiny_pack), "too short"),
        ("none.txt", str(tiny_pack), "cannot be read"),
        ("short.txt", str(tmp_path / "no.nutshell"), "There is no file"),
    ):
        assert cli.run_command(["measure", build, "--reference", str(tiny_pack), "--text", str(tmp_path / text)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("nutshell: ")
        assert word in said
        assert "Traceback" not in said
    assert cli.run_command(["measure", str(tiny_pack)]) == 2


def test_an_interruption_is_130(tiny_pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.quantize import evaluation

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "measure", interrupt)
    assert cli.run_command(["measure", str(tiny_pack), "--reference", str(tiny_pack)]) == 130
