"""`nutshell bench ui`: what the window costs, offscreen and with an engine that echoes, and what search costs.

Every part runs in a process of its own. Costs per token are CPU time of the window's thread, so that other programs do
not count; stalls, frames and starts are seconds of the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from app.benchmarks.child import Child
from app.benchmarks.report import hardware_name
from app.models import first_model
from app.terminal import say, table
from backend.config.settings import Settings
from backend.storage.rows import new_id
from backend.storage.store import Store

__all__ = ["fill_store", "run"]

_TOKENS = 20_000
_TOK_S = 200.0
_STARTS = 5
_MESSAGES, _CONVERSATIONS, _WORDS = 100_000, 2_000, 80
#: words that everything has, that a few have, that are begun, phrases; letters without words; and what is nowhere
_QUERIES = (
    "the",
    "ka",
    "harbour",
    "harbour lan",
    '"the harbour"',
    "kalo",
    "日本",
    "猫舌",
    "->",
    "~>",
    "C++",
    "F# the",
    "absent ra",
)
_COMMON = "the a of and to in is it that for on with as was at by be this from or have an they which one"

GOALS = {
    "stall_ms_max": "50",
    "repaint_ratio_last_first": "1.2",
    "stop_ms": "200",
    "open_2000_ms": "300",
    "scroll_fps_p5": "at least 60",
    "kb_per_message": "15",
    "search_100k_ms": "50",
    "list_100k_ms": "200",
    "catalogue_ms": "200",
    "planned_ms": "",
    "window_s": "1.0",
    "window_rss_mb": "200",
}
_SAID = {
    "stall_ms_max": "longest stall while an answer streams (ms)",
    "repaint_ratio_last_first": "cost of a token, last tenth / first",
    "stop_ms": "Esc takes (ms, worst)",
    "open_2000_ms": "2,000 messages open in (ms)",
    "scroll_fps_p5": "frames a second while scrolling (slowest 5 %)",
    "kb_per_message": "memory of a message (KB)",
    "search_100k_ms": "search in 100,000 messages (ms, slowest query)",
    "list_100k_ms": "their 2,000 conversations listed in (ms)",
    "catalogue_ms": "the catalogue's page opens in (ms)",
    "planned_ms": "and says of every model whether it fits after (ms)",
    "window_s": "window shown after (s)",
    "window_rss_mb": "memory of the window (MB)",
}


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table and (with --json) one JSON object as the last line."""
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as name:
        folder = Path(name)
        env = {**os.environ, "NUTSHELL_DATA_DIR": name, "NUTSHELL_CACHE_DIR": str(folder / "cache")}
        env.setdefault("QT_QPA_PLATFORM", "offscreen")
        figures = _starts(arguments, env, folder)
        say("searching")
        figures |= _search(folder / "large" / "nutshell.db")
        tokens = arguments.tokens or _TOKENS
        say(f"streaming {tokens:,} tokens at {_TOK_S:.0f} tok/s")
        with Child("app.gui_bench", "chat", str(tokens), str(_TOK_S), env=env, patience_s=600) as window:
            figures |= window.read()
    rows = [("", "measured", "goal")]
    rows += [(_SAID[key], f"{figures[key]:.2f}", GOALS[key]) for key in GOALS]
    print(table(rows, right=frozenset({1, 2})))
    if arguments.json:
        rounded = {key: round(value, 3) for key, value in figures.items()}
        about = {"hardware": hardware_name(), "python": platform.python_version(), "platform": env["QT_QPA_PLATFORM"]}
        print(json.dumps({**rounded, **about}))
    return 0


def _starts(arguments: argparse.Namespace, env: dict[str, str], folder: Path) -> dict[str, float]:
    """The real window with the real engine; the first start reads every file once and does not count."""
    model = first_model(arguments.model).path
    settings = Settings.load(folder / "settings.json")
    settings.last_model = str(model or "")
    settings.save()
    taken: dict[str, list[float]] = {}
    for number in range(_STARTS + 1):
        say(f"start {number} of {_STARTS}" if number else "a first start, to warm up")
        with Child("app.gui_bench", "start", env=env) as window:
            marks = window.read()
            if number:
                marks["window_s"] -= window.started
                for key, value in marks.items():
                    taken.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in taken.items()}


def fill_store(store: Store, messages: int = _MESSAGES, conversations: int = _CONVERSATIONS) -> None:
    """English, code, and every fiftieth message Japanese; the same on every machine."""
    draw = random.Random(1)
    common = _COMMON.split()
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    rare = ["".join(draw.choices(syllables, k=3)) for _ in range(20_000)] + ["harbour", "lantern", "thistle", "quarry"]
    words = common * 400 + rare
    each = messages // conversations

    def text(number: int) -> str:
        if number % 50 == 0:
            return "日本語の文章です。" + "".join(draw.choices("東京大阪京都船港山川海空花鳥風月春夏秋冬", k=120))
        plain = " ".join(draw.choices(words, k=_WORDS))
        return f"{plain}\n```cpp\np->next = q; // C++\n```" if number % 20 == 0 else plain

    for start in range(0, conversations, 200):

        def fill(connection: sqlite3.Connection, start: int = start) -> None:
            for number in range(start, min(start + 200, conversations)):
                key, ids = new_id(), [None, *(new_id() for _ in range(each))]
                connection.execute(
                    "INSERT INTO conversations (id, title, created_at, updated_at, head_id) VALUES (?, ?, ?, ?, ?)",
                    (key, f"Conversation {number}", number, number, ids[-1]),
                )
                connection.executemany(
                    "INSERT INTO messages (id, conversation_id, parent_id, role, status, created_at, content)"
                    " VALUES (?, ?, ?, ?, 'complete', ?, ?)",
                    (
                        (ids[i + 1], key, ids[i], "assistant" if i % 2 else "user", i, text(number * each + i))
                        for i in range(each)
                    ),
                )

        store._db.write(fill)


def _search(path: Path) -> dict[str, float]:
    path.parent.mkdir()
    with Store.open(path) as store:
        fill_store(store)
        store.draw_signatures()
    with Store.open(path) as store:
        taken = {query: _milliseconds(partial(store.search, query)) for query in _QUERIES}
        listed = _milliseconds(store.conversations)
    slowest = max(taken, key=lambda query: taken[query])
    say(", ".join(f"{query}: {ms:.1f}" for query, ms in taken.items()) + f"; slowest: {slowest}")
    return {"search_100k_ms": taken[slowest], "list_100k_ms": listed}


def _milliseconds(call: Callable[[], object], times: int = 5) -> float:
    taken: Sequence[float] = [_one(call) for _ in range(times)]
    return statistics.median(taken)


def _one(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000
