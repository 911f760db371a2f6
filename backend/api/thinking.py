"""The two parts of an answer whose model thinks aloud first: `<think>...</think>`, then what it says.

Only at the very beginning is the tag a tag; later on it is text about tags. Some templates write the opening tag into
the prompt; then the answer begins inside, and a closing tag on a line of its own ends the thought.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Thought", "split_thought", "without_thought"]

_OPENINGS: Final = ("<think>", "<thinking>")
_LONE_CLOSING: Final = re.compile(r"\n</think(?:ing)?>[ \t]*(?:\n|$)")


class Thought(NamedTuple):
    """`thought` is None where there is none; `closed` says that the answer has begun."""

    thought: str | None
    answer: str
    closed: bool = True


def split_thought(text: str, *, streaming: bool = False) -> Thought:
    """The parts of an answer. While it streams, what may yet become a tag is kept back."""
    body = text.lstrip()
    opening = next((tag for tag in _OPENINGS if body.startswith(tag)), None)
    if opening is None:
        if streaming and len(body) < 10 and any(tag.startswith(body) for tag in _OPENINGS) and body:
            return Thought(None, "")
        lone = _LONE_CLOSING.search(text) if "</think" in text else None
        if lone is None or "<think" in text[: lone.start()]:
            return Thought(None, text)
        return Thought(text[: lone.start()].strip("\n"), text[lone.end() :].lstrip("\n"))
    closing = "</" + opening[1:]
    start = len(opening)
    end = body.find(closing, start)
    if end < 0:
        thought = body[start:].lstrip("\n")
        return Thought(_without_beginning_of(closing, thought) if streaming else thought, "", closed=False)
    return Thought(body[start:end].strip("\n"), body[end + len(closing) :].lstrip("\n"))


def _without_beginning_of(tag: str, text: str) -> str:
    for length in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:length]):
            return text[:-length]
    return text


def without_thought(text: str) -> str:
    """What the answer says. A thought that never ended is all there is, so it stays."""
    parts = split_thought(text)
    return parts.answer if parts.thought is not None and parts.closed and parts.answer.strip() else text
