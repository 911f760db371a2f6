"""`nutshell bench plan`: memory and speed of many settings, predicted and then measured in the real engine process.

Each configuration gets a process of its own, a prompt that fills all but the end of its context, and an answer. Memory
is the highest share of the machine's memory that the process held (PSS: pages that it alone maps, and its part of
shared ones; of the model's file all that it maps). What a configuration taught is used for the ones after it, as in the
program; the table says on what each prediction rests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import psutil

from app.benchmarks.report import hardware_name, print_table
from app.models import default_model
from app.session import Session
from app.terminal import say
from backend.api.schemas import LoadModel
from backend.config.paths import paths
from backend.hardware.memory import held_bytes
from backend.planner.learned import Learned
from backend.planner.machine import this_machine
from backend.planner.memory import KvType, takes_q8
from backend.planner.observing import Seen, observation
from backend.planner.plan import Machine, Wishes, plan
from backend.planner.subject import Subject, subject_of_file

__all__ = ["run"]

_CONTEXTS = (512, 2048, 4096)
#: of each context: the answer, and the template's own tokens
_ANSWER, _SPARE = 32, 40
_ANSWERS = 3
_PACE_S = 0.02


@dataclass(frozen=True, slots=True)
class _Case:
    path: Path
    subject: Subject
    context: int
    kv: KvType
    draft: Path | None = None

    @property
    def name(self) -> str:
        draft = ", draft" if self.draft else ""
        return f"{self.path.stem} {self.subject.engine} {self.context} {self.kv}{draft}"


@dataclass(frozen=True, slots=True)
class _Timed:
    prompt_tokens: int
    ttft_s: float
    tok_s: float


class _Peak:
    """The highest PSS of a process, in bytes, looked at every 20 ms; with all pages of its model at the end.

    A look walks over all pages: a process of 2 GB wrote 16 tokens a second while it was looked at, and 27 alone. So it
    rests while an answer is timed.
    """

    def __init__(self, pid: int, model: Path) -> None:
        self._process = psutil.Process(pid)
        self._model = model
        self._end, self._looks = threading.Event(), threading.Event()
        self._looks.set()
        self.bytes = 0
        self._thread = threading.Thread(target=self._look, name="peak")
        self._thread.start()

    def _look(self) -> None:
        while not self._end.is_set():
            self._looks.wait()
            try:
                self.bytes = max(self.bytes, int(self._process.memory_full_info().pss))
            except psutil.Error:
                return
            self._end.wait(_PACE_S)

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Does not look in this block."""
        self._looks.clear()
        try:
            yield
        finally:
            self._looks.set()

    def stop(self) -> int:
        """The highest, one more look included."""
        self._end.set()
        self._thread.join()
        try:  # what a program beside it maps of the model is not counted twice: the walk over all maps is slow
            now = int(self._process.memory_full_info().pss)
            shared = held_bytes(self._process, self._model) - now
        except psutil.Error:
            now = shared = 0
        return max(self.bytes, now) + max(shared, 0)


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table, and with --json one object as the last line."""
    files = [Path(default_model(one).path) for one in arguments.build or [arguments.model]]
    draft = Path(default_model(arguments.draft_model).path) if arguments.draft_model else None
    machine = replace(this_machine(paths().models), memory_free=1 << 60)  # whether it fits is not the question here
    with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as folder:
        learned = Learned(Path(folder) / "learned.json")
        rows = []
        for case in _cases(files, draft):
            say(case.name)
            rows.append(asyncio.run(_measured(case, machine, learned, Path(folder) / "data")))
    figures = {"rows": rows, "memory_error_max": _worst(rows, "mb"), "speed_error_max": _worst(rows, "tok_s")}
    print_table(
        f"Predicted and measured, {hardware_name()}",
        ["configuration", "MB", "measured", "off", "knows", "tok/s", "measured", "off", "knows"],
        [_row(row) for row in rows],
    )
    print(f"farthest off: memory {figures['memory_error_max']:.1%}, speed {figures['speed_error_max']:.1%}")
    if arguments.json:
        print(json.dumps(figures))
    return 0


def _cases(files: Sequence[Path], draft: Path | None) -> list[_Case]:
    found = []
    for path in files:
        subject = subject_of_file(path)
        kinds: tuple[KvType, ...] = ("f16", "q8") if takes_q8(subject.architecture, subject.engine) else ("f16",)
        found += [_Case(path, subject, context, kv) for context, kv in product(_CONTEXTS, kinds)]
        if draft is not None and draft != path and _same_vocabulary(subject, draft):
            found.append(_Case(path, subject, _CONTEXTS[1], "f16", draft))
    return found


def _same_vocabulary(subject: Subject, draft: Path) -> bool:
    # one of another vocabulary is loaded, found to be of no use, and let go
    return subject.architecture.vocab_size == subject_of_file(draft).architecture.vocab_size


async def _measured(case: _Case, machine: Machine, learned: Learned, data: Path) -> dict[str, Any]:
    subject = case.subject
    wishes = Wishes(
        context=case.context,
        kv=case.kv,
        filled=1 - _ANSWER / case.context,
        prompt=case.context - _ANSWER - _SPARE,
        learned=learned.about(subject.engine, subject.scheme, subject.name),
        draft=subject_of_file(case.draft) if case.draft else None,
    )
    expected = plan(subject, machine, wishes)
    env = {"NUTSHELL_DATA_DIR": str(data)}
    async with Session(load=False, env=env) as session:
        pid = session.supervisor.pid
        assert pid is not None
        peak = _Peak(pid, case.path)
        try:
            options = LoadModel(
                path=str(case.path),
                n_ctx=case.context,
                kv="q8" if case.kv == "q8" else "f16",
                speculation="custom" if case.draft else "off",
                draft_model=str(case.draft or ""),
            )
            await session.client.wait_for_job(await session.client.load_model(options))
            handshake = await session.supervisor.ready()
            usage = await _answer(handshake.base_url, handshake.token, case.context, peak)
        finally:
            held = peak.stop()
    if not case.draft:
        seen = Seen(usage.prompt_tokens, usage.ttft_s, 1 / usage.tok_s)
        learned.add(observation(subject, machine.cores, case.context, case.kv, held, seen, used=case.context))
    return {
        "config": case.name,
        "predicted_mb": round(expected.memory.peak / 1e6, 1),
        "measured_mb": round(held / 1e6, 1),
        "memory_known_from": wishes.learned.of_memory,
        "predicted_tok_s": None if case.draft else round(expected.speed.tokens, 2),
        "measured_tok_s": None if case.draft else round(usage.tok_s, 2),
        "speed_known_from": wishes.learned.of_speed,
        "predicted_ttft_s": round(expected.speed.first * usage.prompt_tokens / wishes.prompt, 3),
        "measured_ttft_s": round(usage.ttft_s, 3),
    }


async def _answer(base_url: str, token: str, context: int, peak: _Peak) -> _Timed:
    """The prompt alone, then the median of answers behind the prompt that is in the cache.

    One alone says little: 0.5B with 4,096 cells wrote 21.4 to 29.5 tokens a second in four runs on one idle machine.
    """
    prompt = " the" * (context - _ANSWER - _SPARE)
    async with httpx.AsyncClient(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=600) as http:
        first, read = await _complete(http, prompt, 1)
        with peak.resting():
            answers = [await _complete(http, prompt, _ANSWER) for _ in range(_ANSWERS)]
    rate = statistics.median(usage["completion_tokens"] / all_s for usage, all_s in answers)
    return _Timed(int(first["prompt_tokens"]), read, rate)


async def _complete(http: httpx.AsyncClient, prompt: str, tokens: int) -> tuple[dict[str, Any], float]:
    began = time.perf_counter()
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0.0}
    reply = (await http.post("/v1/completions", json=body)).raise_for_status()
    return reply.json()["usage"], time.perf_counter() - began


def _worst(rows: Sequence[dict[str, Any]], unit: str) -> float:
    """The largest error of the predictions that rest on a load of the same scheme; 0 where there is none."""
    known = "memory_known_from" if unit == "mb" else "speed_known_from"
    found = [
        abs(row[f"predicted_{unit}"] / row[f"measured_{unit}"] - 1)
        for row in rows
        if row[known] in ("model", "scheme") and row[f"predicted_{unit}"] is not None
    ]
    return round(max(found, default=0.0), 4)


def _row(row: dict[str, Any]) -> list[str]:
    cells = [row["config"]]
    for unit, known in (("mb", "memory_known_from"), ("tok_s", "speed_known_from")):
        expected, measured = row[f"predicted_{unit}"], row[f"measured_{unit}"]
        if expected is None:
            cells += ["", "", "", ""]
        else:
            cells += [f"{expected:.1f}", f"{measured:.1f}", f"{expected / measured - 1:+.1%}", row[known] or "nothing"]
    return cells
