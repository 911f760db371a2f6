"""Parsing, exit codes, sentences: everything of the terminal commands that needs no engine."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import cli
from app.commands import ask, options, serve
from app.display import why_no_window
from app.engine_options import engine_arguments
from app.models import match_model
from app.terminal import size, table
from backend.api.errors import InvalidRequestError, ModelError, NotFoundError
from backend.api.schemas import ErrorInfo, ModelEntry, Sampling
from backend.config.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


def nutshell(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]]), **more}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def entry(name: str, identity: str = "", error: ErrorInfo | None = None) -> ModelEntry:
    return ModelEntry(id=identity or name, name=name, path=f"/m/{name}.gguf", source="file", bytes=1, error=error)


@pytest.mark.parametrize(
    "argv",
    [["ask"], ["ask", "hello", "--temperature", "9"], ["ask", "hello", "--seed", "x"], ["frobnicate"], ["bench"]],
)
def test_what_cannot_be_understood_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command(argv) == 2
    assert "usage: nutshell" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ask", "chat", "models", "serve", "hardware", "pack", "bench"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command([name, "--help"]) == 0
    assert f"usage: nutshell {name}" in capsys.readouterr().out


def test_help_and_version_need_neither_qt_nor_httpx() -> None:
    script = (
        "import sys\n"
        "from app.__main__ import main\n"
        "assert main(['--version']) == 0\n"
        "assert main(['--help']) == 0\n"
        "heavy = [name for name in ('PySide6', 'httpx', 'llama_cpp', 'numpy') if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_screen_it_says_so_and_offers_the_terminal() -> None:
    assert why_no_window({}, "linux")
    assert not why_no_window({"DISPLAY": ":0"}, "linux")
    assert not why_no_window({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert not why_no_window({"QT_QPA_PLATFORM": "offscreen"}, "linux")
    assert not why_no_window({}, "darwin")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_the_window_command_without_a_screen_ends_with_a_sentence() -> None:
    done = nutshell(DISPLAY="", WAYLAND_DISPLAY="", QT_QPA_PLATFORM="")
    assert done.returncode == 1
    assert "no screen is connected" in done.stderr
    assert "nutshell chat" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_one_sentence_and_1(tmp_path: Path) -> None:
    done = nutshell("ask", "hello", "--model", str(tmp_path / "gone.gguf"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("nutshell: There is no file ")
    assert "Traceback" not in done.stderr


def test_serving_others_without_a_key_is_refused() -> None:
    done = nutshell("serve", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "a key is required" in done.stderr


@pytest.mark.parametrize(("host", "here"), [("localhost", True), ("::1", True), ("192.168.0.7", False), ("nas", False)])
def test_what_counts_as_this_machine(host: str, here: bool) -> None:
    assert serve.is_loopback(host) is here


def test_the_curl_example_carries_the_key_only_if_there_is_one() -> None:
    assert "Bearer k" in serve.example("http://127.0.0.1:9460/v1", "k")
    assert "Bearer" not in serve.example("http://127.0.0.1:9460/v1", "")


def test_ctrl_c_is_130_and_an_error_is_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_arguments: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    def refused(_arguments: argparse.Namespace) -> int:
        raise NotFoundError("What.", why="Why.", remedy="Remedy.", details="never shown")

    for raising, code in ((interrupted, 130), (refused, 1)):
        parser = argparse.ArgumentParser()
        parser.add_argument("--version", action="store_true")
        parser.set_defaults(run=raising, command="x")
        monkeypatch.setattr(cli, "build_parser", lambda parser=parser: parser)
        assert cli.run_command([]) == code
    assert "nutshell: What. Why. Remedy.\n" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break otherwise there")
def test_a_broken_pipe_is_quiet() -> None:
    script = (
        "import sys, argparse\n"
        "from app import cli\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('--version', action='store_true')\n"
        "parser.set_defaults(run=lambda _: print('x' * 100000), command='x')\n"
        "cli.build_parser = lambda: parser\n"
        "sys.exit(cli.run_command([]))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_the_question_comes_from_words_and_from_a_pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    piped = tmp_path / "in.txt"
    piped.write_text("some text\n")
    with piped.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert ask.read_question(["Summarise", "this"]) == "Summarise this\n\nsome text"
    monkeypatch.setattr(sys, "stdin", io.StringIO("from stdin\n"))
    assert ask.read_question(["-"]) == "from stdin"
    monkeypatch.setattr(sys, "stdin", io.StringIO(" \n"))
    with pytest.raises(InvalidRequestError, match="There is no question"):
        ask.read_question(["-"])


def test_an_open_pipe_that_nothing_comes_from_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ask, "_PIPE_PATIENCE_S", 0.05)
    reading, writing = os.pipe()
    with os.fdopen(reading) as file, os.fdopen(writing, "w") as held:
        monkeypatch.setattr(sys, "stdin", file)
        assert ask.read_question(["hello"]) == "hello"
        held.close()  # lets the waiting thread end
    assert "Nothing came through the pipe" in capsys.readouterr().err


def test_only_what_was_asked_for_changes_the_sampling() -> None:
    base = Sampling(temperature=0.2, top_p=0.9)
    nothing = argparse.Namespace(temperature=None, seed=None, max_tokens=None)
    assert options.sampling_from(nothing, base) is None
    some = argparse.Namespace(temperature=0.0, seed=7, max_tokens=None)
    assert options.sampling_from(some, base) == Sampling(temperature=0.0, top_p=0.9, seed=7)


def test_models_are_found_by_id_name_or_part() -> None:
    entries = [entry("SmolLM2 135M", "aa"), entry("Qwen2.5 Coder 1.5B", "bb"), entry("Qwen2.5 Coder 0.5B", "cc")]
    assert match_model("bb", entries).id == "bb"
    assert match_model("smollm2 135m", entries).id == "aa"
    assert match_model("0.5b", entries).id == "cc"
    with pytest.raises(NotFoundError, match="fits 2 models"):
        match_model("qwen", entries)
    with pytest.raises(NotFoundError, match="no model"):
        match_model("llama", entries)
    broken = entry("Broken", error=ErrorInfo(code="model_error", what="It is damaged."))
    with pytest.raises(ModelError, match="damaged"):
        match_model("broken", [broken])


def test_sizes_and_tables_read_well() -> None:
    assert size(98_362_432) == "98 MB"
    assert size(1_117_320_768) == "1.1 GB"
    assert table([("A", "B"), ("long", "1")], right=frozenset({1})) == "A     B\nlong  1"


@pytest.mark.parametrize("command", ["ask x", "chat", "serve"])
def test_how_the_conversation_is_remembered_is_told_to_the_engine(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = cli.build_parser()
    assert options.engine_arguments(parser.parse_args([*command.split(), "--kv", "q8"])) == ["--kv", "q8"]
    assert options.engine_arguments(parser.parse_args(command.split())) == []
    with pytest.raises(SystemExit):
        parser.parse_args([*command.split(), "--kv", "q2"])
    assert "'f16', 'q8'" in capsys.readouterr().err


def test_the_engine_of_the_window_is_started_with_what_was_chosen() -> None:
    settings = Settings(Path("x"))
    assert engine_arguments(settings, None) == []
    settings.kv = "q8"
    settings.n_ctx = 512
    assert engine_arguments(settings, Path("/m.nutshell")) == [
        "--n-ctx",
        "512",
        "--kv",
        "q8",
        "--model",
        str(Path("/m.nutshell")),
    ]
