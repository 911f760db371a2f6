"""The terminal commands as a person types them: real processes, real engine, real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from backend.config.paths import Paths
from backend.storage.store import Store

pytestmark = [pytest.mark.journey, pytest.mark.model]

ROOT = Path(__file__).resolve().parents[2]
SHORT = ["--max-tokens", "12", "--seed", "3"]


def heed_interrupts() -> None:
    """A shell that runs the tests in its background has SIGINT ignored, and a child would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}
    return subprocess.Popen(
        [sys.executable, "-m", "app", *arguments],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if sys.platform == "win32" else heed_interrupts,
    )


def nutshell(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    with start(*arguments) as process:
        out, err = process.communicate(stdin if stdin is not None else "", timeout=100)
    return process.returncode, out, err


def test_ask_answers_and_keeps_the_conversation(home: Paths) -> None:
    code, out, err = nutshell("ask", "Why is the sky blue?", "--json", *SHORT)
    assert code == 0, err
    answer = json.loads(out)
    assert answer["text"].strip()
    assert answer["model"] == "SmolLM2 135M Instruct"
    assert answer["tokens"] == 12
    assert answer["ttft_s"] > 0
    assert answer["tok_s"] > 0
    with Store.open(home.database) as store:
        (conversation,) = store.conversations()
        messages = store.detail(conversation.id).messages
    assert [message.content for message in messages] == ["Why is the sky blue?", answer["text"]]


def test_ask_without_keeping_gives_the_same_text_and_leaves_nothing(home: Paths) -> None:
    _, plain, _ = nutshell("ask", "Name a colour.", *SHORT, "--no-save")
    code, out, err = nutshell("ask", "-", "--json", *SHORT, "--no-save", stdin="Name a colour.\n")
    assert code == 0, err
    assert plain.strip() == json.loads(out)["text"].strip()
    with Store.open(home.database) as store:
        assert store.conversations() == []


def test_what_is_piped_in_goes_below_the_question(home: Paths) -> None:
    code, _, err = nutshell("ask", "Summarise this:", *SHORT, stdin="The cat sat on the mat.\n")
    assert code == 0, err
    with Store.open(home.database) as store:
        (conversation,) = store.conversations()
        question = store.detail(conversation.id).messages[0]
    assert question.content == "Summarise this:\n\nThe cat sat on the mat."


def test_chat_remembers_within_a_conversation(home: Paths) -> None:
    script = "Say one word.\nSay another word.\n/model\n/new\nHello.\n/nonsense\n/quit\n"
    code, _, err = nutshell("chat", *SHORT, stdin=script)
    assert code == 0, err
    assert "SmolLM2 135M Instruct is ready." in err
    assert "There is no command /nonsense." in err
    with Store.open(home.database) as store:
        lengths = sorted(len(store.detail(found.id).messages) for found in store.conversations())
    assert lengths == [2, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to one process is POSIX")
def test_ctrl_c_ends_ask_with_130_and_no_engine_stays(home: Paths) -> None:
    # hot enough not to find its end for more than a thousand tokens
    how = ("--temperature", "1.6", "--seed", "2", "--max-tokens", "2000")
    with start("ask", "Tell me a very long story about the sea.", *how) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout.read(1)
        engines = psutil.Process(process.pid).children()
        assert engines
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.read()
    assert process.returncode == 130
    assert psutil.wait_procs(engines, timeout=5)[1] == []
    with Store.open(home.database) as store:
        (conversation,) = store.conversations()
        assert store.detail(conversation.id).messages[-1].content


def test_models_and_hardware_as_json(home: Paths) -> None:
    code, out, err = nutshell("models", "--json")
    assert code == 0, err
    assert [model["source"] for model in json.loads(out)] == ["builtin"]
    code, out, err = nutshell("hardware", "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["memory"]["rate"] > 1e9
    assert [disk["rate"] > 1e7 for disk in first["disks"]] == [True]  # the built-in model's
    code, out, err = nutshell("hardware", "--json")
    assert code == 0, err
    assert json.loads(out)["memory"]["measured"] == first["memory"]["measured"], "measured once a day"
    code, out, err = nutshell("hardware", "--measure")
    assert code == 0, err
    assert "GB/s (measured " in out


def test_serve_answers_other_programs_until_it_is_told_to_end(home: Paths) -> None:
    with start("serve", "--port", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("SmolLM2 135M Instruct is served at http://127.0.0.1:")
        base = line.split()[-1]
        body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
        request = urllib.request.Request(
            f"{base}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.loads(response.read())["choices"][0]["message"]["content"].strip()
        engines = psutil.Process(process.pid).children()
        process.terminate()
        process.wait(20)
    assert psutil.wait_procs(engines, timeout=5)[1] == []


def test_a_port_in_use_is_named(home: Paths) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        code, out, err = nutshell("serve", "--port", str(port))
    assert code == 1
    assert out == ""
    assert f"Port {port} is already in use." in err
    assert "Traceback" not in err


def test_a_damaged_model_is_a_sentence(home: Paths, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(200))
    code, out, err = nutshell("ask", "Hello", "--model", str(damaged))
    assert code == 1
    assert out == ""
    assert err.startswith("nutshell: ")
    assert "Traceback" not in err


def test_a_model_that_is_gone_is_replaced_by_the_built_in_one_with_a_sentence(home: Paths) -> None:
    home.data.mkdir(parents=True, exist_ok=True)
    home.settings.write_text(json.dumps({"last_model": str(home.data / "gone.gguf")}))
    code, out, err = nutshell("ask", "Say hello.", *SHORT)
    assert code == 0
    assert out.strip()
    assert "is no longer where it was" in err
