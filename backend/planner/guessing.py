"""What a smaller model that guesses brings a larger one whose weights come from the disk.

In memory it brings next to nothing on a processor (1.03 to 1.14 times with two cores, `app/notes/log.md`), and nothing
is expected of it there. From the disk a pass costs its reading, however many guesses it checks.
"""

from __future__ import annotations

from typing import Final

from backend.planner.memory import Engine
from backend.planner.speed import Rates, pass_seconds
from backend.planner.subject import Subject

__all__ = ["TOKENS", "can_guess", "cost"]

#: tokens of a pass on prose: 4.5, on code completion 10 (1.5B from the disk with the 0.5B, trees of up to 128)
TOKENS: Final = 4.5
#: passes of the small model for one tree, each of several nodes at once, in its passes of one
_ROUNDS, _WIDE = 8, 1.5
#: rows of a model's table beyond its vocabulary (`backend.speculative.vocabulary` compares what the rows mean)
_PADDING: Final = 256


def can_guess(draft: Subject, target: Subject) -> bool:
    """Whether the vocabularies are of one size; what they say is compared when both are loaded."""
    return abs(draft.architecture.vocab_size - target.architecture.vocab_size) <= _PADDING


def cost(draft: Subject, engine: Engine, seconds: float, rates: Rates, threads: int) -> float:
    """Of a pass that checks guesses and of making them, in passes of one token.

    Args:
        draft: the small model.
        engine: of the large one. Ours checks a tree while it waits for the disk.
        seconds: of a pass of one token of the large one.
        rates: of the machine.
        threads: that compute.
    """
    if engine != "native" or seconds <= 0:
        return 1.0
    small = pass_seconds(draft.weights.per_token, 0, 0, rates, draft.weights.multiplied / max(threads, 1))
    return 1.0 + _ROUNDS * _WIDE * small / seconds
