"""Guessing ahead through the engine process: the choices at its start, choices that come later, and what it tells."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tests.unit.api.raw import ask
from tests.unit.api.test_process import DEADLINE_S, engine, wait_for_model


def tell(shake: dict[str, Any], method: str, path: str, body: object = None) -> Any:
    answer = ask(shake["port"], method, path, token=shake["token"], json_body=body)
    assert answer.status == 200, answer.body
    return answer.json


def write(shake: dict[str, Any]) -> dict[str, Any]:
    """The usage of an answer that repeats its prompt."""
    body = {"prompt": "one two three four " * 8, "max_tokens": 24, "temperature": 0, "seed": 1}
    answer = tell(shake, "POST", "/v1/completions", body)
    return {**answer["usage"], "text": answer["choices"][0]["text"]}


def test_custom_with_a_draft_model_then_off_then_auto(tmp_path: Path, tiny_gguf: Path) -> None:
    small = tmp_path / "draft.gguf"
    small.write_bytes(tiny_gguf.read_bytes())
    chosen = ("--speculation", "custom", "--draft-nodes", "5", "--draft-model", str(small))
    with engine(tmp_path, "--model", str(tiny_gguf), *chosen) as process:
        shake = process.handshake()
        wait_for_model(shake)
        model = tell(shake, "GET", "/api/status")["model"]
        assert (model["speculation"], model["draft_nodes"], model["draft_model"]) == ("custom", 5, str(small))
        assert model.get("draft_notice", "") == ""
        drafted = write(shake)
        passes = tell(shake, "GET", "/api/models/speculation")["passes"]
        assert passes
        assert max(nodes for nodes, _, _ in passes) == 6, "five guesses and the token before them"
        assert sum(tokens for _, tokens, _ in passes) in {23, 24}
        off = tell(shake, "POST", "/api/models/speculation", {"speculation": "off"})
        assert off["speculation"] == "off"
        plain = write(shake)
        assert plain["text"] == drafted["text"]
        assert not tell(shake, "GET", "/api/models/speculation")["passes"]
        auto = tell(shake, "POST", "/api/models/speculation", {"speculation": "auto"})
        assert auto["speculation"] == "auto"
        assert auto.get("draft_model", "") == ""
        end, pause = time.monotonic() + DEADLINE_S, threading.Event()
        while not (curve := tell(shake, "GET", "/api/models/speculation")["curve"]):
            assert time.monotonic() < end
            pause.wait(0.02)
        assert curve[0][0] == 1
        assert all(seconds > 0 for _, seconds in curve)
        assert write(shake)["text"] == plain["text"]


def test_a_draft_model_that_does_not_fit_is_told_and_nothing_else_changes(tmp_path: Path, tiny_gguf: Path) -> None:
    with engine(tmp_path, "--model", str(tiny_gguf)) as process:
        shake = process.handshake()
        wait_for_model(shake)
        wanted = {"speculation": "custom", "draft_nodes": 3, "draft_model": str(tmp_path / "gone.gguf")}
        model = tell(shake, "POST", "/api/models/speculation", wanted)
        assert model["speculation"] == "custom"
        assert model["draft_notice"].startswith("gone.gguf cannot draft.")
        assert write(shake)["completion_tokens"] == 24
        refused = ask(
            shake["port"], "POST", "/api/models/speculation", token=shake["token"], json_body={"draft_nodes": 64}
        )
        assert refused.status in {400, 422}
