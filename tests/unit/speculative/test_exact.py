"""Drafts do not change what is written: its law is the exact one, and each seed's text that of plain decoding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from backend.api.schemas import Completion, Sampling
from backend.engine.generate import Session, Token, generate
from backend.engine.randomness import uniform
from backend.engine.sampling import Sampler
from tests.unit.speculative.toys import DRAFTS, N_VOCAB, SHAPES, FixedDrafts, Odd, ToyModel, logits_after

PROMPT = [2, 5]
LENGTH = 3  # 216 texts
SAMPLES = 100_000
CHAINS = {
    **{f"T{t}": {"temperature": t} for t in (0.0, 0.3, 0.7, 1.0, 1.5)},
    "top-k": {"temperature": 1.0, "top_k": 2},
    "top-p": {"temperature": 1.0, "top_p": 0.8},
    "min-p": {"temperature": 1.5, "min_p": 0.2},
    "grammar": {"temperature": 1.0},
}


def sampling_of(chain: str, **more: object) -> Sampling:
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    return Sampling(**{**neutral, **CHAINS[chain], **more})  # type: ignore[arg-type]


def exact(chain: str, tokens: Sequence[int]) -> npt.NDArray[np.float64]:
    """(n_vocab,) the conditional that the chain's words mean, computed another way than the sampler does."""
    s = sampling_of(chain)
    row = logits_after(tokens).astype(np.float64)
    if chain == "grammar" and len(tokens) > len(PROMPT):
        grammar = Odd()
        grammar.last = tokens[-1]
        row = np.where(grammar.allowed(np.arange(N_VOCAB)), row, -np.inf)
    if s.temperature == 0:
        return (np.arange(N_VOCAB) == row.argmax()).astype(np.float64)
    if s.top_k:
        row = np.where(row >= np.sort(row)[-s.top_k], row, -np.inf)
    p = np.exp((row - row.max()) / s.temperature)
    p /= p.sum()
    if s.top_p < 1:
        kept, mass = np.zeros(N_VOCAB, bool), 0.0
        for token in np.argsort(-p):
            kept[token] = True
            mass += p[token]
            if mass >= s.top_p:
                break
        p = np.where(kept, p, 0)
    p = np.where(p >= s.min_p * p.max(), p, 0)
    return p / p.sum()


def uniforms(seeds: npt.NDArray[np.uint64], position: int) -> npt.NDArray[np.float64]:
    """`uniform` for many seeds at once."""

    def mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    step = np.uint64((position + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1)
    return (mix(mix(seeds) + step) >> np.uint64(11)) / float(1 << 53)


def texts(chain: str, count: int) -> npt.NDArray[np.int64]:
    """(count, LENGTH): what the sampler writes for the seeds 0, 1, ...; all seeds with one beginning at once."""
    seeds = np.arange(count, dtype=np.uint64)
    out = np.zeros((count, LENGTH), np.int64)
    groups: dict[tuple[int, ...], npt.NDArray[np.intp]] = {(): np.arange(count)}
    for i in range(LENGTH):
        u, split = uniforms(seeds, len(PROMPT) + i), {}
        for begun, members in groups.items():
            grammar = Odd() if chain == "grammar" else None
            sampler = Sampler(sampling_of(chain), 0, N_VOCAB, grammar)
            for token in begun:
                sampler.accept(token)
            drawn = sampler.draw(logits_after([*PROMPT, *begun]), 0)
            at = drawn.probabilities.cumsum().searchsorted(u[members], side="right")
            out[members, i] = drawn.candidates[np.minimum(at, len(drawn.candidates) - 1)]
            for token in set(out[members, i]):
                split[*begun, int(token)] = members[out[members, i] == token]
        groups = split
    return out


def written(chain: str, seed: int, drafts: tuple[str, str] | None) -> tuple[list[int], ToyModel, object]:
    model = ToyModel()
    session = Session(model, FixedDrafts(model, *drafts) if drafts else None)
    completion = Completion(
        prompt="".join(map(str, PROMPT)),
        sampling=sampling_of(chain, seed=seed, max_tokens=LENGTH),
        grammar="odd" if chain == "grammar" else None,
    )
    items = list(generate(session, completion, lambda: False))
    return [int(i.text) for i in items if isinstance(i, Token)], model, items[-1]


@pytest.mark.parametrize("chain", CHAINS)
def test_the_law_of_the_sampler_is_the_exact_joint(chain: str) -> None:
    """Chi-square of 100,000 texts of three tokens. The drafted texts are these very texts: see the next test."""
    joint: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(LENGTH):
        joint = {
            (*begun, t): mass * p
            for begun, mass in joint.items()
            for t, p in enumerate(exact(chain, [*PROMPT, *begun]))
            if p > 0
        }
    found, counts = np.unique(texts(chain, SAMPLES), axis=0, return_counts=True)
    seen = {tuple(map(int, text)): int(n) for text, n in zip(found, counts, strict=True)}
    assert set(seen) <= set(joint), "a text that the chain rules out"
    rare = sum(mass for mass in joint.values() if mass * SAMPLES < 5)
    cells = [(seen.get(text, 0), mass) for text, mass in joint.items() if mass * SAMPLES >= 5]
    if rare * SAMPLES >= 5:
        cells.append((SAMPLES - sum(n for n, _ in cells), rare))
    statistic = sum((n - mass * SAMPLES) ** 2 / (mass * SAMPLES) for n, mass in cells)
    df = len(cells) - 1
    # Wilson and Hilferty: the cube root of chi-square / df is nearly normal; 3.09 is one in a thousand
    limit = df * (1 - 2 / (9 * df) + 3.09 * math.sqrt(2 / (9 * df))) ** 3 if df else 1e-6
    assert statistic < limit, f"{statistic:.1f} with {df} degrees of freedom"


def test_the_vectorised_numbers_are_the_real_ones() -> None:
    for position in (0, 2, 77):
        many = uniforms(np.arange(50, dtype=np.uint64), position)
        assert many.tolist() == [uniform(seed, position) for seed in range(50)]


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chain", CHAINS)
def test_every_text_is_that_of_plain_decoding(chain: str, shape: str, draft: str) -> None:
    expected = texts(chain, 150)
    for seed in range(150):
        text, model, _ = written(chain, seed, (shape, draft))
        assert text == expected[seed].tolist()
        assert model.cache == [*PROMPT, *text[:-1]], "the cache holds all but the last token"


def test_plain_decoding_is_the_same_loop() -> None:
    expected = texts("T0.7", 100)
    assert [written("T0.7", seed, None)[0] for seed in range(100)] == expected.tolist()


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_as_many_are_accepted_as_the_conditionals_say(shape: str, draft: str) -> None:
    """Kolmogorov and Smirnov on the accepted nodes of the first pass; behind the first token two may follow."""
    law = np.zeros(LENGTH)
    drafts = FixedDrafts(ToyModel(), shape, draft)
    for first in range(N_VOCAB):
        p_first = exact("T0.7", PROMPT)[first]
        drafts.begin(PROMPT)
        drafts.observe(first)
        tree = drafts.draft(first, LENGTH - 1, 100)
        reach = [p_first] + [0.0] * (len(tree) - 1)
        for node in range(1, len(tree)):
            above = tree.path(tree.parents[node])
            reach[node] = reach[tree.parents[node]] * exact("T0.7", [*PROMPT, *above])[tree.tokens[node]]
        # to pass through the nodes of one depth are disjoint events; those of depth k + 1 lie within those of k
        at = [sum(r for r, d in zip(reach, tree.depths, strict=True) if d == k) for k in range(LENGTH + 1)]
        law += [at[k] - at[k + 1] for k in range(LENGTH)]
    assert law.sum() == pytest.approx(1)
    n = 1000
    counts = np.zeros(LENGTH)
    for seed in range(n):
        model = ToyModel()
        speculation = FixedDrafts(model, shape, draft)
        trees: list[int] = []
        inner = speculation.draft

        def once(token: int, deepest: int, room: int, inner=inner, trees=trees):  # type: ignore[no-untyped-def]
            trees.append(1)
            return inner(token, deepest if len(trees) == 1 else 0, room)

        speculation.draft = once  # type: ignore[method-assign]
        completion = Completion(prompt="25", sampling=sampling_of("T0.7", seed=seed, max_tokens=LENGTH + 1))
        end = list(generate(Session(model, speculation), completion, lambda: False))[-1]
        counts[end.drafts.accepted] += 1  # type: ignore[union-attr]
    distance = np.abs((counts.cumsum() / n) - law.cumsum()).max()
    assert distance < 1.95 / math.sqrt(n), f"{counts / n} against {law}"
