"""The catalogue from machines of every size."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from backend.planner.learned import Correction, Passed
from backend.planner.offers import offers
from backend.planner.plan import Machine
from backend.planner.speed import Rates

GB = 10**9
LAPTOP = Machine(cores=8, memory_total=16 * GB, memory_free=10 * GB, rates=Rates(ram=50e9))


def test_suggestions_come_first_and_are_read_as_they_come() -> None:
    found = offers(LAPTOP)
    suggested = [one for one in found if one.suggested]
    assert [one.suggested for one in found[:3]].count("") == 0
    assert {one.suggested for one in suggested} == {"best", "code", "fast"}
    assert all(one.verdict == "fits" and one.tokens >= 6 for one in suggested)
    best, quick = (next(one for one in suggested if one.suggested == why) for why in ("best", "fast"))
    assert quick.tokens >= 25
    assert best.parameters > quick.parameters
    assert "code" in next(one for one in suggested if one.suggested == "code").uses
    bigger = [one for one in found if one.parameters > best.parameters and "general" in one.uses]
    assert all(one.verdict != "fits" or one.tokens < 6 or 8 * one.bytes < 3 * one.parameters for one in bigger)
    assert bigger[0].verdict == "fits"  # of two bits


def test_what_fits_comes_before_what_does_not_the_largest_first() -> None:
    rest = [one for one in offers(LAPTOP) if not one.suggested]
    order = [(("fits", "fits if", "does not fit").index(one.verdict), -one.parameters) for one in rest]
    assert order == sorted(order)
    assert {one.verdict for one in rest} == {"fits", "fits if", "does not fit"}
    assert all(bool(one.remedy) == (one.verdict != "fits") for one in rest)
    assert len({one.id for one in rest}) == len(rest) >= 50


@pytest.mark.parametrize("memory", [1, 2, 64, 1024])
def test_machines_of_every_size_get_what_they_hold(memory: int) -> None:
    machine = replace(LAPTOP, memory_total=memory * GB, memory_free=round(memory * 0.8 * GB))
    for one in offers(machine):
        assert (one.ram <= machine.memory_free) or one.verdict != "fits", one.id
        assert one.low < one.tokens < one.high


def test_a_machine_without_room_gets_no_suggestion() -> None:
    assert not any(one.suggested for one in offers(replace(LAPTOP, memory_free=GB // 20)))


def test_what_is_loaded_counts_as_free() -> None:
    tight = replace(LAPTOP, memory_free=GB)
    before, after = offers(tight), offers(tight, leaving=9 * GB)
    assert sum(one.verdict == "fits" for one in after) > sum(one.verdict == "fits" for one in before)


def test_what_was_learned_counts() -> None:
    slow = Correction(passes=(Passed(1.0, 5 * GB),), of_speed="engine")
    expected = {one.id: one.tokens for one in offers(LAPTOP, lambda *_: slow)}
    assert all(one.tokens > expected[one.id] for one in offers(LAPTOP))


def test_the_whole_catalogue_is_planned_quickly() -> None:
    offers(LAPTOP)
    began = time.perf_counter()
    assert len(offers(LAPTOP)) * 0.05 > time.perf_counter() - began
