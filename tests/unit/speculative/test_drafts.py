"""Drafts of a second model, whether it fits, and Sequoia's tree and verifier."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from backend.api.schemas import Completion, Sampling
from backend.engine.generate import End, Session, Token, generate
from backend.speculative.costs import Costs
from backend.speculative.decoder import Speculation
from backend.speculative.draft_model import ModelDrafter
from backend.speculative.sequoia import best_size, best_tree, draw_children, verify
from backend.speculative.tree import DraftTree
from backend.speculative.vocabulary import mismatch, why_not
from tests.unit.speculative.toys import N_VOCAB, ToyModel, ToyTokenizer, logits_after


def flat(seconds: float = 0.01) -> Costs:
    costs = Costs()
    costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), seconds))
    return costs


def test_the_search_finds_the_likeliest_nodes() -> None:
    """Raw chances: the calibration is the identity here, near enough for the order of the first nodes."""
    drafter = ModelDrafter(ToyModel(), most=30)
    drafter._costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 1e-06))
    drafter.begin([2, 5])
    drafter.observe(1)
    tree = DraftTree(1)
    drafter.grow(tree, 6, flat())
    assert len(tree) > 20
    best = int(logits_after([5, 1]).argmax())
    assert tree.child(0, best) is not None
    assert max(tree.depths) >= 3
    for node in range(1, len(tree)):
        assert tree.chances[node] <= tree.chances[tree.parents[node]]


@pytest.mark.parametrize("nodes", [1, 7, 32, 63])
def test_a_fixed_number_of_nodes_is_drafted_whatever_it_costs(nodes: int) -> None:
    model = ToyModel()
    drafter = ModelDrafter(model, nodes, full=True)
    drafter._costs.set(dict.fromkeys((1, 2, 4, 8), 1.0))  # a thousand times slower than what checks them
    speculation = Speculation(model, fixed=nodes, drafter=drafter)
    speculation.costs.set(dict.fromkeys((1, 2, 4, 8), 0.001))
    speculation.begin([2, 5])
    speculation.observe(1)
    assert len(speculation.draft(1, 40, 400)) == 1 + nodes


def test_a_full_draft_has_the_likeliest_nodes_however_deep() -> None:
    """A draft that is sure of one path goes down it, and does not fill up with what is beside it."""

    def sure(tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        row[2 + tokens[-1] % 3] = 6.0
        return row

    drafter = ModelDrafter(ToyModel(sure), 12, full=True)
    drafter.begin([2, 5])
    drafter.observe(1)
    tree = DraftTree(1)
    drafter.grow(tree, 40, flat())
    assert len(tree) > 12
    kept = tree.ranked()[:12]
    assert set(kept) <= set(tree.parents), "one of the likeliest was not opened: a child of it could be likelier"
    assert max(tree.depths[node] for node in kept) >= 6


@pytest.mark.parametrize("other", ["same", "another"])
def test_drafts_of_a_model_change_no_text(other: str) -> None:
    def text(speculation_of: object) -> tuple[str, ToyModel]:
        model = ToyModel()
        speculation = None
        if speculation_of:
            rows = logits_after if other == "same" else lambda tokens: -logits_after(tokens)
            drafter = ModelDrafter(ToyModel(rows))
            drafter._costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 1e-07))
            speculation = Speculation(model, drafter=drafter)
            speculation.costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 0.01))
            speculation.costs.observe = lambda n, seconds: None  # type: ignore[method-assign]
        completion = Completion(prompt="25", sampling=Sampling(temperature=0.5, top_k=0, seed=3, max_tokens=80))
        items = list(generate(Session(model, speculation), completion, lambda: False))
        return "".join(i.text for i in items if isinstance(i, Token)), model

    plain, _ = text(None)
    drafted, model = text(True)
    assert drafted == plain
    if other == "same":
        assert len(model.passes) < 60, "a draft that is the target is often right"


@pytest.mark.parametrize("at", range(7))
def test_an_answer_that_is_stopped_in_a_pass_of_the_draft_ends_there_and_goes_on_right(at: int) -> None:
    """Whether it reads what it is behind or a tree: nothing of the pass stays, in neither cache."""
    small, model = ToyModel(), ToyModel()
    drafter = ModelDrafter(small)
    drafter._costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 1e-07))
    speculation = Speculation(model, drafter=drafter)
    speculation.costs.set(dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 0.01))
    speculation.costs.observe = lambda n, seconds: None  # type: ignore[method-assign]
    session = Session(model, speculation)
    completion = Completion(prompt="25", sampling=Sampling(temperature=0.5, top_k=0, seed=3, max_tokens=40))
    small.abort_at = at
    stopped = list(generate(session, completion, lambda: False))
    assert isinstance(stopped[-1], End)
    assert stopped[-1].reason == "cancelled"
    assert len(small.passes) <= at + 1
    assert model.cache == session.tokens
    assert small.cache == drafter._read
    small.abort_at = None
    again = "".join(i.text for i in generate(session, completion, lambda: False) if isinstance(i, Token))
    plain = generate(Session(ToyModel()), completion, lambda: False)
    assert again == "".join(i.text for i in plain if isinstance(i, Token))


def test_stopping_reaches_both_models() -> None:
    asked: list[tuple[str, bool]] = []
    model, small = ToyModel(), ToyModel()
    model.request_abort = lambda flag: asked.append(("target", flag))  # type: ignore[method-assign]
    small.request_abort = lambda flag: asked.append(("draft", flag))  # type: ignore[method-assign]
    Session(model, Speculation(model, drafter=ModelDrafter(small))).request_abort(True)
    Session(model, Speculation(model)).request_abort(False)
    Session(model).request_abort(False)
    assert asked == [("target", True), ("draft", True), ("target", False), ("target", False)]


def test_a_draft_that_is_as_slow_as_the_target_is_not_asked() -> None:
    model = ToyModel()
    drafter = ModelDrafter(model)
    drafter._costs.set(dict.fromkeys((1, 2, 4, 8), 0.01))
    drafter.begin([2, 5])
    drafter.observe(1)
    tree = DraftTree(1)
    drafter.grow(tree, 6, flat())
    assert len(tree) == 1
    assert not model.passes


def test_a_vocabulary_that_fits_and_ones_that_do_not() -> None:
    model, other = ToyModel(), ToyModel()
    assert why_not(model, other) == ""

    class Swapped(ToyTokenizer):
        def piece(self, token: int) -> bytes:
            return b"?" if token == 4 else super().piece(token)

    class Ends(ToyTokenizer):
        """Of an engine that takes another token for the end, and one for a control token."""

        def is_end(self, token: int) -> bool:
            return token == 3

        def piece(self, token: int) -> bytes:
            return b"" if token == 3 else super().piece(token)

    other.tokenizer = Swapped()
    assert why_not(model, other) == "Token 4 is '?' in it, and '4' in the model."
    other.tokenizer = Ends()
    assert why_not(model, other) == "", "what the model draws decides"
    assert why_not(other, model) == ""
    object.__setattr__(other.info, "n_vocab", 999)
    assert why_not(model, other) == "Its vocabulary has 999 tokens, and that of the model has 6."


def every_tree(nodes: int) -> list[list[int]]:
    return [[-1, *rest] for rest in itertools.product(*(range(i) for i in range(1, nodes)))]


def worth(parents: list[int], acceptance: list[float], levels: int) -> float:
    reach, depth, children = [1.0], [0], [0] * len(parents)
    for parent in parents[1:]:
        rank = children[parent]
        children[parent] += 1
        depth.append(depth[parent] + 1)
        if rank >= len(acceptance) or depth[-1] > levels:
            return 0.0
        reach.append(reach[parent] * acceptance[rank])
    return sum(reach)


@pytest.mark.parametrize("levels", [1, 2, 3, 5])
@pytest.mark.parametrize("acceptance", [[0.6, 0.2, 0.1], [0.4, 0.3, 0.2], [0.9], [0.5, 0.49]])
@pytest.mark.parametrize("nodes", [1, 2, 4, 6])
def test_the_tree_is_the_best_of_all(nodes: int, acceptance: list[float], levels: int) -> None:
    parents, expected = best_tree(acceptance, nodes, levels)
    assert worth(parents, acceptance, levels) == pytest.approx(expected)
    best = max(worth(tree, acceptance, levels) for n in range(1, nodes + 1) for tree in every_tree(n))
    assert expected == pytest.approx(best)


def test_size_and_depth_follow_the_times() -> None:
    acceptance = [0.63, 0.11, 0.06, 0.02]
    cheap = best_size(acceptance, [1, 4, 16, 32], [1, 2, 4], 0.0, lambda n: 1.0)
    dear = best_size(acceptance, [1, 4, 16, 32], [1, 2, 4], 0.2, lambda n: float(n))
    assert cheap[0] == 32
    assert dear[0] == 1


@pytest.mark.parametrize("kind", ["equal", "other", "anti-correlated", "one-hot", "disjoint"])
@pytest.mark.parametrize("children", [1, 2, 4])
def test_sampled_children_leave_the_law_as_it_is(children: int, kind: str) -> None:
    rng = np.random.default_rng(11)
    row = logits_after([1, 4]).astype(np.float64)
    p = np.exp(row) / np.exp(row).sum()
    q = {
        "equal": p,
        "other": rng.dirichlet(np.ones(N_VOCAB)),
        "anti-correlated": p[::-1][np.argsort(np.argsort(p))],
        "one-hot": np.eye(N_VOCAB)[2],
        "disjoint": np.ones(N_VOCAB) / N_VOCAB,
    }[kind]
    if kind == "disjoint":
        p, q = p.copy(), q.copy()
        p[:3], q[3:] = 0, 0
        p, q = p / p.sum(), q / q.sum()
    n = 12_000
    counts = np.zeros(N_VOCAB)
    for clocks, uniforms in zip(rng.random((n, N_VOCAB)), rng.random((n, children + 1)), strict=True):
        token, place = verify(p, q, draw_children(q, children, clocks).tolist(), uniforms.tolist())
        counts[token] += 1
        if kind == "equal":
            assert place == 0, "a draft that is the target is always right"
    there = p > 0
    assert not counts[~there].any()
    statistic = ((counts[there] - n * p[there]) ** 2 / (n * p[there])).sum()
    df = there.sum() - 1
    assert statistic < df * (1 - 2 / (9 * df) + 3.3 * math.sqrt(2 / (9 * df))) ** 3


def test_a_vocabulary_without_texts_fits_nothing() -> None:
    class Silent(ToyTokenizer):
        def piece(self, token: int) -> bytes:
            return b""

    class Words(ToyTokenizer):
        def piece(self, token: int) -> bytes:
            return b"%d" % token

    assert mismatch(Words(), 100, Silent(), 100) == "Token 64 is '' in it, and '64' in the model."
    assert mismatch(Words(), 100, Words(), 100) == ""
