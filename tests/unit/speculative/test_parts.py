"""The parts: trees, look-ups, calibration, costs, and the choice of how much to draft."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.model import TokenTree
from backend.speculative.calibration import Calibration
from backend.speculative.controller import Controller
from backend.speculative.costs import KNOTS, Costs, measure
from backend.speculative.credit import Credit
from backend.speculative.ngram import NgramDrafter
from backend.speculative.tree import DraftTree
from backend.speculative.trigram import TrigramDrafter
from tests.unit.speculative.toys import ToyModel


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.floats(0, 1)), max_size=40), st.integers(0, 40))
def test_every_head_of_the_ranking_is_a_tree_with_the_likeliest_path_first(
    steps: list[tuple[int, int, float]], keep: int
) -> None:
    tree = DraftTree(9)
    for parent, token, p in steps:
        tree.add(parent % len(tree), token, p)
    pruned = tree.pruned(tree.ranked()[:keep])
    assert len(pruned) == min(keep, len(tree) - 1) + 1
    assert all(-1 <= parent < node for node, parent in enumerate(pruned.parents))
    paths = {tuple(tree.path(n)) for n in range(len(tree))}
    assert {tuple(pruned.path(n)) for n in range(len(pruned))} <= paths
    for node in range(len(pruned)):
        below = [n for n, parent in enumerate(pruned.parents) if parent == node]
        if not below:
            break
        assert node + 1 in below
        assert pruned.chances[node + 1] == max(pruned.chances[n] for n in below)


def test_the_longest_match_is_drafted_and_the_other_one_beside_it() -> None:
    drafter = NgramDrafter()
    drafter.begin([1, 2, 3, 4, 50, 51, 52, 9, 2, 3, 4, 60, 61, 1, 2, 3])
    drafter.observe(4)
    tree = DraftTree(4)
    drafter.grow(tree, 3)
    assert tree.path(1)[:2] == [4, 50], "four tokens match there, three at the other place"
    assert tree.child(0, 60) is not None
    assert max(tree.depths) == 3


def test_a_cycle_is_followed_round_and_round() -> None:
    drafter = NgramDrafter()
    drafter.begin([7, 8, 9, 7, 8, 9, 7, 8])
    drafter.observe(9)
    tree = DraftTree(9)
    drafter.grow(tree, 7)
    assert tree.path(7) == [9, 7, 8, 9, 7, 8, 9, 7]


def test_another_branch_is_remembered_but_not_run_into() -> None:
    drafter = NgramDrafter()
    drafter.begin([1, 2, 3, 4])
    drafter.begin([5, 1, 2])
    drafter.observe(3)
    tree = DraftTree(3)
    drafter.grow(tree, 5)
    assert tree.path(len(tree) - 1) == [3, 4], "the first text ends there"


def test_the_next_turn_indexes_only_what_is_new() -> None:
    drafter = NgramDrafter()
    drafter.begin(list(range(100)))
    drafter.begin([*range(100), 7, 8])
    assert len(drafter._text) == 102


def test_the_table_learns_what_the_model_writes() -> None:
    table = TrigramDrafter()
    table.begin(1, 2)
    for _ in range(5):
        for token in (3, 4, 1, 2):
            table.observe(token)
    tree = DraftTree(2)
    table.grow(tree, 3)
    assert tree.path(max(range(len(tree)), key=lambda n: tree.depths[n])) == [2, 3, 4, 1]


def test_calibration_follows_the_outcomes_and_forgets() -> None:
    bins = Calibration([0.5, 0.5])
    for _ in range(200):
        bins.learn(0, True)
    assert bins[0] > 0.97
    for _ in range(40):
        bins.learn(0, False)
    assert bins[0] < 0.4
    assert bins[1] == 0.5


def staircase() -> Costs:
    costs = Costs()
    costs.set({n: 0.01 * (1.0 if n <= 4 else 1.5 if n <= 8 else 4.0) for n in KNOTS[:14]})
    return costs


def chain(*chances: float) -> DraftTree:
    tree, node = DraftTree(0), 0
    for token, p in enumerate(chances):
        node = tree.add(node, token, p)
    return tree


@pytest.mark.parametrize(
    ("chances", "count"),
    [([0.9] * 20, 7), ([0.6] * 20, 3), ([0.02] * 20, 0), ([0.5, 0.01], 1), ([0.03], 0), ([], 0)],
)
def test_a_draft_ends_at_the_end_of_a_step_or_is_left_out(chances: list[float], count: int) -> None:
    controller = Controller(staircase(), 64)
    kept = len(controller.choose(chain(*chances)))
    assert kept == count or (chances[:2] == [0.5, 0.01] and kept in {1, 2}), "a free node does no harm"


def test_the_choice_is_the_best_of_all_sizes_and_at_the_maximum_every_node_is_worth_its_time() -> None:
    costs = staircase()
    tree = chain(*[0.85] * 30)
    best = len(Controller(costs, 64).choose(tree))
    rates = []
    expected = 1.0
    for m in range(1, 31):
        expected += tree.chances[m]
        rates.append(expected / costs.seconds(1 + m))
    assert rates[best - 1] == max(rates)


def test_drafts_that_do_not_pay_rest_longer_and_longer_and_come_back() -> None:
    controller = Controller(staircase(), 64)
    rests = []
    for _ in range(3):
        for _ in range(10):
            assert not controller.resting
            controller.drafted(4, 1, 0.01, 0.011)
        rest = 0
        while controller.resting:
            controller.plain(0.01)
            rest += 1
        rests.append(rest)
    assert rests == [16, 32, 64]
    for _ in range(10):
        controller.drafted(4, 3, 0.01, 0.011)
    assert not controller.resting


def test_time_spent_on_drafting_must_be_gained_too() -> None:
    controller = Controller(staircase(), 64)
    assert controller.choose(chain(0.5, 0.5))
    assert not controller.choose(chain(0.5, 0.5), spent_s=0.02)


def test_a_curve_survives_the_cache_and_nonsense_does_not() -> None:
    costs, other = staircase(), Costs()
    assert other.load(costs.as_json())
    assert [other.seconds(n) for n in range(1, 40)] == [costs.seconds(n) for n in range(1, 40)]
    for nonsense in (None, [], {}, {"scale": "x", "shape": {}}, {"scale": 1.0, "shape": {"1": 1.0}}):
        assert not Costs().load(nonsense)


def test_the_curve_never_falls_and_passes_correct_it() -> None:
    costs = staircase()
    values = [costs.seconds(n) for n in range(1, 200)]
    assert values == sorted(values)
    for _ in range(60):
        costs.observe(4, 0.02)
    assert costs.seconds(4) == pytest.approx(0.02, rel=0.1)
    assert costs.seconds(1) == 0.01


def test_what_one_size_turns_out_to_cost_moves_the_others_a_little() -> None:
    """A curve measured beside a busy program is too steep as a whole; what is held for too expensive is never tried."""
    costs = Costs()
    costs.set({1: 0.01, 2: 0.02, 4: 0.04, 8: 0.08})
    for _ in range(30):
        costs.observe(2, 0.011)
    assert costs.seconds(2) == pytest.approx(0.011, rel=0.1)
    assert costs.seconds(8) < 0.07
    assert costs.seconds(1) == 0.01


def test_one_slow_second_does_not_make_one_size_expensive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes take turns: four times slower passes in the middle of the measuring change nothing."""
    model, costs = ToyModel(), Costs()
    clock = 0.0
    monkeypatch.setattr("backend.speculative.costs.time.perf_counter", lambda: clock)
    read = model.forward

    def forward(nodes: TokenTree) -> object:
        nonlocal clock
        clock += 0.01 * len(nodes) * (4 if 6 <= len(model.passes) < 18 else 1)
        return read(nodes)

    monkeypatch.setattr(model, "forward", forward)
    for _ in measure(model, costs, 8):
        pass
    assert [costs.seconds(n) for n in (1, 2, 4, 8)] == pytest.approx([0.01, 0.02, 0.04, 0.08])


def test_losses_end_when_the_credit_is_used_up() -> None:
    controller = Controller(staircase(), 64)
    lost = 0
    while not controller.stopped:
        controller.drafted(8, 1, 0.015, 0.02)  # one token in the time of two
        lost += 1
    assert lost in {2, 3}
    waited = 0
    while controller.stopped:
        controller.plain(0.01)
        waited += 1
    assert waited > 33, "1.5 % of the text"
    credit = Credit(2.0, 3.0, 0.015)
    credit.gain(100)
    assert credit.left == 3.0, "a good hour is not used up by a bad one"


def test_while_it_rests_only_a_promise_of_half_as_much_again_counts() -> None:
    controller = Controller(staircase(), 64)
    for _ in range(10):
        controller.drafted(4, 1, 0.01, 0.0101)
    assert controller.resting
    assert not controller.choose(chain(0.3))
    assert controller.choose(chain(*[0.9] * 5))


def test_a_plain_pass_comes_now_and_then_and_keeps_the_measure() -> None:
    controller = Controller(staircase(), 64)
    chosen = []
    for _ in range(100):
        keep = controller.choose(chain(*[0.9] * 7))
        chosen.append(bool(keep))
        if keep:
            controller.drafted(8, 6, 0.015, 0.0151)
        else:
            controller.plain(0.01)
    assert chosen.count(False) == 3


def test_a_draft_model_pays_for_what_it_reads_and_for_drafts_that_were_not_used() -> None:
    controller = Controller(staircase(), 64)
    assert controller.affords_model(0.07)
    assert not controller.affords_model(0.09), "a prompt that takes the time of nine tokens"
    for _ in range(9):
        controller.plain(0.01, model_s=0.01)
    assert not controller.affords_model(0.0)
    assert not controller.stopped, "drafts out of the text are another account"


def test_measuring_leaves_the_cache_as_it_was() -> None:
    model, costs = ToyModel(), Costs()
    model.cache = [1, 2, 3]
    for _ in measure(model, costs, 8):
        assert model.cache == [1, 2, 3]
    assert costs.known
    assert max(model.passes) == 8


def test_without_branches_the_likeliest_chain_is_taken() -> None:
    tree = DraftTree(0)
    left, right = tree.add(0, 1, 0.4), tree.add(0, 2, 0.5)
    tree.add(left, 3, 0.9)
    deep = tree.add(right, 4, 0.9)
    assert tree.likeliest_chain() == [right, deep]
    costs = Costs()
    costs.set(dict.fromkeys((1, 2, 4, 8), 0.01))
    assert Controller(costs, 8, trees=False).choose(tree) == [right, deep]
    assert Controller(costs, 2, trees=False).choose(tree) == [right]
    assert set(Controller(costs, 8).choose(tree)) == {1, 2, 3, 4}


def test_a_copy_goes_on_behind_a_replaced_token() -> None:
    source = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    drafter = NgramDrafter()
    drafter.begin([*source, 90, 10, 11, 12])
    drafter.observe(13)
    drafter.grow(DraftTree(13), 4)
    drafter.observe(77)  # for 14
    tree = DraftTree(77)
    drafter.grow(tree, 4)
    assert tree.path(len(tree) - 1) == [77, 15, 16, 17, 18]
    for token in (71, 72):  # a third one that differs: this is another text
        drafter.observe(token)
    tree = DraftTree(72)
    drafter.grow(tree, 4)
    assert len(tree) == 1
