"""The engine process itself: handshake, and every way to end."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.raw import ask

DEADLINE_S = 30.0
#: What the window is promised.
END_S = 2.0


class Process:
    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        full = {
            **os.environ,
            "NUTSHELL_DATA_DIR": str(folder / "data"),
            "NUTSHELL_CACHE_DIR": str(folder / "cache"),
            "HOME": str(folder / "home"),
            "USERPROFILE": str(folder / "home"),
            **env,
        }
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "backend.api", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=full,
        )
        self.errors = b""
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._threads = [threading.Thread(target=self._read_out), threading.Thread(target=self._read_err)]
        for thread in self._threads:
            thread.start()

    def _read_out(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _read_err(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.errors += line

    def line(self) -> Any:
        """The next line on stdout, or None at its end."""
        text = self._lines.get(timeout=DEADLINE_S)
        return json.loads(text) if text else None

    def handshake(self) -> dict[str, Any]:
        line = self.line()
        assert line is not None, self.errors.decode()
        assert set(line) == {"port", "token", "pid", "version"}, line
        return dict(line)

    def ended(self, timeout: float = END_S) -> int:
        """Waits for the end and returns the exit code, 0 for an orderly one; a later end fails the test."""
        return self.popen.wait(timeout)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(DEADLINE_S)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def engine(folder: Path, *arguments: str, **env: str) -> Iterator[Process]:
    process = Process(folder, *arguments, **env)
    try:
        yield process
    finally:
        process.close()


def close_stdin(process: Process) -> None:
    assert process.popen.stdin is not None
    process.popen.stdin.close()


def wait_for_model(shake: dict[str, Any]) -> None:
    end = time.monotonic() + DEADLINE_S
    pause = threading.Event()
    while (status := ask(shake["port"], "GET", "/api/status", token=shake["token"]).json)["model"] is None:
        assert status["loading"], ask(shake["port"], "GET", "/api/jobs", token=shake["token"]).json
        assert time.monotonic() < end
        pause.wait(0.02)


def begin_answer(shake: dict[str, Any]) -> socket.socket:
    """Starts a long answer as a stream and returns once its text comes."""
    body = json.dumps(
        {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 5000, "logit_bias": {}}
    ).encode()
    connection = socket.create_connection(("127.0.0.1", shake["port"]), timeout=DEADLINE_S)
    connection.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{shake['port']}\r\n"
        f"Authorization: Bearer {shake['token']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    seen = b""
    while seen.count(b'"content":') < 3:
        piece = connection.recv(65536)
        assert piece, seen
        seen += piece
    return connection


def test_the_handshake_and_the_end_with_stdin(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        shake = process.handshake()
        assert shake["pid"] == process.popen.pid
        assert len(shake["token"]) >= 32
        assert shake["version"]
        status = ask(shake["port"], "GET", "/api/status", token=shake["token"])
        assert status.status == 200
        assert status.json["pid"] == shake["pid"]
        assert status.json["data_dir"] == str(tmp_path / "data")
        close_stdin(process)
        assert process.ended() == 0
        assert process.line() is None, "one line, nothing else"


def test_each_run_has_its_own_token(tmp_path: Path) -> None:
    with engine(tmp_path / "a") as first, engine(tmp_path / "b") as second:
        assert first.handshake()["token"] != second.handshake()["token"]


@pytest.mark.model
@pytest.mark.parametrize("how", ["stdin", "sigterm", "request"])
def test_it_ends_in_time_during_an_answer_and_the_text_is_kept(tmp_path: Path, smollm2: Path, how: str) -> None:
    if how == "sigterm" and sys.platform == "win32":
        pytest.skip("Windows has no SIGTERM for others")
    with engine(tmp_path, "--model", str(smollm2)) as process:
        shake = process.handshake()
        wait_for_model(shake)
        token = {"token": shake["token"]}
        made = ask(shake["port"], "POST", "/api/conversations", json_body={}, **token).json
        turn = {"text": "Tell me a very long story about a lighthouse.", "sampling": {"temperature": 0}}
        ticket = ask(shake["port"], "POST", f"/api/conversations/{made['id']}/turns", json_body=turn, **token)
        assert ticket.status == 202
        with begin_answer_events(shake):
            before = time.monotonic()
            match how:
                case "stdin":
                    close_stdin(process)
                case "sigterm":
                    process.popen.send_signal(signal.SIGTERM)
                case _:
                    assert ask(shake["port"], "POST", "/api/shutdown", **token).status == 202
            assert process.ended() == 0
            assert time.monotonic() - before < END_S
    with engine(tmp_path) as process:
        shake = process.handshake()
        detail = ask(shake["port"], "GET", f"/api/conversations/{made['id']}", token=shake["token"]).json
        answer = detail["messages"][-1]
        assert answer["role"] == "assistant"
        assert answer["content"]
        assert answer["status"] in ("stopped", "interrupted")


@contextmanager
def begin_answer_events(shake: dict[str, Any]) -> Iterator[None]:
    """Reads events until text has come, and keeps the stream open."""
    with socket.create_connection(("127.0.0.1", shake["port"]), timeout=DEADLINE_S) as connection:
        connection.sendall(
            f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{shake['port']}\r\n"
            f"Authorization: Bearer {shake['token']}\r\n\r\n".encode()
        )
        seen = b""
        while seen.count(b'"turn.delta"') < 2:
            piece = connection.recv(65536)
            assert piece, seen
            seen += piece
        yield


@pytest.mark.model
def test_it_ends_in_time_while_another_program_gets_an_answer(tmp_path: Path, smollm2: Path) -> None:
    with engine(tmp_path, "--model", str(smollm2)) as process:
        shake = process.handshake()
        wait_for_model(shake)
        with begin_answer(shake):
            close_stdin(process)
            assert process.ended() == 0


@pytest.mark.model
def test_it_ends_in_time_while_it_loads(tmp_path: Path, smollm2: Path) -> None:
    with engine(tmp_path, "--model", str(smollm2)) as process:
        process.handshake()
        close_stdin(process)
        assert process.ended() == 0


def test_stdin_that_ends_before_the_start_is_complete(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        close_stdin(process)
        # Interpreter and imports come first; from main() on it is the promise again.
        assert process.ended(DEADLINE_S) == 0


def test_stay_does_not_end_with_stdin_and_serves_without_a_key(tmp_path: Path) -> None:
    with engine(tmp_path, "--stay") as process:
        shake = process.handshake()
        close_stdin(process)
        models = ask(shake["port"], "GET", "/v1/models")
        assert models.status == 200
        with pytest.raises(subprocess.TimeoutExpired):
            process.ended(0.3)
        assert ask(shake["port"], "GET", "/v1/models", token="any").status == 200
        assert ask(shake["port"], "GET", "/api/status", token="any").status == 401
        assert ask(shake["port"], "POST", "/api/shutdown", token=shake["token"]).status == 202
        assert process.ended() == 0


def test_a_key_from_the_environment(tmp_path: Path) -> None:
    with engine(tmp_path, "--serve", NUTSHELL_API_KEY="sk-env") as process:
        shake = process.handshake()
        assert ask(shake["port"], "GET", "/v1/models").status == 401
        assert ask(shake["port"], "GET", "/v1/models", token="sk-env").status == 200


def test_without_serve_the_port_is_private(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        shake = process.handshake()
        assert ask(shake["port"], "GET", "/v1/models", token="any").status == 401


def test_beyond_loopback_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    with engine(tmp_path, "--host", "0.0.0.0", "--stay") as process:
        error = process.line()["error"]
        assert error["code"] == "invalid_request"
        assert "API key" in error["what"]
        assert process.ended(DEADLINE_S) == 1
        assert b"Traceback" not in process.errors


def test_a_port_that_is_taken_names_who_holds_it(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        engine(tmp_path, "--port", str(taken.getsockname()[1])) as process,
    ):
        error = process.line()["error"]
        assert error["code"] == "port_in_use"
        assert str(taken.getsockname()[1]) in error["what"]
        if sys.platform == "linux":
            assert str(os.getpid()) in error["why"]
        assert process.ended(DEADLINE_S) == 1


def test_a_model_that_is_not_there_is_a_failed_job_and_no_reason_not_to_start(tmp_path: Path) -> None:
    with engine(tmp_path, "--model", str(tmp_path / "none.gguf")) as process:
        shake = process.handshake()
        status = ask(shake["port"], "GET", "/api/status", token=shake["token"]).json
        assert (status["model"], status["loading"]) == (None, None)
        (job,) = ask(shake["port"], "GET", "/api/jobs", token=shake["token"]).json
        assert (job["kind"], job["state"]) == ("load_model", "failed")
        assert job["error"]["what"]


def test_a_small_model_by_path(tmp_path: Path, tiny_gguf: Path) -> None:
    with engine(tmp_path, "--model", str(tiny_gguf)) as process:
        shake = process.handshake()
        wait_for_model(shake)
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        reply = ask(shake["port"], "POST", "/v1/chat/completions", token=shake["token"], json_body=body)
        assert reply.status == 200, reply.body
        assert reply.json["usage"]["completion_tokens"] <= 3


def test_a_slider_stands_where_it_was_asked_for_and_is_moved(tmp_path: Path, slider_pack: Path) -> None:
    with engine(tmp_path, "--model", str(slider_pack), "--position", "0", "--n-threads", "1") as process:
        shake = process.handshake()
        wait_for_model(shake)

        def move(position: object) -> Any:
            body = {"position": position}
            return ask(shake["port"], "POST", "/api/models/position", token=shake["token"], json_body=body)

        def loaded() -> Any:
            return ask(shake["port"], "GET", "/api/status", token=shake["token"]).json["model"]

        first = loaded()
        assert first["slider"]["position"] == 0
        moved = move(1)
        assert moved.status == 200, moved.body
        assert moved.json["slider"]["position"] == 1
        assert moved.json["weight_bytes"] > first["weight_bytes"]
        assert loaded() == moved.json
        for bad in (-0.1, 1.1, "x", None):
            assert move(bad).status in (400, 422)
        assert loaded() == moved.json
        body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        reply = ask(shake["port"], "POST", "/v1/chat/completions", token=shake["token"], json_body=body)
        assert reply.status == 200, reply.body


def test_a_position_of_a_model_without_a_slider_is_a_failed_job(tmp_path: Path, tiny_pack: Path) -> None:
    with engine(tmp_path, "--model", str(tiny_pack), "--position", "0.5") as process:
        shake = process.handshake()

        ask(shake["port"], "GET", "/api/status", token=shake["token"])  # it waits until the model is known

        def ended() -> Any:
            (job,) = ask(shake["port"], "GET", "/api/jobs", token=shake["token"]).json
            return job if job["ended_at"] is not None else None

        deadline = time.monotonic() + DEADLINE_S
        while (job := ended()) is None:
            assert time.monotonic() < deadline
        assert job["state"] == "failed"
        assert "no slider" in job["error"]["what"]
