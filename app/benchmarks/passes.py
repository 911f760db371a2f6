"""Forward passes of a loaded model, timed: what the engines' benchmarks share. Seconds throughout."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from backend.engine.model import Model, TokenTree

__all__ = [
    "decode_seconds",
    "fill",
    "greedy",
    "prefill_seconds",
    "spent_by_step",
    "text_tokens",
    "tree_parents",
    "tree_seconds",
]

_WORDS = ("lighthouse", "storm", "jar", "keeper", "winter", "harbour", "signal", "glass", "captain", "ledger", "copper")


def text_tokens(model: Model, count: int) -> list[int]:
    """`count` tokens of a text that does not repeat itself, in the model's own vocabulary."""
    lines: list[str] = []
    tokens: list[int] = []
    while len(tokens) < count:
        for number in range(len(lines), len(lines) + 64):
            one, two, three = (_WORDS[number * step % len(_WORDS)] for step in (1, 4, 7))
            lines.append(f"{number}. The {one} of the {two} was seen {number * 37 % 101} times near the {three}.")
        tokens = model.tokenizer.encode("\n".join(lines), special=False)
    return tokens[:count]


def fill(model: Model, tokens: Sequence[int]) -> None:
    """Empties the cache, and reads these tokens."""
    model.rewind(0)
    for first in range(0, len(tokens), model.info.n_batch):
        part = tokens[first : first + model.info.n_batch]
        model.forward(TokenTree.chain(part, logits=first + len(part) == len(tokens)))
        model.commit(range(len(part)))


def prefill_seconds(model: Model, tokens: Sequence[int]) -> float:
    """Of `fill`."""
    start = time.perf_counter()
    fill(model, tokens)
    return time.perf_counter() - start


def decode_seconds(model: Model, tokens: Sequence[int], *, limit_s: float = float("inf")) -> list[float]:
    """Of each token, one after the other behind what is committed; the cache is as before afterwards.

    It ends with the token that passes the limit: beside a busy process, llama.cpp may need seconds for one.
    """
    length = model.length
    seconds: list[float] = []
    for token in tokens:
        start = time.perf_counter()
        model.forward(TokenTree.chain([token]))
        model.commit([0])
        seconds.append(time.perf_counter() - start)
        if sum(seconds) > limit_s:
            break
    model.rewind(length)
    return seconds


def spent_by_step(model: Model, token: int, rounds: int) -> list[dict[str, Any]]:
    """Where one token behind what is committed spends its time, by kind of step in the order of a layer.

    Of each step the first quartile of `rounds` passes, because another program may have met any of them. Empty for an
    engine that cannot tell.
    """
    executor: Any = getattr(model, "_executor", None)
    if executor is None or not hasattr(executor, "profile"):
        return []
    length = model.length
    executor.profile(True)
    passes = []
    for _ in range(rounds):
        model.forward(TokenTree.chain([token]))
        passes.append(executor.profile(True))
        model.rewind(length)
    executor.profile(False)
    found: dict[str, dict[str, Any]] = {}
    for same in zip(*passes, strict=True):
        kind = found.setdefault(same[0].step, {"step": same[0].step, "count": 0, "mb": 0.0, "ms": 0.0, "rows_ms": 0.0})
        kind["count"] += 1
        kind["mb"] += same[0].weight_bytes / 1e6
        kind["ms"] += 1000 * sorted(one.s for one in same)[rounds // 4]
        kind["rows_ms"] += 1000 * sorted(one.row_s for one in same)[rounds // 4]
    return [
        {key: round(value, 3) if isinstance(value, float) else value for key, value in kind.items()}
        for kind in found.values()
    ]


def tree_parents(nodes: int, *, branches: int) -> list[int]:
    """A chain (one branch), or a tree in which every node has `branches` children."""
    return [(node - 1) // branches for node in range(nodes)]


def tree_seconds(model: Model, tokens: Sequence[int], *, branches: int, rounds: int) -> float:
    """The best of `rounds` passes of one tree whose nodes' logits are all wanted, as for checking a draft."""
    tree = TokenTree(tokens, tree_parents(len(tokens), branches=branches), range(len(tokens)))
    length = model.length
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        model.forward(tree)
        best = min(best, time.perf_counter() - start)
        model.rewind(length)
    return best


def greedy(model: Model, prompt: str, count: int) -> list[int]:
    """The likeliest `count` tokens behind a prompt; the cache is empty afterwards."""
    tokens = model.tokenizer.encode(prompt, special=True)
    model.rewind(0)
    out: list[int] = []
    for _ in range(count):
        logits = model.forward(TokenTree.chain(tokens))
        model.commit(range(len(tokens)))
        tokens = [int(logits[0].argmax())]
        out += tokens
    model.rewind(0)
    return out
