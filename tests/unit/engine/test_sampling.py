"""The sampler chain against a slow, obvious one, and against the probabilities that it must draw with."""

from __future__ import annotations

import numpy as np
import pytest

from backend.api.errors import InvalidRequestError
from backend.api.schemas import Sampling
from backend.engine.randomness import uniform
from backend.engine.sampling import Sampler, log_softmax


def reference(row: np.ndarray, sampling: Sampling) -> dict[int, float]:
    """The distribution that the chain must draw from: full sorts, Python floats."""
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    if sampling.temperature == 0:
        return {order[0]: 1.0}
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = [float(np.exp((np.float64(row[i]) - np.float64(row[order[0]])) / sampling.temperature)) for i in order]
    total = sum(weights)
    probabilities = [w / total for w in weights]
    kept, mass = [], 0.0
    for i, p in zip(order, probabilities, strict=True):
        if kept and (mass >= sampling.top_p or p < sampling.min_p * probabilities[0]):
            break
        kept.append((i, p))
        mass += p
    total = sum(p for _, p in kept)
    return {i: p / total for i, p in kept}


CHAINS = [
    Sampling(temperature=0),
    Sampling(temperature=1, top_k=0, top_p=1, min_p=0),
    Sampling(temperature=0.7, top_k=40, top_p=0.95, min_p=0.05),
    Sampling(temperature=1.5, top_k=0, top_p=0.9, min_p=0),
    Sampling(temperature=0.3, top_k=5, top_p=1, min_p=0),
    Sampling(temperature=1, top_k=0, top_p=1, min_p=0.2),
    Sampling(temperature=1, top_k=1),
    Sampling(temperature=1, top_k=10**9, top_p=0.01),
]


@pytest.mark.parametrize("n", [1, 2, 31, 63, 64, 65, 1023, 4097])
@pytest.mark.parametrize("sampling", CHAINS, ids=lambda s: f"t{s.temperature}k{s.top_k}p{s.top_p}m{s.min_p}")
def test_candidates_match_the_reference(n: int, sampling: Sampling) -> None:
    row = (np.random.default_rng(n).normal(size=n) * 3).astype(np.float32)
    draw = Sampler(sampling, seed=1, n_vocab=n).draw(row, position=0)
    expected = reference(row, sampling)
    assert list(draw.candidates) == list(expected)
    np.testing.assert_allclose(draw.probabilities, list(expected.values()), rtol=1e-9)


def test_equal_logits_are_ordered_by_id() -> None:
    row = np.zeros(5000, np.float32)
    draw = Sampler(Sampling(temperature=1, top_k=7, top_p=1, min_p=0), 0, 5000).draw(row, 0)
    assert len(draw.candidates) == 7
    assert list(draw.candidates) == sorted(draw.candidates)


def test_draws_follow_the_distribution() -> None:
    """Chi-square over 20,000 positions at a fixed seed; 5 degrees of freedom, 0.1 % critical value 20.5."""
    row = np.log(np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04], np.float32))
    sampler = Sampler(Sampling(temperature=1, top_k=0, top_p=1, min_p=0), seed=7, n_vocab=6)
    n = 20_000
    counts = np.bincount([sampler.pick(row, position) for position in range(n)], minlength=6)
    expected = n * np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
    assert ((counts - expected) ** 2 / expected).sum() < 20.5


def test_randomness_is_a_function_of_seed_and_position() -> None:
    assert uniform(1, 5) == uniform(1, 5)
    assert len({uniform(seed, position) for seed in range(50) for position in range(50)}) == 2500
    values = np.array([uniform(3, i) for i in range(10_000)])
    assert abs(values.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.03
    # neighbouring seeds must not be shifted copies of each other
    assert abs(np.corrcoef(values[1:], [uniform(4, i) for i in range(9_999)])[0, 1]) < 0.03


def test_repetition_penalty_lowers_either_sign() -> None:
    row = np.array([2.0, -2.0, 1.9, -1.0], np.float32)
    sampler = Sampler(Sampling(repetition_penalty=2.0, temperature=1, top_k=0, top_p=1, min_p=0), 0, 4)
    sampler.prime([0, 1])
    draw = sampler.draw(row, 0)
    assert list(draw.candidates) == [2, 0, 3, 1]  # 1.9, 1.0, -1.0, -4.0
    assert row[0] == 2.0, "the caller's row was changed"


def test_frequency_and_presence_count_the_window_only() -> None:
    sampling = Sampling(
        frequency_penalty=1.0, presence_penalty=0.5, penalty_window=2, temperature=1, top_k=0, top_p=1, min_p=0
    )
    sampler = Sampler(sampling, 0, 3)
    sampler.prime([0, 1, 1])  # token 0 has left the window of two
    draw = sampler.draw(np.zeros(3, np.float32), 0)
    p = {int(i): float(v) for i, v in zip(draw.candidates, draw.probabilities, strict=True)}
    assert p[0] == pytest.approx(p[2])
    assert p[1] / p[0] == pytest.approx(np.exp(-2.5), rel=1e-6)


def test_logit_bias_bans_and_forces() -> None:
    row = np.array([5.0, 1.0, 0.0], np.float32)
    assert Sampler(Sampling(temperature=0, logit_bias={"0": -100}), 0, 3).pick(row, 0) == 1
    assert Sampler(Sampling(temperature=0, logit_bias={"2": 100}), 0, 3).pick(row, 0) == 2


@pytest.mark.parametrize("bias", [{"3": 1.0}, {"-1": 1.0}, {"x": 1.0}])
def test_logit_bias_outside_the_vocabulary_is_a_sentence(bias: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError, match="token"):
        Sampler(Sampling(logit_bias=bias), 0, 3)


class OnlyThese:
    """A grammar that allows a fixed set and records what it saw."""

    def __init__(self, allowed: set[int]) -> None:
        self.ids = allowed
        self.looked_at: list[int] = []
        self.accepted: list[int] = []

    def allowed(self, tokens: np.ndarray) -> np.ndarray:
        self.looked_at.append(len(tokens))
        return np.array([int(t) in self.ids for t in tokens])

    def accept(self, token: int) -> None:
        self.accepted.append(token)

    def close(self) -> None: ...


def test_a_grammar_masks_before_top_k() -> None:
    row = np.arange(5000, dtype=np.float32)
    grammar = OnlyThese({4999, 4998, 10, 11})
    sampler = Sampler(Sampling(temperature=1, top_k=2, top_p=1, min_p=0), 0, 5000, grammar)
    assert list(sampler.draw(row, 0).candidates) == [4999, 4998]
    assert grammar.looked_at == [256], "the best 256 were enough"
    rare = OnlyThese({10, 11})
    sampler = Sampler(Sampling(temperature=1, top_k=2, top_p=1, min_p=0), 0, 5000, rare)
    assert list(sampler.draw(row, 0).candidates) == [11, 10]
    assert rare.looked_at == [256, 5000]


def test_a_grammar_holds_at_temperature_zero() -> None:
    grammar = OnlyThese({3})
    sampler = Sampler(Sampling(temperature=0), 0, 10, grammar)
    assert sampler.pick(np.arange(10, dtype=np.float32), 0) == 3
    sampler.accept(3)
    assert grammar.accepted == [3]


def test_a_dead_end_of_the_grammar_is_a_sentence() -> None:
    with pytest.raises(InvalidRequestError, match="format"):
        Sampler(Sampling(), 0, 10, OnlyThese(set())).pick(np.zeros(10, np.float32), 0)


def test_log_softmax_is_normalised_for_large_logits() -> None:
    values = log_softmax(np.array([1000.0, 999.0, -1000.0], np.float32))
    assert np.exp(values.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
