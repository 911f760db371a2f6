"""`nutshell bench engine`: our engine on llama.cpp beside llama-cpp-python's own high-level `Llama`.

Both run in this process on the same library, file, context, threads and sampler settings, in turn within each round, so
that a machine whose speed drifts treats both alike. The gate comes first: at temperature 0 both must write the same
text. Ratios are taken per round and their median is quoted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

from app.benchmarks.report import hardware_name, print_table
from app.models import default_model
from backend.api.errors import NutshellError
from backend.api.schemas import Completion, LoadModel, ModelEntry, Sampling
from backend.engine.generate import End, Prefill, Session, Token, generate
from backend.engine.loading import load_model

_TOKENS = 128
_ROUNDS = 7
_SAMPLING = Sampling(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, seed=1, max_tokens=_TOKENS)
_GREEDY = Sampling(temperature=0, seed=1, max_tokens=48)
_QUESTION = "Tell me a long story about a lighthouse keeper who collects storms in jars."
_LONG = " ".join(f"Item {i}: the quick brown fox jumps over the lazy dog." for i in range(60))


class _Ours:
    """Our session, driven as the engine thread drives it."""

    def __init__(self, entry: ModelEntry, n_threads: int) -> None:
        self.model, self.loaded = load_model(entry, LoadModel(n_ctx=2048, n_threads=n_threads), lambda _: True)
        self.session = Session(self.model)

    def run(self, prompt: str, sampling: Sampling) -> tuple[str, float, float]:
        """Text, seconds to the first token, decode tok/s; nothing is reused from before."""
        self.session.reuse([])
        text, first, count = [], 0.0, 0
        start = now = time.perf_counter()
        for item in generate(self.session, Completion(prompt=prompt, sampling=sampling), lambda: False):
            now = time.perf_counter()
            if isinstance(item, Token):
                first = first or now
                count += 1
                text.append(item.text)
            elif isinstance(item, End):
                text.append(item.text)
            else:
                assert isinstance(item, Prefill)
        return "".join(text), first - start, (count - 1) / (now - first)


class _Theirs:
    """llama-cpp-python's `Llama`, streaming, at the same settings."""

    def __init__(self, path: str, n_threads: int, n_batch: int) -> None:
        from llama_cpp import Llama

        self.llama = Llama(
            path, n_ctx=2048, n_batch=n_batch, n_ubatch=n_batch, n_threads=n_threads, n_threads_batch=n_threads,
            flash_attn=True, verbose=False,
        )  # fmt: skip

    def run(self, prompt: str, sampling: Sampling) -> tuple[str, float, float]:
        """As above."""
        self.llama.reset()
        text, first, count = [], 0.0, 0
        tokens = self.llama.tokenize(prompt.encode(), add_bos=False, special=True)
        start = now = time.perf_counter()
        stream: Iterator[Any] = self.llama.create_completion(
            tokens, max_tokens=sampling.max_tokens, temperature=sampling.temperature, top_k=sampling.top_k,
            top_p=sampling.top_p, min_p=sampling.min_p, repeat_penalty=1.0, seed=1, stream=True,
        )  # fmt: skip
        for chunk in stream:
            piece = chunk["choices"][0]["text"]
            now = time.perf_counter()
            if piece:
                first = first or now
                count += 1
                text.append(piece)
        return "".join(text), first - start, (count - 1) / (now - first)


def _chat(text: str) -> str:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table, and with --json one object as the last line."""
    entry = default_model(arguments.model)
    ours = _Ours(entry, 0)
    n_threads = ours.loaded.n_threads
    theirs = _Theirs(entry.path, n_threads, ours.model.info.n_batch)
    _gate(ours, theirs)
    speeds: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    prefill: dict[str, list[float]] = {"ours": [], "theirs": []}
    n_long = len(ours.model.tokenizer.encode(_chat(_LONG), special=True))
    for number in range(arguments.rounds or _ROUNDS):
        order = [("ours", ours), ("theirs", theirs)]
        for name, engine in order if number % 2 else reversed(order):
            _, ttft, speed = engine.run(_chat(_QUESTION), _SAMPLING)  # type: ignore[attr-defined]
            speeds[name].append((ttft, speed))
            _, ttft, _ = engine.run(_chat(_LONG), Sampling(temperature=0, max_tokens=2))  # type: ignore[attr-defined]
            prefill[name].append(n_long / ttft)
    result = _result(entry, n_threads, speeds, prefill)
    print_table(
        f"{entry.name}, {n_threads} threads, {hardware_name()}",
        ["", "decode tok/s", "prefill tok/s", "first token ms"],
        [
            [name, f"{result[f'{name}_tok_s']:.1f}", f"{result[f'{name}_prefill_tok_s']:.0f}",
             f"{result[f'{name}_ttft_s'] * 1000:.1f}"]
            for name in ("ours", "theirs")
        ] + [["ratio (median of rounds)", f"{result['ratio_decode']:.3f}", f"{result['ratio_prefill']:.3f}", ""]],
    )  # fmt: skip
    if arguments.json:
        print(json.dumps(result))
    return 0


def _gate(ours: _Ours, theirs: _Theirs) -> None:
    texts = [engine.run(_chat(_QUESTION), _GREEDY)[0] for engine in (ours, theirs)]
    if not texts[0].strip() or texts[0] != texts[1]:
        raise NutshellError(
            "The two engines do not write the same text at temperature 0, so their speeds cannot be compared.",
            details=f"ours: {texts[0]!r}\ntheirs: {texts[1]!r}",
        )


def _result(
    entry: ModelEntry,
    n_threads: int,
    speeds: dict[str, list[tuple[float, float]]],
    prefill: dict[str, list[float]],
) -> dict[str, Any]:
    pairs = list(zip(speeds["ours"], speeds["theirs"], strict=True))
    result: dict[str, Any] = {
        "model": entry.name,
        "hardware": hardware_name(),
        "n_threads": n_threads,
        "rounds": len(pairs),
        "ratio_decode": round(statistics.median(a[1] / b[1] for a, b in pairs), 4),
        "ratio_decode_min": round(min(a[1] / b[1] for a, b in pairs), 4),
        "ratio_prefill": round(
            statistics.median(a / b for a, b in zip(prefill["ours"], prefill["theirs"], strict=True)), 4
        ),
    }
    for name, values in speeds.items():
        result[f"{name}_tok_s"] = round(statistics.median(v[1] for v in values), 2)
        result[f"{name}_best_tok_s"] = round(max(v[1] for v in values), 2)
        result[f"{name}_ttft_s"] = round(statistics.median(v[0] for v in values), 4)
        result[f"{name}_prefill_tok_s"] = round(statistics.median(prefill[name]), 1)
    return result
