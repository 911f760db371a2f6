"""From what a drafter says of its guess to how often such guesses come true."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Calibration", "Origin"]

#: Guesses that a prior counts for, and guesses that are remembered: a bin follows a change of text within 30 or so.
_PRIOR_WEIGHT = 4.0
_MEMORY = 32.0


class Calibration:
    """Hit rates of bins, each starting from a prior and forgetting slowly.

    Args:
        priors: the first guess at each bin's hit rate.
    """

    def __init__(self, priors: Sequence[float]) -> None:
        self._rates = list(priors)
        self._weights = [_PRIOR_WEIGHT] * len(priors)

    def __len__(self) -> int:
        return len(self._rates)

    def __getitem__(self, bin_: int) -> float:
        """The hit rate of a bin, in (0, 1)."""
        return self._rates[bin_]

    def learn(self, bin_: int, hit: bool) -> None:
        """A guess of this bin was put to the test: its parent was accepted, and it was (not) what came next."""
        weight = self._weights[bin_]
        self._rates[bin_] += (hit - self._rates[bin_]) / (weight + 1)
        self._weights[bin_] = min(weight + 1, _MEMORY)


#: who made a guess: its calibration and the bin of it
Origin = tuple[Calibration, int]
