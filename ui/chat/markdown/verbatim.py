"""A message as typed, in parts: text that is shown as it stands, and code in fences."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = ["Part", "closing_line", "parts_of"]

_OPENING: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$")


class Part(NamedTuple):
    """A stretch of a message; `language` is the fence's first word."""

    is_code: bool
    language: str
    text: str


def closing_line(markup: str) -> re.Pattern[str]:
    """What ends a fence that was opened with `markup`."""
    return re.compile(rf" {{0,3}}{re.escape(markup[0])}{{{len(markup)},}}[ \t]*$")


def parts_of(text: str) -> list[Part]:
    """The parts of a message; at least one. A fence that is not closed is text."""
    parts: list[Part] = []
    plain: list[str] = []
    lines = text.split("\n")
    # Without this, a message of fences that do not match would be searched to its end once for each.
    ends = {len(m[1]) * (1 if m[1][0] == "`" else -1) for m in map(_OPENING.match, lines) if m}
    i = 0
    while i < len(lines):
        opening = _OPENING.match(lines[i]) if ends else None
        end = -1
        if opening is not None:
            closing = closing_line(opening[1])
            end = next((j for j in range(i + 1, len(lines)) if closing.match(lines[j])), -1)
            if end < 0:
                ends.discard(len(opening[1]) * (1 if opening[1][0] == "`" else -1))
        if opening is None or end < 0:
            plain.append(lines[i])
            i += 1
            continue
        _flush(parts, plain)
        parts.append(Part(True, opening[2], "\n".join(lines[i + 1 : end])))
        i = end + 1
    _flush(parts, plain)
    return parts or [Part(False, "", "")]


def _flush(parts: list[Part], plain: list[str]) -> None:
    if any(line.strip() for line in plain):
        parts.append(Part(False, "", "\n".join(plain).strip("\n")))
    plain.clear()
