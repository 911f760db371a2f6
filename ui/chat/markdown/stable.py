"""Where the part of a growing text ends that can no longer change."""

from __future__ import annotations

from typing import Final

from ui.chat.markdown.parser import Group

__all__ = ["LISTS", "Written", "find_cut", "same_structure"]

LISTS: Final = ("bullet_list_open", "ordered_list_open")

#: (kind of a top-level block, line on which it begins)
Written = tuple[str, int]


def find_cut(found: list[Group], lines: list[str]) -> tuple[int, int]:
    """Up to where a text is final: (index of the first block that is not, line of its first open list item or -1).

    The last block may still change. So may the place where it begins, as long as its first line is unfinished and
    follows another block directly: "a", then "#" looks like a heading until "#b" turns it into more of the paragraph.
    """
    index = len(found) - 1
    while index > 0 and not _final(found[index].first, lines):
        index -= 1
    group = found[index]
    if group.kind in LISTS:
        for line in reversed(_items(group)[1:]):
            if _final(line, lines):
                return index, line
    return index, -1


def same_structure(written: list[Written], found: list[Group]) -> bool:
    """Whether blocks written bit by bit are those of the whole text. A list may have been written in several runs."""
    whole = {(group.kind, group.first) for group in found}
    items = {(group.kind, line) for group in found if group.kind in LISTS for line in _items(group)}
    parts = set(written)
    return whole <= parts <= whole | items


def _items(group: Group) -> list[int]:
    return [t.map[0] for t in group.tokens if t.type == "list_item_open" and t.level == 1 and t.map]


def _final(line: int, lines: list[str]) -> bool:
    return line < len(lines) - 1 or (line > 0 and not lines[line - 1].strip())
