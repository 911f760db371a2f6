"""Steps when memory gets short, with readings that a test makes up."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from backend.api.schemas import Event, LoadedModel, MemoryReport, Notice
from backend.jobs.pressure import MemoryWatch
from tests.fakes.client import fake_loaded

GB, MB = 10**9, 10**6


class Keeper:
    def __init__(self, *, draft: str = "", answers: bool = False) -> None:
        self.loaded: LoadedModel | None = replace(fake_loaded(), draft_model=draft)
        self.answers = answers
        self.did: list[str] = []

    async def drop_draft(self) -> None:
        self.did.append("draft")
        assert self.loaded is not None
        self.loaded = replace(self.loaded, draft_model="")

    def stop_answers(self) -> bool:
        self.did.append("answers")
        return self.answers

    async def unload(self) -> None:
        self.did.append("model")
        self.loaded = None


def looks(keeper: Keeper, *free: int, total: int = 16 * GB) -> list[str]:
    """What is said while so much is free, look by look."""
    said: list[Event] = []
    readings = list(free)
    watch = MemoryWatch(keeper, said.append, lambda: MemoryReport(total=total, available=readings.pop(0)))

    async def all_of_them() -> None:
        for _ in free:
            await watch.look()

    asyncio.run(all_of_them())
    assert all(isinstance(event, Notice) and event.level == "warning" for event in said)
    return [event.text for event in said if isinstance(event, Notice)]


def test_enough_memory_and_a_short_dip_change_nothing() -> None:
    keeper = Keeper(draft="small.gguf")
    assert looks(keeper, 4 * GB, 100 * MB, 4 * GB, 100 * MB, 3 * GB, 500 * MB, 700 * MB) == []
    assert keeper.did == []


def test_the_model_that_guesses_goes_first_then_it_is_said_once_then_the_model_goes() -> None:
    keeper = Keeper(draft="small.gguf", answers=True)
    said = looks(keeper, *[500 * MB] * 8, *[200 * MB] * 3)
    assert keeper.did == ["draft", "answers", "model"]
    assert len(said) == 3
    assert "500 MB are free" in said[0]
    assert "guesses ahead was let go" in said[0]
    assert "Close other programs" in said[1]
    assert "200 MB were left" in said[2]
    assert "what there is of it is kept" in said[2]


def test_memory_that_runs_out_at_once_takes_the_model_at_once() -> None:
    keeper = Keeper(draft="small.gguf")
    said = looks(keeper, 50 * MB, 50 * MB, 50 * MB)
    assert keeper.did == ["answers", "model"]
    assert len(said) == 1
    assert "stopped" not in said[0]


def test_the_warning_comes_again_after_there_was_room() -> None:
    short = [500 * MB] * 3
    assert len(looks(Keeper(), *short, 700 * MB, *short)) == 1  # it never was well again
    assert len(looks(Keeper(), *short, 2 * GB, *short)) == 2


@pytest.mark.parametrize(
    ("total", "free", "steps"),
    [
        (2 * GB, 290 * MB, 1),
        (2 * GB, 310 * MB, 0),
        (64 * GB, 2 * GB, 1),
        (300 * MB, 40 * MB, 1),
        (300 * MB, 50 * MB, 0),
    ],
)
def test_what_is_short_depends_on_the_machine(total: int, free: int, steps: int) -> None:
    assert len(looks(Keeper(), free, free, free, total=total)) == steps


def test_without_a_model_nothing_is_said() -> None:
    keeper = Keeper()
    keeper.loaded = None
    assert looks(keeper, MB, MB, MB) == []
