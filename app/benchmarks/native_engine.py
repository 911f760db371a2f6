"""`nutshell bench engine --model A --peer-gguf B`: a build on our own engine beside a GGUF on llama.cpp.

The peer runs at its best: numbers of threads take turns, for decode and for prefill, with flash attention (what
llama.cpp chooses on a processor), 512 tokens a pass, and through `backend.engine.llama_cpp`, which adds less to a
token than llama-cpp-python's own `Llama` (`bench engine` without a peer measures that). Rounds are interleaved, so that
a machine whose speed drifts treats both alike. The gate comes first: logits are finite, and a dense build of the same
weights begins as the peer does; for any other build its divergence from the peer is stated.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from app.benchmarks.busy import busy_core
from app.benchmarks.child import Child
from app.benchmarks.passes import (
    decode_seconds,
    fill,
    greedy,
    prefill_seconds,
    spent_by_step,
    text_tokens,
    tree_seconds,
)
from app.benchmarks.report import hardware_name, print_table
from app.models import default_model
from app.terminal import say
from backend.api.errors import NutshellError
from backend.api.schemas import Completion, LoadModel, ModelEntry, Sampling
from backend.engine.generate import Session, Token, generate
from backend.engine.llama_cpp import LlamaCppModel
from backend.engine.loading import load_model
from backend.engine.model import Logits, Model, TokenTree
from backend.quantize.measure import mean_kl

__all__ = ["run"]

_CONTEXT = 512
_N_CTX = 1024
_TOKENS = 16
_ROUNDS = 7
#: turns of each number of threads of the peer, and tokens of a prefill in them
_TRIALS = 6
_TRIAL_TOKENS = 128
#: of decoding in each turn beside a busy process
_BUSY_S = 5.0
#: passes of the table of a token
_PROFILED = 24
_TREES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_DENSE = {"f32", "f16", "bf16"}
_PROMPT = "The three most important things about the sea are"


class _Both:
    """The two models, and all seconds that were measured of them: decode[i] is a list of tokens of round i."""

    def __init__(self, ours: Model, theirs: Model, theirs_prefill: Model) -> None:
        self.decoders = {"ours": ours, "theirs": theirs}
        self.prefillers = {"ours": ours, "theirs": theirs_prefill}
        self.decode: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
        self.prefill: dict[str, list[float]] = {"ours": [], "theirs": []}

    def round(self, number: int, *, prefill: bool = True, limit_s: float = float("inf")) -> None:
        """One turn of each, in alternating order."""
        for name in sorted(self.decoders, reverse=bool(number % 2)):
            model = self.decoders[name]
            tokens = text_tokens(model, _CONTEXT + _TOKENS)
            if prefill:
                self.prefill[name].append(prefill_seconds(self.prefillers[name], tokens[:_CONTEXT]))
            if model.length != _CONTEXT:
                fill(model, tokens[:_CONTEXT])
            self.decode[name].append(decode_seconds(model, tokens[_CONTEXT:], limit_s=limit_s))


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table, and with --json one object as the last line."""
    entry, peer = default_model(arguments.model), default_model(arguments.peer_gguf)
    rounds = arguments.rounds or _ROUNDS
    say("memory and loading")
    resident = _resident(entry)
    ours, loaded = load_model(entry, LoadModel(n_ctx=_N_CTX, n_threads=arguments.threads), lambda _: True)
    say("the peer's best number of threads")
    peers, best_decode, best_prefill = _peers(Path(peer.path))
    theirs = peers[best_decode]
    try:
        gate = _gate(entry, ours, theirs)
        both = _Both(ours, theirs, peers[best_prefill])
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            both.round(number)
        figures: dict[str, Any] = {
            "model": entry.name,
            "peer": peer.name,
            "hardware": hardware_name(),
            "n_threads": loaded.n_threads,
            "peer_threads": {"decode": best_decode, "prefill": best_prefill},
            "context": _CONTEXT,
            "rounds": rounds,
            **gate,
            **_speeds(both),
            **resident,
        }
        say("a token, step by step")
        tokens = text_tokens(ours, _CONTEXT + 1)
        fill(ours, tokens[:_CONTEXT])
        figures["token"] = spent_by_step(ours, tokens[_CONTEXT], _PROFILED)
        say("trees")
        figures["t_n"] = _trees(ours, branches=1)
        figures["t_n_tree"] = _trees(ours, branches=2)
        figures |= _python_time(ours)
        if arguments.busy:
            say("with a busy process")
            figures |= _beside_busy(both, max(3, rounds // 2))
    finally:
        for model in (ours, *peers.values()):
            model.close()
    _print(figures)
    if arguments.json:
        print(json.dumps(figures))
    return 0


def _peers(path: Path) -> tuple[dict[int, Model], int, int]:
    """Models with the numbers of threads that are best for decode and for prefill, and these numbers."""

    def load(threads: int) -> Model:
        return LlamaCppModel(path, n_ctx=_N_CTX, n_threads=threads, n_gpu_layers=0, n_batch=512)

    models = {threads: load(threads) for threads in thread_counts(psutil.cpu_count(logical=True) or 1)}
    best_decode, best_prefill = best_threads(models)
    for threads in models.keys() - {best_decode, best_prefill}:
        models.pop(threads).close()
    return models, best_decode, best_prefill


def thread_counts(cores: int) -> list[int]:
    """The numbers that are tried: all up to 4, then in steps of a third to a half, and all cores."""
    steps = [count for power in range(16) for count in (2**power, 3 * 2**power)]
    return sorted({count for count in steps if count <= cores} | {cores})


def best_threads(models: Mapping[int, Model]) -> tuple[int, int]:
    """The numbers of threads of the fastest token and of the fastest prefill.

    All take turns, several times, and the best turn of each counts: a busy moment that met one of them in both of two
    passes made the peer run on one thread, at two thirds of its speed. A tie within a fiftieth goes to more threads.
    """
    decode, prefill = dict.fromkeys(models, float("inf")), dict.fromkeys(models, float("inf"))
    for number in range(_TRIALS):
        for threads in sorted(models, reverse=bool(number % 2)):
            model = models[threads]
            tokens = text_tokens(model, _TRIAL_TOKENS)
            prefill[threads] = min(prefill[threads], prefill_seconds(model, tokens))
            decode[threads] = min(decode[threads], *decode_seconds(model, tokens[:_TOKENS]))
    return _best(decode), _best(prefill)


def _best(seconds: Mapping[int, float]) -> int:
    near = 1.02 * min(seconds.values())
    return max(threads for threads, taken in seconds.items() if taken <= near)


def _resident(entry: ModelEntry) -> dict[str, Any]:
    """Memory of a process with this model, over its file and its cache; and the seconds of a warm load."""
    with Child("app.benchmarks.resident", entry.path, str(_N_CTX), env=os.environ) as child:
        seen = child.read()
    model = seen["rss_bytes"] - seen["base_bytes"]
    return {
        "rss_ratio": round(model / (seen["file_bytes"] + seen["kv_bytes"]), 4),
        "rss_mb": round(seen["rss_bytes"] / 1e6, 1),
        "rss_without_model_mb": round(seen["base_bytes"] / 1e6, 1),
        "file_mb": round(seen["file_bytes"] / 1e6, 1),
        "kv_mb": round(seen["kv_bytes"] / 1e6, 1),
        "load_s": round(seen["load_s"], 3),
    }


def _gate(entry: ModelEntry, ours: Model, theirs: Model) -> dict[str, Any]:
    """Finite logits; the same beginning for dense builds; divergence and agreement for all.

    Raises:
        NutshellError: logits that are no numbers, or a dense build that says something else.
    """
    tokens = text_tokens(ours, 64)
    logits = [_logits(model, tokens) for model in (ours, theirs)]
    if not all(np.isfinite(side).all() for side in logits):
        raise NutshellError("The logits are not all numbers, so the speed says nothing.")
    starts = [greedy(model, _PROMPT, 12) for model in (ours, theirs)]
    same = next((i for i, (a, b) in enumerate(zip(*starts, strict=True)) if a != b), len(starts[0]))
    dense = (entry.quantization or "").lower() in _DENSE
    if dense and same < 4:
        raise NutshellError(
            "The two engines begin differently with the same weights, so their speeds cannot be compared.",
            details=f"ours: {starts[0]}\ntheirs: {starts[1]}",
        )
    found: dict[str, Any] = {"same_greedy_tokens": same}
    if tokens == text_tokens(theirs, 64):
        width = min(side.shape[1] for side in logits)
        a, b = (side[:, :width] for side in logits)
        found["kl_to_peer"] = round(mean_kl(b, a), 6)
        found["same_top_1"] = round(float((a.argmax(1) == b.argmax(1)).mean()), 3)
    return found


def _logits(model: Model, tokens: Sequence[int]) -> Logits:
    model.rewind(0)
    logits = model.forward(TokenTree(tokens, range(-1, len(tokens) - 1), range(len(tokens)))).copy()
    model.rewind(0)
    return logits


def _speeds(both: _Both) -> dict[str, Any]:
    """Tokens a second by the best token or pass, and by the median round; ratios by both."""
    found: dict[str, Any] = {}
    by_round: dict[str, list[float]] = {}
    for name, turns in both.decode.items():
        by_round[name] = [len(turn) / sum(turn) for turn in turns]
        token = min(min(turn) for turn in turns)  # what a quiet machine gives for all of them
        found[f"{name}_decode_tok_s"] = round(1 / token, 2)
        found[f"{name}_decode_median_tok_s"] = round(statistics.median(by_round[name]), 2)
        found[f"{name}_best_token_ms"] = round(1000 * token, 3)
        found[f"{name}_prefill_tok_s"] = round(_CONTEXT / min(both.prefill[name]), 1)
        found[f"{name}_prefill_median_tok_s"] = round(_CONTEXT / statistics.median(both.prefill[name]), 1)
    pairs = list(zip(by_round["ours"], by_round["theirs"], strict=True))
    passes = list(zip(both.prefill["theirs"], both.prefill["ours"], strict=True))
    return {
        "ratio_decode": round(found["theirs_best_token_ms"] / found["ours_best_token_ms"], 3),
        "ratio_decode_median": round(statistics.median(a / b for a, b in pairs), 3),
        "ratio_prefill": round(found["ours_prefill_tok_s"] / found["theirs_prefill_tok_s"], 3),
        "ratio_prefill_median": round(statistics.median(a / b for a, b in passes), 3),
        **found,
    }


def _trees(model: Model, *, branches: int) -> dict[str, float]:
    """T(n) / T(1) behind 512 tokens, all logits wanted; the best of five passes each."""
    tokens = text_tokens(model, _CONTEXT + max(_TREES))
    fill(model, tokens[:_CONTEXT])
    seconds = {
        n: tree_seconds(model, tokens[_CONTEXT : _CONTEXT + n], branches=branches, rounds=5)
        for n in _TREES
        if n <= model.info.n_batch
    }
    return {str(n): round(time_n / seconds[1], 3) for n, time_n in seconds.items()}


class _Clock:
    """Stands before the native program and adds up the seconds of its forwards."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self.seconds = 0.0

    def forward(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return self._native.forward(*arguments)
        finally:
            self.seconds += time.perf_counter() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)


def _python_time(model: Model) -> dict[str, Any]:
    """Milliseconds of a generated token that are not in the native forward: sampling, text, bookkeeping."""
    executor = getattr(model, "_executor", None)
    native = getattr(executor, "_native", None)
    if native is None:
        return {"python_ms_per_token": None}
    clock = _Clock(native)
    executor._native = clock  # type: ignore[union-attr]
    try:
        session = Session(model)
        best = float("inf")
        for _ in range(3):
            session.reuse([])
            asked = Completion(prompt=_PROMPT, sampling=Sampling(temperature=0.8, top_k=40, seed=1, max_tokens=64))
            start = inside = 0.0
            count = 0
            for item in generate(session, asked, lambda: False):
                if isinstance(item, Token):
                    if not start:  # the prompt is behind us
                        start, inside = time.perf_counter(), clock.seconds
                    count += 1
            outside = time.perf_counter() - start - (clock.seconds - inside)
            best = min(best, outside / max(1, count - 1))
        return {"python_ms_per_token": round(1000 * best, 4)}
    finally:
        executor._native = native  # type: ignore[union-attr]


def _beside_busy(both: _Both, rounds: int) -> dict[str, Any]:
    """What part of its quiet decode speed each engine keeps while a foreign process wants a core."""
    quiet = {name: [s for turn in turns for s in turn] for name, turns in both.decode.items()}
    both.decode = {name: [] for name in both.decode}
    for number in range(2):  # both contexts are filled while it is quiet
        both.round(number, prefill=False)
    both.decode = {name: [] for name in both.decode}
    with busy_core() as pinned:
        for number in range(rounds):
            both.round(number, prefill=False, limit_s=_BUSY_S)
    kept = {
        f"busy_{name}": round(statistics.mean(quiet[name]) / statistics.mean([s for turn in turns for s in turn]), 3)
        for name, turns in both.decode.items()
    }
    return {**kept, "busy_pinned": pinned}


def _print(figures: dict[str, Any]) -> None:
    print_table(
        f"{figures['model']} beside {figures['peer']}, context {_CONTEXT}, {figures['hardware']}",
        ["", "decode tok/s", "median", "prefill tok/s", "median", "threads"],
        [
            [name, *(f"{figures[f'{name}_{key}']:.1f}" for key in _COLUMNS), threads]
            for name, threads in (
                ("ours", str(figures["n_threads"])),
                ("theirs", "{decode}, {prefill}".format(**figures["peer_threads"])),
            )
        ]
        + [["ratio", *(f"{figures[key]:.3f}" for key in _RATIOS), ""]],
    )
    print_table("T(n) / T(1)", ["n", *figures["t_n"]], [
        ["chain", *(f"{ratio:.2f}" for ratio in figures["t_n"].values())],
        ["tree", *(f"{ratio:.2f}" for ratio in figures["t_n_tree"].values())],
    ])  # fmt: skip
    print_table(
        "A token, step by step: GB/s of weights, milliseconds, and of those that go row by row before",
        ["step", "times", "MB", "GB/s", "ms", "rows"],
        [
            [
                one["step"],
                str(one["count"]),
                f"{one['mb']:.1f}",
                f"{one['mb'] / one['ms']:.1f}",
                f"{one['ms']:.3f}",
                f"{one['rows_ms']:.3f}",
            ]
            for one in figures["token"]
        ],
    )
    told = ("rss_ratio", "load_s", "python_ms_per_token", "kl_to_peer", "same_top_1", "same_greedy_tokens")
    for key in (*told, "busy_ours", "busy_theirs"):
        if figures.get(key) is not None:
            print(f"{key}: {figures[key]}")


_COLUMNS = ("decode_tok_s", "decode_median_tok_s", "prefill_tok_s", "prefill_median_tok_s")
_RATIOS = ("ratio_decode", "ratio_decode_median", "ratio_prefill", "ratio_prefill_median")
