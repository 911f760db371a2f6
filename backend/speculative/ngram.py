"""Drafts out of the text itself: what followed the last time these words came.

The text is everything the model has read and written since it was loaded: prompts with their attachments, earlier
branches, the answer so far. Positions are chained by their last two and their last three tokens, as in LZ77; the chain
of three is walked, and the longest match wins, the later one among equals.

An edit copies a text with a word changed here and there. Behind a changed word nothing matches for two tokens, so the
place that was copied from is kept: the token that differs is taken for a replacement, and the copy goes on behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.speculative.calibration import Calibration
from backend.speculative.tree import DraftTree

__all__ = ["NgramDrafter"]

_BREAK = -1  # between texts that do not follow each other
_MOST_TEXT = 1 << 16  # tokens; the index takes about 200 bytes each
_LONGEST = 32
_WALK = 16  # places that are looked at; 20 us
_BRANCHES = 3
_DEEPEST = 64
_STEPS = (2, 3, 4, 6, 8, 12, 16, 24, _LONGEST)
#: how often a match of so many tokens goes on as it did before; code edits of Qwen2.5-Coder begin near these
_PRIORS = (0.25, 0.35, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
#: how often a copy goes on behind a replacement, by the tokens that agreed since; at first seldom (.11 of ten edits)
_RESUMED = (0.15, 0.6, 0.75, 0.85, 0.9, 0.94)
_MOST_SLIPS = 2  # replacements with fewer than four agreeing tokens between them; then the place is given up
_BIN = [max(i for i, step in enumerate(_STEPS) if step <= max(n, 2)) for n in range(_LONGEST + 1)]


class NgramDrafter:
    """Looks up continuations. `begin` with each prompt, then `observe` each emitted token."""

    def __init__(self) -> None:
        self._text: list[int] = []
        self._start = 0  # of the current conversation within the text
        self._by_two: dict[tuple[int, int], int] = {}
        self._by_three: dict[tuple[int, int, int], int] = {}
        self._before: list[int] = []  # the previous place with the same three tokens, or -1
        self._first = Calibration(_PRIORS)
        self._other = Calibration([p / 4 for p in _PRIORS])
        self._resumed = Calibration(_RESUMED)
        self._at = -1  # the place that is being copied from: of the token that stands for the last one; -1: none
        self._agreed = self._slips = 0

    def begin(self, prompt: Sequence[int]) -> None:
        """The text is this prompt now; what it shares with the last one is not indexed again."""
        have = len(self._text) - self._start
        if have and len(prompt) >= have and list(prompt[:have]) == self._text[self._start :]:
            new = prompt[have:]
        else:
            if len(self._text) + len(prompt) > _MOST_TEXT:
                self._forget()
            if self._text:
                self.observe(_BREAK)
            self._start, new = len(self._text), prompt
        for token in new:
            self.observe(token)

    def observe(self, token: int) -> None:
        """The text goes on with this token."""
        text = self._text
        if self._at >= 0:
            self._follow(token)
        last = len(text) - 1
        if last >= 1:  # a place is entered when its continuation is known
            self._by_two[text[last - 1], text[last]] = last
        if last >= 2:
            key = (text[last - 2], text[last - 1], text[last])
            self._before[last] = self._by_three.get(key, -1)
            self._by_three[key] = last
        text.append(token)
        self._before.append(-1)

    def grow(self, tree: DraftTree, deepest: int) -> None:
        """Adds the continuations of the text, which ends with the tree's root."""
        text, end = self._text, len(self._text)
        places = self._places()
        if places and places[0][1] >= 3 and (self._at < 0 or places[0][1] > self._agreed):
            self._at, self._agreed, self._slips = places[0][0], places[0][1], 0
        elif self._at >= 0 and all(place != self._at for place, _ in places):
            self._resume(tree, deepest)
        for rank, (place, length) in enumerate(places):
            calibration = self._other if rank else self._first
            period, node = end - 1 - place, 0
            for depth in range(min(deepest, _DEEPEST)):
                token = text[place + 1 + depth % period]  # a match that runs into the end goes round
                if token == _BREAK:
                    break
                bin_ = _BIN[min(length + depth, _LONGEST)]
                use = calibration if not depth else self._first
                node = tree.add(node, token, use[bin_], (use, bin_))
                if tree.chances[node] < 0.01:
                    break

    def _follow(self, token: int) -> None:
        """The copy goes on by one token, which may be a replacement."""
        self._at += 1
        if token == _BREAK or self._at >= len(self._text) or self._text[self._at] == _BREAK:
            self._at = -1
        elif self._text[self._at] == token:
            self._agreed += 1
            if self._agreed >= 4:
                self._slips = 0
        else:
            self._agreed = 0
            self._slips += 1
            if self._slips > _MOST_SLIPS:
                self._at = -1

    def _resume(self, tree: DraftTree, deepest: int) -> None:
        """Adds what stands behind the place that is copied from."""
        node = 0
        for depth, token in enumerate(self._text[self._at + 1 : self._at + 1 + min(deepest, _DEEPEST)]):
            if token == _BREAK or tree.chances[node] < 0.01:
                break
            bin_ = min(self._agreed + depth, len(_RESUMED) - 1)
            node = tree.add(node, token, self._resumed[bin_], (self._resumed, bin_))

    def _places(self) -> list[tuple[int, int]]:
        """(position of the match's last token, its length), best first, with different continuations."""
        text, last = self._text, len(self._text) - 1
        best: dict[int, tuple[int, int]] = {}  # next token -> (length, place)
        if last >= 2:
            place = self._by_three.get((text[last - 2], text[last - 1], text[last]), -1)
            for _ in range(_WALK):
                if place < 0:
                    break
                length = self._match(place, last)
                known = best.get(text[place + 1])
                if known is None or length > known[0]:
                    best[text[place + 1]] = (length, place)
                place = self._before[place]
        if not best and last >= 1:
            place = self._by_two.get((text[last - 1], text[last]), -1)
            if place >= 0:
                best[text[place + 1]] = (2, place)
        ranked = sorted(best.values(), reverse=True)[:_BRANCHES]
        return [(place, length) for length, place in ranked]

    def _match(self, place: int, last: int) -> int:
        text, length = self._text, 3
        while length < _LONGEST and place >= length and text[place - length] == text[last - length] != _BREAK:
            length += 1
        return length

    def _forget(self) -> None:
        self._text.clear()
        self._before.clear()
        self._by_two.clear()
        self._by_three.clear()
        self._at = -1
        self._start = 0
