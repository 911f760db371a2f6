"""The generation loop on models whose next token is known."""

from __future__ import annotations

import pytest

from backend.api.errors import ContextOverflowError, GrammarError
from backend.api.schemas import Completion, Sampling
from backend.engine.generate import End, Prefill, Session, Token, generate
from tests.fakes.models import FakeModel, scripted


def run(session: Session, prompt: str, **sampling: object) -> tuple[str, End, list[Prefill]]:
    completion = Completion(prompt=prompt + "\0", sampling=Sampling(temperature=0, **sampling))  # type: ignore[arg-type]
    items = list(generate(session, completion, lambda: False))
    end = items[-1]
    assert isinstance(end, End)
    assert sum(isinstance(i, End) for i in items) == 1
    text = "".join(i.text for i in items if isinstance(i, Token)) + end.text
    return text, end, [i for i in items if isinstance(i, Prefill)]


def test_it_answers_and_stops_at_the_end_token() -> None:
    text, end, _ = run(Session(scripted("Hello, wörld")), "hi")
    assert text == "Hello, wörld"
    assert end.reason == "stop"


def test_prefill_goes_in_passes_of_a_batch_and_reports_them() -> None:
    model = scripted("ok", n_batch=64)
    _, _, progress = run(Session(model), "x" * 150)
    assert [p.done for p in progress] == [0, 64, 128, 151], "150 and the mark at the end"
    assert {p.total for p in progress} == {151}
    assert model.passes[:3] == [64, 64, 23]


def test_a_second_turn_prefills_only_what_is_new() -> None:
    model = scripted("ok", n_batch=64)
    session = Session(model)
    run(session, "x" * 100)
    model.passes.clear()
    _, _, progress = run(session, "x" * 100 + "\0ok" + "y" * 10)
    assert progress[0].cached == 103, "the prompt and the answer"
    assert model.passes[0] == 11


def test_the_passes_are_cut_alike_whatever_was_cached() -> None:
    """A different cut rounds differently on a real model, and the same seed could give another text."""
    model = scripted("ok", n_batch=64)
    session = Session(model)
    run(session, "x" * 70)
    model.passes.clear()
    run(session, "x" * 70 + "z" * 100)
    assert model.passes[:2] == [128 - 70, 43]


def test_another_prompt_rewinds_to_the_common_prefix() -> None:
    model = scripted("ok")
    session = Session(model)
    run(session, "system A question one")
    _, _, progress = run(session, "system A other")
    assert progress[0].cached == len("system A ")
    assert bytes(model.cache).startswith(b"system A other")


def test_the_same_prompt_again_computes_its_last_token() -> None:
    session = Session(scripted("ok"))
    run(session, "same")
    text, _, progress = run(session, "same")
    assert text == "ok"
    assert progress[0].cached == len("same")


def test_max_tokens_and_stop_strings() -> None:
    text, end, _ = run(Session(scripted("abcdef")), "p", max_tokens=3)
    assert (text, end.reason) == ("abc", "length")
    text, end, _ = run(Session(scripted("one two three")), "p", stop=["two"])
    assert (text, end.reason) == ("one ", "stop")


def test_a_full_context_ends_the_answer_and_says_so() -> None:
    text, end, _ = run(Session(scripted("a" * 100, n_ctx=20)), "012345678")
    assert end.reason == "context_full"
    assert 8 <= len(text) <= 10


def test_a_prompt_longer_than_the_context_is_a_sentence() -> None:
    with pytest.raises(ContextOverflowError, match="31 tokens"):
        run(Session(scripted("a", n_ctx=20)), "x" * 30)


def test_cancel_between_passes_of_the_prefill_keeps_what_was_read() -> None:
    model = scripted("ok", n_batch=64)
    session = Session(model)
    asked = iter([False, True])
    completion = Completion(prompt="x" * 150, sampling=Sampling())
    items = list(generate(session, completion, lambda: next(asked)))
    assert items[-1] == End("cancelled", "", items[-1].seed)  # type: ignore[union-attr]
    assert session.tokens == model.cache == list(b"x" * 64)
    _, _, progress = run(session, "x" * 150)
    assert progress[0].cached == 64


def test_an_abort_inside_a_pass_leaves_session_and_cache_in_step() -> None:
    model = scripted("ok")
    session = Session(model)
    model.request_abort(True)
    items = list(generate(session, Completion(prompt="abc", sampling=Sampling()), lambda: False))
    assert isinstance(items[-1], End)
    assert items[-1].reason == "cancelled"
    assert session.tokens == model.cache == []
    model.request_abort(False)
    assert run(session, "abc")[0] == "ok"


def test_not_pulling_is_cancelling() -> None:
    model = scripted("a long answer")
    session = Session(model)
    stream = generate(session, Completion(prompt="p\0", sampling=Sampling(temperature=0)), lambda: False)
    while not isinstance(next(stream), Token):
        pass
    stream.close()
    assert session.tokens == model.cache
    assert run(session, "p")[0] == "a long answer"


def test_the_same_seed_gives_the_same_text_and_another_one_another() -> None:
    def anything(_: object) -> int:
        return 65

    def sample(seed: int) -> str:
        model = FakeModel(anything)
        forward = model.forward

        def flat(nodes: object) -> object:
            rows = forward(nodes)  # type: ignore[arg-type]
            rows[:, 65:91] = 0.0
            return rows

        model.forward = flat  # type: ignore[method-assign,assignment]
        sampling = Sampling(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed, max_tokens=40)
        items = list(generate(Session(model), Completion(prompt="p\0", sampling=sampling), lambda: False))
        assert items[-1].seed == seed  # type: ignore[union-attr]
        return "".join(i.text for i in items if isinstance(i, Token))

    assert sample(5) == sample(5)
    assert sample(5) != sample(6)


def test_logprobs_are_of_the_model_and_name_the_alternatives() -> None:
    completion = Completion(prompt="p\0", sampling=Sampling(temperature=0), logprobs=2)
    tokens = [i for i in generate(Session(scripted("ab")), completion, lambda: False) if isinstance(i, Token)]
    assert [t.logprob.token for t in tokens if t.logprob] == ["a", "b"]
    first = tokens[0].logprob
    assert first is not None
    assert first.logprob == pytest.approx(0, abs=1e-6)
    assert first.top[0][0] == "a"
    assert len(first.top) == 2


def test_a_grammar_the_model_cannot_follow_is_an_error_before_any_token() -> None:
    model = scripted("x")
    with pytest.raises(GrammarError):
        list(
            generate(Session(model), Completion(prompt="p\0", sampling=Sampling(), grammar="root ::= x"), lambda: False)
        )
    assert model.passes == []
