"""What of a conversation fits the context window, and where it was cut.

A conversation is cut at turns: a user message with the answers to it. The system prompt and the last user message are
never dropped. When something must go, more goes than must (down to 70 % of the room), because every cut moves all that
follows it and the whole prompt has to be read again; the same cut then serves the next turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from backend.api.errors import ContextOverflowError
from backend.api.schemas import ContextCut, ContextPolicy, Message

#: Counts the tokens of the prompt that these messages make.
Measure = Callable[[Sequence[Message]], Awaitable[int]]

_FILL_AFTER_CUT = 0.7


def answer_reserve(n_ctx: int, max_tokens: int | None) -> int:
    """Tokens of the window kept free for the answer: a quarter, or less if the answer may not be that long."""
    return min(max_tokens or n_ctx, n_ctx // 4)


async def fit(
    branch: Sequence[Message],
    *,
    policy: ContextPolicy,
    room: int,
    measure: Measure,
    previous: ContextCut | None = None,
) -> tuple[list[Message], ContextCut | None]:
    """The messages to show to the model, and the cut that made them fit in `room` tokens.

    `branch` goes from the root to the last user message, without system messages. `previous` is the cut of the last
    answer; it is kept while what it leaves still fits.

    Raises:
        ContextOverflowError: it does not fit and the policy is "stop", or the last turn alone does not fit.
    """
    branch = list(branch)
    if previous is not None and previous.policy == policy:
        gone = set(previous.dropped)
        kept = [m for m in branch if m.id not in gone]
        if kept and len(kept) < len(branch) and await measure(kept) <= room:
            return kept, _cut(branch, kept, policy)
    size = await measure(branch)
    if size <= room:
        return branch, None
    if policy == "stop":
        raise ContextOverflowError(
            f"The conversation is {size:,} tokens long; {room:,} fit in the context window.",
            remedy="Start a new chat, or choose in the side bar to drop earlier messages.",
        )
    turns = _turns(branch)
    first = 1 if policy == "drop_middle" and len(turns) > 2 else 0
    droppable = len(turns) - 1 - first
    for target in (int(room * _FILL_AFTER_CUT), room):
        rest = await _least_drop(turns, first, droppable, target, measure)
        if rest is not None:
            return rest, _cut(branch, rest, policy)
    last = await measure(turns[-1])
    if first and last <= room:  # the first turn is the long one: it goes too
        return turns[-1], _cut(branch, turns[-1], policy)
    raise ContextOverflowError(
        f"Your message is {last:,} tokens long; {room:,} fit in the context window.",
        remedy="Shorten it, or load the model with a larger context.",
    )


async def _least_drop(
    turns: list[list[Message]], first: int, droppable: int, target: int, measure: Measure
) -> list[Message] | None:
    """The longest rest of at most `target` tokens after dropping whole turns behind the `first` ones; None if none."""

    def rest(dropped: int) -> list[Message]:
        return [m for turn in turns[:first] + turns[first + dropped :] for m in turn]

    if await measure(rest(droppable)) > target:
        return None
    low, high = 1, droppable  # rest(high) fits
    while low < high:
        middle = (low + high) // 2
        if await measure(rest(middle)) <= target:
            high = middle
        else:
            low = middle + 1
    return rest(high)


def _turns(branch: Sequence[Message]) -> list[list[Message]]:
    turns: list[list[Message]] = []
    for message in branch:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _cut(branch: Sequence[Message], kept: Sequence[Message], policy: ContextPolicy) -> ContextCut:
    keep = {m.id for m in kept}
    dropped = [i for i, m in enumerate(branch) if m.id not in keep]
    after = branch[dropped[-1] + 1].id if dropped[-1] + 1 < len(branch) else None
    return ContextCut(policy=policy, dropped=[branch[i].id for i in dropped], first_kept=after)
