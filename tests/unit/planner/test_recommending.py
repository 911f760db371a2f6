"""Which models are recommended for a purpose, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from backend.api.downloads import Offer, Purpose
from backend.planner.catalogue import catalogue
from backend.planner.offers import GOOD_BITS, QUICK, READING, offers
from backend.planner.plan import Machine
from backend.planner.recommending import effective, recommended
from backend.planner.speed import Rates

GB = 10**9
#: a laptop of 16 GB whose system takes six
LAPTOP = Machine(cores=8, memory_total=16 * GB, memory_free=10 * GB, rates=Rates(ram=50e9))
USES = {"chat": "general", "code": "code", "reason": "reasoning", "languages": "multilingual", "files": "general"}


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_three_models_that_suit_and_fit_the_best_first(purpose: Purpose) -> None:
    every = offers(LAPTOP)
    found = recommended(purpose, every, LAPTOP)
    assert found.purpose == purpose
    assert len(found.models) == 3
    assert len({one.offer.id for one in found.models}) == 3
    for one in found.models:
        assert USES[purpose] in one.offer.uses
        assert one.offer.verdict == "fits"
        assert one.bits >= GOOD_BITS
        assert purpose != "files" or one.offer.context >= 32_000
    said = [one.effective for one in found.models]
    assert said == sorted(said, reverse=True)
    best = found.models[0]
    assert (best.reason, best.offer.tokens >= READING) == ("best", True)
    # no other that fits and is read as it comes would say more
    rivals = [one for one in every if USES[purpose] in one.uses and one.verdict == "fits" and one.tokens >= READING]
    good = [effective(one.parameters, 8 * one.bytes / one.parameters) for one in rivals if _bits(one) >= GOOD_BITS]
    assert purpose == "files" or best.effective == max(good)


def _bits(one: Offer) -> float:
    return 8 * one.bytes / one.parameters


def test_each_says_why() -> None:
    for one in recommended("chat", offers(LAPTOP), LAPTOP).models:
        least = {"best": READING, "lighter": 2 * READING, "quick": QUICK, "alike": READING, "slow": 0.0}[one.reason]
        assert one.offer.tokens >= least


def test_a_lighter_one_is_lighter() -> None:
    told = set()
    for free in (3, 5, 10, 20):
        found = recommended("chat", offers(_with(free)), _with(free)).models
        best = found[0].offer
        for one in found[1:]:
            told.add(one.reason)
            if one.reason == "lighter":
                assert one.offer.ram <= 0.75 * best.ram
                assert one.offer.tokens > best.tokens
    assert "lighter" in told


def test_what_is_to_be_downloaded_is_a_build_of_the_catalogue() -> None:
    builds = {
        (build.repository, build.scheme if build.format == "gguf" else "safetensors")
        for family in catalogue()
        for entry in family.models
        for build in entry.builds
    }
    every = offers(LAPTOP)
    for purpose in get_args(Purpose):
        for one in recommended(purpose, every, LAPTOP).models:
            assert (one.offer.repository, one.choice) in builds


def test_published_figures_come_along() -> None:
    machines = [replace(_with(free), cores=32) for free in (4, 10)]  # those with figures are 1x16, which wants cores
    published = [
        one
        for machine in machines
        for every in [offers(machine)]
        for purpose in get_args(Purpose)
        for one in recommended(purpose, every, machine).models
        if one.figures
    ]
    assert published
    assert all(figure.source and figure.value > 0 for one in published for figure in one.figures)


def _with(free: float) -> Machine:
    return replace(LAPTOP, memory_total=int(2 * free * GB), memory_free=int(free * GB))


def test_a_small_machine_gets_small_models_and_none_where_none_fits() -> None:
    small = recommended("chat", offers(_with(1.5)), _with(1.5))
    assert small.models
    assert all(one.offer.ram <= 1.5 * GB for one in small.models)
    assert recommended("chat", offers(_with(0.05)), _with(0.05)).models == []


def test_a_slow_machine_gets_what_fits_and_is_told() -> None:
    slow = replace(LAPTOP, rates=Rates(ram=0.3e9))
    found = recommended("chat", offers(slow), slow)
    assert found.models
    assert all(one.offer.tokens < READING for one in found.models)
    assert "best" not in {one.reason for one in found.models}
    assert "slow" in {one.reason for one in found.models}


def test_a_build_of_ones_own_is_proposed_only_where_it_would_say_more() -> None:
    ideas = []
    for free in range(2, 21):
        machine = _with(free)
        every = offers(machine)
        for purpose in ("chat", "code"):
            found = recommended(purpose, every, machine)
            if found.idea is not None:
                ideas.append(found.idea)
                assert found.idea.id not in {one.offer.id for one in found.models}
                assert found.idea.effective > 1.3 * max((one.effective for one in found.models), default=0)
                assert found.idea.ram <= machine.memory_free
                assert found.idea.tokens >= READING
    assert ideas


def test_fewer_bits_say_less_and_never_more_than_all_parameters() -> None:
    said = [effective(10**9, bits) for bits in (1.0, 2.16, 2.6, 3.1, 3.83, 4.5, 4.85, 6.5, 8.5, 16.0)]
    assert said == sorted(said)
    assert said[-1] == 10**9
    assert said[0] == said[1] > 0
    # our own measurement: three bits cost a 1.5B what halving it would, two bits much more
    assert 0.45e9 < effective(10**9, 3.11) < 0.6e9
    assert effective(10**9, 2.16) < 0.2e9
