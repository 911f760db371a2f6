"""The edges of drafted generation: every one ends as plain decoding does, with the cache in step."""

from __future__ import annotations

import pytest

from backend.api.schemas import Completion, Sampling
from backend.engine.generate import End, Session, Token, generate
from backend.speculative.decoder import Speculation
from tests.unit.speculative.toys import SHAPES, FixedDrafts, ToyModel

PROMPT = "25"


def run(
    model: ToyModel,
    drafts: tuple[str, str] | None,
    *,
    most: int | None = 40,
    grammar: str | None = None,
    **more: object,
) -> tuple[str, End, Session]:
    session = Session(model, FixedDrafts(model, *drafts) if drafts else None)
    sampling = Sampling(temperature=0.8, top_k=0, top_p=1, min_p=0, max_tokens=most, **more)  # type: ignore[arg-type]
    items = list(generate(session, Completion(prompt=PROMPT, sampling=sampling, grammar=grammar), lambda: False))
    end = items[-1]
    assert isinstance(end, End)
    return "".join(i.text for i in items if isinstance(i, Token)) + end.text, end, session


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "more",
    [
        {"stop": ["31", "404"]},
        {"repetition_penalty": 1.4, "frequency_penalty": 0.3, "penalty_window": 8},
        {"grammar": "odd"},
        {"most": 7},
        {"most": 1},
    ],
    ids=["stop", "penalties", "grammar", "limit", "one"],
)
def test_it_ends_as_plain_decoding_does(more: dict[str, object], seed: int, shape: str) -> None:
    plain, plain_end, _ = run(ToyModel(), None, seed=seed, **more)  # type: ignore[arg-type]
    model = ToyModel()
    text, end, session = run(model, (shape, "equal"), seed=seed, **more)  # type: ignore[arg-type]
    assert (text, end.reason) == (plain, plain_end.reason)
    assert session.tokens == model.cache
    written = len(model.cache) - len(PROMPT)
    assert end.drafts.passes + end.drafts.accepted == written, "every token but the last is a root or an accepted node"


@pytest.mark.parametrize("n_ctx", [4, 5, 9, 10, 11, 12, 30])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_full_context_ends_it_at_the_same_token(shape: str, n_ctx: int) -> None:
    """The toy asserts that no tree reaches beyond the context."""
    plain, end, _ = run(ToyModel(n_ctx=n_ctx), None, most=None, seed=3)
    text, drafted_end, _ = run(ToyModel(n_ctx=n_ctx), (shape, "equal"), most=None, seed=3)
    assert (text, drafted_end.reason) == (plain, end.reason)
    assert end.reason == "context_full"


@pytest.mark.parametrize("at", range(1, 6))
def test_an_abort_while_a_tree_is_read_leaves_the_cache_in_step(at: int) -> None:
    plain, _, _ = run(ToyModel(), None, seed=5)
    model = ToyModel()
    model.abort_at = at
    text, end, session = run(model, ("tree", "equal"), seed=5)
    assert end.reason == "cancelled"
    assert plain.startswith(text)
    assert text
    assert session.tokens == model.cache == [int(c) for c in PROMPT + text[:-1]]


def test_not_pulling_commits_what_was_accepted() -> None:
    model = ToyModel()
    session = Session(model, FixedDrafts(model, "tree", "equal"))
    sampling = Sampling(temperature=0.3, top_k=0, seed=1)
    for pulled in range(1, 12):
        stream = generate(session, Completion(prompt=PROMPT, sampling=sampling), lambda: False)
        tokens = []
        while len(tokens) < pulled:
            if isinstance(item := next(stream), Token):
                tokens.append(int(item.text))
        stream.close()  # type: ignore[attr-defined]
        assert session.tokens == model.cache == [int(c) for c in PROMPT] + tokens[:-1]


def test_without_room_for_leaves_nothing_is_drafted() -> None:
    """A recurrent memory cannot drop what it read."""
    model = ToyModel(max_leaves=0)
    speculation = Speculation(model, fixed=8)
    items = list(
        generate(
            Session(model, speculation),
            Completion(prompt="25252525", sampling=Sampling(temperature=0, max_tokens=30)),
            lambda: False,
        )
    )
    assert set(model.passes[1:]) == {1}
    assert items[-1].drafts.drafted == 0  # type: ignore[union-attr]


def test_a_text_that_repeats_itself_is_written_in_few_passes() -> None:
    """At temperature 0 the toy falls into a cycle, which the look-up finds."""
    plain, _, _ = run(ToyModel(), None, seed=0, most=60)
    model = ToyModel()
    sampling = Sampling(temperature=0, max_tokens=60)
    items = list(
        generate(
            Session(model, Speculation(model, fixed=8)), Completion(prompt=PROMPT, sampling=sampling), lambda: False
        )
    )
    assert len(model.passes) < 20
    assert items[-1].drafts.accepted > 40  # type: ignore[union-attr]
    assert plain


def test_guesses_that_were_not_worth_checking_are_learned_from_all_the_same() -> None:
    """Passes so dear that nothing is drafted: the look-up's hit rate in a cycle rises nevertheless."""
    model = ToyModel()
    speculation = Speculation(model)
    speculation.costs.set({n: 0.01 * n for n in (1, 2, 4, 8, 16, 32, 64)})
    before = list(speculation.ngram._first)  # type: ignore[call-overload]
    speculation.begin([1, 2, 3] * 6)
    for token in [1, 2, 3] * 10:
        speculation.observe(token)
        assert len(speculation.draft(token, 30, 100)) == 1
    after = list(speculation.ngram._first)  # type: ignore[call-overload]
    assert after[-1] > before[-1]
    assert after[-1] > 0.98
    for token in (4, 5, 4, 5):
        speculation.observe(token)
        speculation.draft(token, 30, 100)
    assert speculation.ngram._first[len(after) - 1] < after[-1], "and it falls where the guess was wrong"
