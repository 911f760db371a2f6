"""How well a few typed letters fit a text."""

from __future__ import annotations

import unicodedata

__all__ = ["fold", "score"]

_WORD_START, _IN_A_ROW, _GAP = 8, 5, 1


def fold(text: str) -> str:
    """Small letters without their accents, so that "uber" finds "Über"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def score(query: str, text: str) -> int:
    """How well the letters of `query`, in their order, are found in `text`; 0 where they are not. Words may be left
    out and begun only: "mod sm" finds "Make a model smaller".

    Both are folded already. The beginning of a word counts most, then letters in a row; each letter that is passed
    over costs a little, up to the worth of one beginning.
    """
    if not query:
        return 1
    best = 0
    start = text.find(query[0])
    while start >= 0:
        best = max(best, _from(query, text, start))
        start = text.find(query[0], start + 1)
    return best


def _from(query: str, text: str, start: int) -> int:
    total, place, row = 0, start, False
    for number, letter in enumerate(query):
        if letter == " ":
            row = False
            continue
        # a letter in a row first, else the beginning of a word, else anywhere
        if number and row and text[place : place + 1] == letter:
            found = place
        else:
            found = _beginning(text, letter, place) if number else start
            if found < 0:
                found = text.find(letter, place)
        if found < 0:
            return 0
        begins = found == 0 or not text[found - 1].isalnum()
        total += (_WORD_START if begins else 0) + (_IN_A_ROW if row and found == place else 0) + 2
        total -= min(_WORD_START, (found - place) * _GAP) if number else 0
        place, row = found + 1, True
    return max(1, total)


def _beginning(text: str, letter: str, place: int) -> int:
    while (place := text.find(letter, place)) >= 0:
        if place == 0 or not text[place - 1].isalnum():
            return place
        place += 1
    return -1
