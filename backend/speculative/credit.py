"""What drafting may lose before it has to stop: an account in units of one plain token's time."""

from __future__ import annotations

__all__ = ["Credit"]


class Credit:
    """Drafting pays its losses from here and brings its gains here; each token of the text adds a little.

    So whatever the drafts are worth, an answer is at most `start` tokens and the share `income` slower than without,
    and a run of good drafts cannot be used up by more than `most` afterwards.

    Args:
        start: tokens' time that may be lost at first.
        most: that can be saved up.
        income: of each emitted token.
        least: from which it goes on, once it was used up.
    """

    def __init__(self, start: float, most: float, income: float, least: float = 0.5) -> None:
        self.left = start
        self._most = most
        self._income = income
        self._least = least
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether it is used up."""
        return self._stopped

    def token(self, count: int) -> None:
        """So many tokens were emitted."""
        self.gain(self._income * count)

    def gain(self, tokens: float) -> None:
        """Drafting saved the time of so many plain tokens; below 0: it lost that."""
        self.left = min(self.left + tokens, self._most)
        self._stopped = self.left < (self._least if self._stopped else 0.0)
