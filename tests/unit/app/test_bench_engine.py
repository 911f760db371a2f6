"""The parts of `nutshell bench engine --peer-gguf`, on models without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
import pytest

from app.benchmarks import native_engine, passes
from app.benchmarks.busy import busy_core
from backend.api.errors import NutshellError
from backend.api.schemas import ModelEntry
from backend.engine.model import Logits, TokenTree
from tests.fakes.models import FakeModel


def echo(tokens: Sequence[int]) -> int:
    return (tokens[-1] + 1) % 200


def fake(next_token: Any = echo) -> FakeModel:
    return FakeModel(next_token, n_ctx=2048, n_batch=64)


def entry(quantization: str) -> ModelEntry:
    return ModelEntry(id="a", name="a", path="/a", source="file", bytes=1, quantization=quantization)


def test_a_text_has_as_many_tokens_as_asked_for_and_does_not_repeat_itself() -> None:
    tokens = passes.text_tokens(fake(), 700)
    assert len(tokens) == 700
    lines = bytes(tokens).split(b"\n")[:-1]
    assert len(set(lines)) == len(lines)


def test_decoding_leaves_the_cache_as_it_was() -> None:
    model = fake()
    passes.fill(model, [*range(100)])
    assert model.length == 100
    assert len(passes.decode_seconds(model, [1, 2, 3])) == 3
    assert model.length == 100
    assert len(passes.decode_seconds(model, [1, 2, 3], limit_s=0.0)) == 1
    assert passes.tree_seconds(model, [1, 2, 3, 4], branches=2, rounds=2) > 0
    assert model.length == 100


def test_trees_are_chains_or_branch() -> None:
    assert passes.tree_parents(4, branches=1) == [-1, 0, 1, 2]
    assert passes.tree_parents(6, branches=2) == [-1, 0, 0, 1, 1, 2]


def test_the_likeliest_tokens_follow_a_prompt() -> None:
    assert passes.greedy(fake(), "a", 3) == [98, 99, 100]


def test_a_dense_build_that_says_something_else_is_not_measured() -> None:
    other = fake(lambda tokens: 7)
    with pytest.raises(NutshellError, match="begin differently"):
        native_engine._gate(entry("F16"), fake(), other)
    found = native_engine._gate(entry("aqlm-2x8"), fake(), other)
    assert found["same_greedy_tokens"] == 0
    assert found["kl_to_peer"] > 1
    same = native_engine._gate(entry("F16"), fake(), fake())
    assert same == {"same_greedy_tokens": 12, "kl_to_peer": 0.0, "same_top_1": 1.0}


def test_logits_that_are_no_numbers_are_not_measured() -> None:
    class Broken(FakeModel):
        def forward(self, nodes: TokenTree) -> Logits:
            return np.full_like(super().forward(nodes), np.nan)

    with pytest.raises(NutshellError, match="not all numbers"):
        native_engine._gate(entry("q4"), Broken(echo, n_ctx=2048), fake())


def test_ratios_come_from_the_best_token_and_from_the_median_of_rounds() -> None:
    both = native_engine._Both(fake(), fake(), fake())
    both.decode = {"ours": [[0.1, 0.1], [0.2, 0.2], [0.1, 0.1]], "theirs": [[0.3, 0.3], [0.2, 0.2], [0.4, 0.4]]}
    both.prefill = {"ours": [1.0, 2.0, 1.0], "theirs": [2.0, 2.0, 4.0]}
    found = native_engine._speeds(both)
    assert found["ratio_decode"] == 2.0
    assert found["ratio_decode_median"] == 3.0
    assert found["ours_decode_tok_s"] == 10.0
    assert found["ratio_prefill"] == 2.0
    assert found["ours_prefill_tok_s"] == 512.0


def test_rounds_alternate_and_fill_the_context_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_engine, "_CONTEXT", 32)
    both = native_engine._Both(fake(), fake(), fake())
    both.round(0)
    both.round(1, prefill=False)
    assert all(len(turns) == 2 for turns in both.decode.values())
    assert all(len(turns) == 1 for turns in both.prefill.values())
    assert both.decoders["ours"].length == 32


def test_trees_and_python_time_of_a_model_without_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_engine, "_CONTEXT", 32)
    model = fake()
    ratios = native_engine._trees(model, branches=2)
    assert list(ratios) == [str(n) for n in native_engine._TREES]
    assert ratios["1"] == 1.0
    assert native_engine._python_time(model) == {"python_ms_per_token": None}


def test_the_native_forward_is_not_counted_as_python() -> None:
    class Native:
        def forward(self) -> int:
            return 3

        other = 5

    clock = native_engine._Clock(Native())
    assert clock.forward() == 3
    assert clock.seconds > 0
    assert clock.other == 5


def test_the_busy_process_is_there_and_gone() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with busy_core():
        (child,) = [child for child in psutil.Process().children() if child.pid not in before]
        assert child.is_running()
    assert not child.is_running()


def test_a_busy_moment_does_not_choose_the_peers_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {threads: fake() for threads in (1, 2, 4)}
    alone = {id(models[1]): 3.0, id(models[2]): 2.0, id(models[4]): 2.5}
    calls = dict.fromkeys(alone, 0)

    def seconds(model: FakeModel) -> float:  # of the turns of the best one only one is quiet
        calls[id(model)] += 1
        return alone[id(model)] * (10 if model is models[2] and calls[id(model)] != 7 else 1)

    monkeypatch.setattr(native_engine, "prefill_seconds", lambda model, tokens: alone[id(model)])
    monkeypatch.setattr(native_engine, "decode_seconds", lambda model, tokens: [seconds(model), seconds(model)])
    assert native_engine.best_threads(models) == (2, 2)  # type: ignore[arg-type]
    assert set(calls.values()) == {2 * native_engine._TRIALS}


def test_of_equally_fast_numbers_of_threads_the_larger_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {threads: fake() for threads in (1, 2)}
    monkeypatch.setattr(native_engine, "prefill_seconds", lambda model, tokens: 1.01 if model is models[2] else 1.0)
    monkeypatch.setattr(native_engine, "decode_seconds", lambda model, tokens: [1.03 if model is models[2] else 1.0])
    assert native_engine.best_threads(models) == (1, 2)  # type: ignore[arg-type]


def test_numbers_of_threads_to_try() -> None:
    assert native_engine.thread_counts(1) == [1]
    assert native_engine.thread_counts(2) == [1, 2]
    assert native_engine.thread_counts(10) == [1, 2, 3, 4, 6, 8, 10]
    assert native_engine.thread_counts(64)[-3:] == [32, 48, 64]
