"""`nutshell download` and `nutshell remove`, as a person types them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import run_command
from tests.fakes.hub import COMMIT, FakeHub, Fault

REPO = "someone/tiny-GGUF"


def test_what_there_is_then_one_of_it_then_gone(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], tiny_gguf: Path, tmp_path: Path
) -> None:
    content = hub.put(REPO, "tiny-Q4_K_M.gguf", tiny_gguf.read_bytes())
    hub.put(REPO, "tiny-Q8_0.gguf", b"x" * 300_000)
    assert run_command(["download", REPO]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "MODEL   SIZE    FILES", "Q4_K_M  126 KB  1", "Q8_0    300 KB  1", "", "licence: apache-2.0",
    ]  # fmt: skip
    assert run_command(["download", REPO, "Q4_K_M"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "hub" / "models--someone--tiny-GGUF" / "snapshots" / COMMIT / "tiny-Q4_K_M.gguf"
    assert path.read_bytes() == content
    assert run_command(["remove", "tiny-Q4_K_M.gguf", "--yes"]) == 0
    assert capsys.readouterr().out == "126 KB are free again.\n"
    assert not list((tmp_path / "hub").glob("models--*"))


def test_json_is_one_object(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put(REPO, "tiny-Q8_0.gguf", b"x" * 3000)
    assert run_command(["download", REPO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == [
        {"name": "Q8_0", "bytes": 3000, "files": ["tiny-Q8_0.gguf"]}
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["download", "nonsense"], "not the name of a repository"),
        (["download", "someone/else"], "There is no repository someone/else"),
        (["download", REPO, "Q2_K"], "is not in this repository"),
        (["download", REPO, "Q"], "may mean several models"),
        (["remove", "no such model"], "There is no model"),
    ],
)
def test_what_does_not_work_is_a_sentence(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    hub.put(REPO, "a-Q8_0.gguf", b"x")
    hub.put(REPO, "a-Q4_0.gguf", b"x")
    assert run_command(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_a_model_of_another_program_is_left_alone(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    theirs = tmp_path / "llama" / "theirs.gguf"
    theirs.write_bytes(tiny_gguf.read_bytes())
    assert run_command(["remove", "theirs.gguf", "--yes"]) == 1
    assert "belongs to llama.cpp" in capsys.readouterr().err
    assert theirs.exists()


def test_nothing_is_deleted_unasked(
    hub: FakeHub, capsys: pytest.CaptureFixture[str], tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(REPO, "tiny-Q4_K_M.gguf", tiny_gguf.read_bytes())
    run_command(["download", REPO, "Q4_K_M"])
    path = Path(capsys.readouterr().out.strip())
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run_command(["remove", "tiny-Q4_K_M.gguf"]) == 0
    assert path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_arrived(hub: FakeHub, tmp_path: Path) -> None:
    content = hub.put(REPO, "big-Q8_0.gguf", random.Random(0).randbytes(2_000_000))
    hub.faults["big-Q8_0.gguf"].append(Fault(drip=20_000, pause=0.02))
    command = [sys.executable, "-m", "app", "download", REPO, "Q8_0"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert hub.wait_sent("big-Q8_0.gguf", 300_000)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "the same command goes on from here" in said
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert Path(again.stdout.strip()).read_bytes() == content
    assert hub.sent("big-Q8_0.gguf") < 2 * len(content)
