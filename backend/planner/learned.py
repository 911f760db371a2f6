"""What models took and how fast they ran on this machine, and what follows for the next prediction.

After an answer the engine notes the memory that its process held, the seconds of a token and those of the prompt,
beside what was predicted with nothing learned (so that corrections never pile up). The next prediction takes the median
of what is known of the same model, else of the same scheme, else of the same engine.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from backend.planner.speed import Rates

__all__ = ["Correction", "Known", "Learned", "Observation", "Passed"]

Source = Literal["", "engine", "scheme", "model"]
#: observations of one model that are kept, and of all
_OF_A_MODEL, _OF_ALL = 8, 200
#: a correction beyond this share of what was predicted is somebody else's memory, or a machine under pressure
_BELIEVED = 0.5


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One load.

    Attributes:
        engine, scheme, model: what was loaded; `model` as the planner names it.
        threads: that computed.
        predicted, measured: bytes of the process (its share of what is shared), for the cells in use.
        read: bytes that a token reads; token_s: seconds of one without drafts, 0 where that was not seen.
        besides: seconds of those that are not spent reading (`speed.besides_reading`).
        multiplying: seconds of them that its arithmetic was expected to take (`Weights.multiplied` over the threads).
        prefill: multiplications a second of a core while the prompt was read, attention apart; 0 where it was too short
            to tell.
        disk: `read` came from the disk in every pass. Such a load tells of `token_s` and `speedup`, and nothing else.
        draft: the model that guessed, by its name. speedup: times `token_s`'s rate that it brought; 0: not known.
    """

    engine: str
    scheme: str
    model: str
    threads: int
    predicted: int
    measured: int
    besides: float  # these two without a default: files from before they were kept are passed over
    multiplying: float
    read: int = 0
    token_s: float = 0.0
    prefill: float = 0.0
    disk: bool = False
    draft: str = ""
    speedup: float = 0.0


@dataclass(frozen=True, slots=True)
class Passed:
    """A pass of one token that was seen: seconds without what is besides, bytes, and what arithmetic should take."""

    seconds: float
    read: int
    multiplying: float = 0.0


@dataclass(frozen=True, slots=True)
class Correction:
    """What is known about a model before it is loaded.

    Attributes:
        memory: bytes to add to the prediction. of_memory: what that was seen on.
        passes: that were seen, our engine's fixed costs included. of_speed: what they were seen on.
        core: multiplications a second of a core in prefill; 0: not known.
        disk: bytes a second that passes of this model brought from the disk; 0: not known.
        guessed: what models that guess made of its speed there, by their names.
    """

    memory: int = 0
    of_memory: Source = ""
    passes: tuple[Passed, ...] = ()
    of_speed: Source = ""
    core: float = 0.0
    disk: float = 0.0
    guessed: Mapping[str, float] = field(default_factory=dict)

    def rates(self, probed: Rates) -> Rates:
        """What was measured of the memory, corrected by the passes.

        A pass tells of what it waited for, reading or arithmetic, and that the other took no longer than all of it.
        """
        if self.disk:
            probed = replace(probed, disk=self.disk)
        if not self.passes:
            return probed
        read, slower = [], []
        for one in self.passes:
            reading = one.read / probed.ram
            if reading >= min(one.multiplying, one.seconds):
                read.append(one.read / one.seconds)
            if one.multiplying > min(reading, one.seconds):
                slower.append(one.seconds / one.multiplying)
        ram = median(read) if read else probed.ram
        return replace(probed, ram=ram, slower=median(slower) if slower else probed.slower, fixed=0.0)


#: (engine, scheme, model) -> what earlier loads taught
Known = Callable[[str, str, str], Correction]


class Learned:
    """The observations of one machine, in a file; safe to use from several threads.

    Args:
        path: the file; one that is missing or damaged is an empty one, because all of it is measured again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def all(self) -> list[Observation]:
        """The oldest first."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Observation])
        except (OSError, msgspec.DecodeError):
            return []

    def add(self, new: Observation) -> None:
        """Keeps it, and forgets the oldest ones of its model. What cannot be written is not learned."""
        with self._lock:
            before = self.all()
            same = [at for at, one in enumerate(before) if _kind(one) == _kind(new)]
            forgotten = set(same[: max(len(same) - _OF_A_MODEL + 1, 0)])
            kept = [one for at, one in enumerate(before) if at not in forgotten]
            fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")  # windows have an engine each
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh.write_bytes(msgspec.json.encode([*kept, new][-_OF_ALL:]))
                fresh.replace(self._path)

    def about(self, engine: str, scheme: str, model: str) -> Correction:
        """What to expect of a model that is about to be loaded."""
        everything = [one for one in self.all() if one.engine == engine]
        known = [one for one in everything if not one.disk]
        memory, of_memory = _nearest(known, scheme, model)
        passes, of_speed = _nearest([one for one in known if one.token_s > 0 and one.read > 0], scheme, model)
        core, _ = _nearest([one for one in known if one.prefill > 0], scheme, model)
        # of this model only: another may lie on another disk, and guesses are as good as the pair
        disk = [one for one in everything if one.disk and one.model == model and one.token_s > 0]
        helped = [one for one in disk if one.draft and one.speedup > 0]
        return Correction(
            memory=round(median(map(_beyond, memory))) if memory else 0,
            of_memory=of_memory,
            passes=tuple(Passed(_reading(one), one.read, one.multiplying) for one in passes),
            of_speed=of_speed,
            core=median(one.prefill for one in core) if core else 0.0,
            disk=median(one.read / one.token_s for one in disk) if disk else 0.0,
            guessed={
                draft: median(one.speedup for one in helped if one.draft == draft)
                for draft in {one.draft for one in helped}
            },
        )


def _kind(one: Observation) -> tuple[str, str, bool]:
    return one.engine, one.model, one.disk


def _nearest(known: Sequence[Observation], scheme: str, model: str) -> tuple[list[Observation], Source]:
    steps: tuple[tuple[Source, Iterable[Observation]], ...] = (
        ("model", (one for one in known if one.model == model and one.scheme == scheme)),
        ("scheme", (one for one in known if one.scheme == scheme)),
        ("engine", known),
    )
    for source, these in steps:
        if found := list(these):
            return found, source
    return [], ""


def _reading(one: Observation) -> float:
    # On a faster processor the rest takes less than is reckoned, so never so much that hardly any reading is left.
    return max(one.token_s - one.besides, one.token_s / 2)


def _beyond(one: Observation) -> float:
    most = _BELIEVED * one.predicted
    return min(max(one.measured - one.predicted, -most), most)
