"""`nutshell bench app`: the real window, offscreen, against the real engine process, in processes of their own.

Every figure is taken from outside or at the window's edge: seconds are from the start of the process, tok/s count the
text that reached the window, CPU and memory are the system's own counts. The engine alone runs the same prompts in
turns with the window (ABBA), so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from app.benchmarks.child import Child
from app.benchmarks.report import hardware_name
from app.models import first_model, no_model
from app.terminal import say, table
from backend.api.errors import NutshellError
from backend.config.settings import Settings

__all__ = ["run"]

#: Different beginnings, so that no round finds its prompt in the cache of the round before.
PROMPTS = (
    "Why is the sky blue?",
    "How does bread rise in the oven?",
    "Tell me about the history of paper.",
    "Describe how a bicycle stays upright.",
    "What makes the sea salty?",
    "Explain how trees move water to their leaves.",
    "Where does the wind come from?",
    "Write about the life of a honey bee.",
)
#: A few paragraphs. A turn costs 20 ms once, for its widgets, its title and its last write, which a line feels more.
_TOKENS = 400
_SEED = 11
#: Medians of 6 pairs ranged from 0.7 to 5.5 % of path cost on a virtual machine with two cores, of 15 from -0.6 to 1.4.
_ROUNDS = 15
_STARTS = 6
_IDLE_S = 10.0

GOALS = {
    "window_s": "1.0",
    "ready_s": "",
    "first_token_s": "2.5",
    "ttft_s": "",
    "path_tok_s": "within 3 %",
    "engine_tok_s": "",
    "idle_cpu_pct": "0.5",
    "window_rss_mb": "200",
    "engine_rss_mb": "",
    "stop_ms": "200",
}
_WORDS = {
    "window_s": "window shown after (s)",
    "ready_s": "model ready after (s)",
    "first_token_s": "first token of the first answer after (s)",
    "ttft_s": "first token, later answers (s)",
    "path_tok_s": "through the whole program (tok/s)",
    "engine_tok_s": "the engine alone (tok/s)",
    "idle_cpu_pct": "idle, both processes (% of a core)",
    "window_rss_mb": "memory of the window (MB)",
    "engine_rss_mb": "memory of the engine (MB)",
    "stop_ms": "Stop takes (ms)",
}


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table and (with --json) one JSON object as the last line."""
    rounds = arguments.rounds or _ROUNDS
    model = first_model(arguments.model).path
    if model is None:
        raise no_model()
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as folder:
        env = {**os.environ, "NUTSHELL_DATA_DIR": folder, "NUTSHELL_CACHE_DIR": str(Path(folder) / "cache")}
        env.setdefault("QT_QPA_PLATFORM", "offscreen")
        settings = Settings.load(Path(folder) / "settings.json")
        settings.last_model = str(model)
        settings.save()
        figures, extra = _measure(model, env, rounds)
    rows = [("", "measured", "goal")]
    rows += [(_WORDS[key], _text(figures[key]), GOALS[key]) for key in GOALS]
    print(table(rows, right=frozenset({1, 2})))
    say(f"the path costs {extra['path_cost_pct']:.1f} % of the engine's own speed")
    if arguments.json:
        print(json.dumps({**figures, **extra}))
    return 0


def _measure(model: Path, env: dict[str, str], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    with _window(env) as warm_up:  # reads every file once: the goals are for a warm cache
        _start(warm_up)
    starts = []
    for number in range(_STARTS - 1):
        say(f"start {number + 1} of {_STARTS}")
        with _window(env) as window:
            starts.append(_start(window))
    with _window(env) as window, Child("app.benchmarks.alone", str(model), env=env) as alone:
        starts.append(_start(window))
        alone.read()
        _gate(window, alone)
        path, engine = _in_turns(window, alone, rounds)
        say("stopping")
        stops = [window.ask(do="stop", text=PROMPTS[i % len(PROMPTS)])["stop_ms"] for i in range(max(5, rounds))]
        ids = window.ask(do="pids")
        processes = [psutil.Process(ids["window"]), psutil.Process(ids["engine"])]
        memory = [process.memory_info().rss / 1e6 for process in processes]
        say(f"idling for {_IDLE_S:.0f} s")
        idle = _idle_percent(processes)
    figures = {
        **{key: _median([start[key] for start in starts]) for key in ("window_s", "ready_s", "first_token_s")},
        "ttft_s": _median([answer["ttft_s"] for answer in path]),
        "path_tok_s": _median([answer["tok_s"] for answer in path]),
        "engine_tok_s": _median([answer["tok_s"] for answer in engine]),
        "idle_cpu_pct": round(idle, 3),
        "window_rss_mb": round(memory[0], 1),
        "engine_rss_mb": round(memory[1], 1),
        "stop_ms": _median(stops),
    }
    ratios = [a["tok_s"] / b["tok_s"] for a, b in zip(path, engine, strict=True)]
    return figures, {
        "path_cost_pct": round((1 - statistics.median(ratios)) * 100, 2),
        "engine_ttft_s": _median([answer["ttft_s"] for answer in engine]),
        "stop_ms_worst": round(max(stops), 1),
        "rounds": rounds,
        "model": model.name,
        "hardware": hardware_name(),
        "python": platform.python_version(),
        "platform": env["QT_QPA_PLATFORM"],
    }


def _window(env: dict[str, str]) -> Child:
    return Child("app.benchmarks.window", env=env)


def _start(window: Child) -> dict[str, float]:
    """Seconds from the start of the process to the marks of a first answer."""
    marks = window.read()
    return {key: marks[key] - window.started for key in ("window_s", "ready_s", "first_token_s")}


def _gate(window: Child, alone: Child) -> None:
    """The same seed gives the same text, twice through the window and once without it; else no figure is worth a look.

    Raises:
        NutshellError: it does not.
    """
    wish = {"text": PROMPTS[0], "seed": _SEED, "max_tokens": 48}
    answers = [window.ask(do="ask", **wish)["text"], alone.ask(**wish)["text"], window.ask(do="ask", **wish)["text"]]
    if not answers[0].strip() or len(set(answers)) != 1:
        raise NutshellError(
            "The answers are not right, so nothing was measured.",
            why="The same question with the same seed did not give the same text.",
            details=json.dumps(answers),
        )


def _in_turns(window: Child, alone: Child, rounds: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    path, engine = [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        wish = {"text": PROMPTS[(number + 1) % len(PROMPTS)], "seed": _SEED, "max_tokens": _TOKENS}
        if number % 2:
            engine.append(alone.ask(**wish))
            path.append(window.ask(do="ask", **wish))
        else:
            path.append(window.ask(do="ask", **wish))
            engine.append(alone.ask(**wish))
    return path, engine


def _idle_percent(processes: Sequence[psutil.Process]) -> float:
    """CPU time of the processes together over a quiet while, in percent of one core."""
    time.sleep(3.0)  # what the last answer left to do (a title, a checkpoint) is not idling

    def used() -> float:
        return float(sum(sum(process.cpu_times()[:2]) for process in processes))

    before, began = used(), time.monotonic()
    time.sleep(_IDLE_S)
    return (used() - before) / (time.monotonic() - began) * 100


def _median(values: Sequence[float]) -> float:
    return round(float(statistics.median(values)), 4)


def _text(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
