"""The list of upgrades, quality between anchors, and polish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.quantize.slider.evolve import Rounds, evolve
from backend.quantize.slider.quality import Anchor, Quality
from backend.quantize.slider.upgrades import Choice, order

LEVELS = ("aqlm-2x8", "aqlm-3x8", "spqr-4", "q8")

ladders = st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.0, 1.0)), min_size=1, max_size=4).map(
    lambda found: [Choice(level, size, error) for level, (size, error) in zip(LEVELS, found, strict=False)]
)
stores = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), ladders, min_size=1, max_size=6)


@given(stores, st.integers(0, 1000))
@settings(max_examples=200, deadline=None)
def test_positions_are_nested_and_monotone(store: dict[str, list[Choice]], seed: int) -> None:
    sensitivity = {module: 0.1 + (seed * 7 + i * 13) % 11 for i, module in enumerate(store)}
    slider = order(store, sensitivity)
    positions = [slider.at(steps) for steps in range(len(slider.upgrades) + 1)]
    by_level = {module: {one.level: one for one in ladder} for module, ladder in store.items()}
    for position in positions:  # sizes and costs are those of the levels
        chosen = [by_level[module][level] for module, level in position.levels.items()]
        assert position.bytes == sum(one.bytes for one in chosen)
        cost = sum(sensitivity[module] * by_level[module][level].error for module, level in position.levels.items())
        assert position.cost == pytest.approx(cost, abs=1e-9)
    for less, more in pairwise(positions):
        assert more.bytes > less.bytes
        assert more.cost <= less.cost + 1e-12
        changed = [m for m in store if less.levels[m] != more.levels[m]]
        assert len(changed) == 1
        before, after = (by_level[changed[0]][p.levels[changed[0]]] for p in (less, more))
        assert after.bytes > before.bytes
        assert after.error < before.error
    rates = [upgrade.gain / upgrade.bytes for upgrade in slider.upgrades]
    assert all(a >= b - 1e-15 for a, b in pairwise(rates))
    for module, ladder in store.items():  # the ends are the smallest and the best
        assert by_level[module][positions[0].levels[module]].bytes == min(one.bytes for one in ladder)
        assert by_level[module][positions[-1].levels[module]].error == min(one.error for one in ladder)
    assert positions[-1].bytes == slider.most_bytes


def test_the_position_of_a_size() -> None:
    store = {
        "a": [Choice("aqlm-2x8", 100, 0.5), Choice("q8", 400, 0.0)],
        "b": [Choice("aqlm-2x8", 100, 0.5), Choice("aqlm-3x8", 150, 0.4), Choice("q8", 400, 0.0)],
    }
    slider = order(store, {"a": 1.0, "b": 0.5})
    assert [upgrade.module for upgrade in slider.upgrades] == ["a", "b", "b"]
    assert slider.within(0).steps == slider.within(499).steps == 0
    assert slider.within(500).levels == {"a": "q8", "b": "aqlm-2x8"}
    assert slider.within(10_000).steps == 3
    assert slider.at(1).bytes == 500
    for steps in (-1, 4):
        with pytest.raises(ValueError, match="upgrades"):
            slider.at(steps)
    with pytest.raises(ValueError, match="sensitivity"):
        order(store, {"a": 1.0})


def test_a_level_that_is_off_the_hull_is_never_chosen() -> None:
    store = {"a": [Choice("1", 100, 1.0), Choice("2", 200, 0.9), Choice("3", 300, 0.1), Choice("4", 400, 0.2)]}
    assert [upgrade.after for upgrade in order(store, {"a": 1.0}).upgrades] == ["3"]


def test_quality_goes_through_its_anchors_and_on_with_a_slope_of_one() -> None:
    quality = Quality([Anchor(1.0, 2.5), Anchor(0.01, 0.012), Anchor(0.1, 0.15)])
    for cost, kl in ((1.0, 2.5), (0.01, 0.012), (0.1, 0.15)):
        assert quality.kl(cost) == pytest.approx(kl)
    assert quality.kl(0.001) == pytest.approx(0.0012)
    assert quality.kl(2.0) == pytest.approx(5.0)
    assert quality.kl(math.sqrt(0.1 * 0.01)) == pytest.approx(math.sqrt(0.15 * 0.012))
    assert Quality().kl(0.3) == 0.3
    costs = [10 ** (i / 7 - 5) for i in range(40)]
    noisy = Quality([Anchor(0.1, 0.1), Anchor(0.2, 0.09), Anchor(0.4, 0.5)])
    for predicted in (quality, noisy):
        found = [predicted.kl(cost) for cost in costs]
        assert all(a <= b + 1e-12 for a, b in pairwise(found))
    assert Quality([Anchor(0.0, 0.0)]).kl(0.0) >= 0.0


def choices() -> dict[str, list[Choice]]:
    return {
        f"layer {i}": [Choice("low", 100, 0.0), Choice("middle", 150, 0.0), Choice("high", 200, 0.0)] for i in range(8)
    }


WORTH = {f"layer {i}": 2.0**-i for i in range(8)}


def kl(levels: Mapping[str, str], tokens: int) -> float:
    assert tokens in (512, 2048)
    return sum(WORTH[module] * {"low": 1.0, "middle": 0.5, "high": 0.1}[level] for module, level in levels.items())


def test_polish_finds_what_matters_and_keeps_the_size() -> None:
    start = dict.fromkeys(choices(), "middle")
    found = evolve(choices(), start, 8 * 150, kl, rounds=Rounds(generations=60, children=8, seed=1))
    assert found.bytes <= 8 * 150
    assert found.kl_before == pytest.approx(kl(start, 512))
    assert found.kl == pytest.approx(kl(found.levels, 2048))
    assert found.kl < 0.6 * found.kl_before
    assert found.levels["layer 0"] == "high"
    again = evolve(choices(), start, 8 * 150, kl, rounds=Rounds(generations=60, children=8, seed=1))
    assert again == found


def test_polish_that_is_stopped_keeps_its_best() -> None:
    seen: list[float] = []
    start = dict.fromkeys(choices(), "middle")
    found = evolve(
        choices(),
        start,
        8 * 150,
        kl,
        rounds=Rounds(generations=60),
        report=lambda best: seen.append(best.kl),
        stop=lambda: len(seen) >= 5,
    )
    assert found.generations == 5
    assert found.kl == seen[-1] == min(seen)
    nothing = evolve(choices(), start, 8 * 150, kl, stop=lambda: True)
    assert nothing.levels == start
