"""The sampler chain: from a row of logits to one token.

Order: logit bias, penalties, grammar, top-k, softmax at `temperature`, top-p, min-p, draw. It is the order of the HF
`generate` warpers, which the values on model cards are meant for (llama.cpp applies the temperature last).

A row has 50 to 150 thousand entries and a small model decodes in 4 ms, so the chain reads the row once
(see `_top`) and works on the k survivors after that.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.api.errors import InvalidRequestError
from backend.api.schemas import Sampling
from backend.engine.model import Grammar
from backend.engine.randomness import uniform

FloatRow = npt.NDArray[np.float32]
FloatColumn = npt.NDArray[np.float64]
IntRow = npt.NDArray[np.intp]

#: How many of the best tokens are shown to the grammar before the whole vocabulary is. A grammar check costs about
#: 0.1 us per rejected token and far more per accepted one; 256 nearly always contain an allowed token.
_GRAMMAR_FIRST_LOOK = 256
_HEAD = 1024
_GROUP = 64


@dataclass(frozen=True, slots=True)
class Draw:
    """One drawn token with the candidates that survived the chain, most probable first."""

    token: int
    candidates: IntRow  # (k,) token ids
    probabilities: FloatColumn  # (k,) after the whole chain, sums to 1


class Sampler:
    """The chain for one generation. Its state is what the chain looks back on: recent tokens and the grammar.

    `pick` does not change that state and `accept` does, so that a tree of drafts can be judged before it is taken.
    """

    def __init__(self, sampling: Sampling, seed: int, n_vocab: int, grammar: Grammar | None = None) -> None:
        self.sampling = sampling
        self.seed = seed
        self.grammar = grammar
        self._recent: deque[int] = deque(maxlen=sampling.penalty_window or None)
        self._counts: Counter[int] = Counter()
        self._bias_ids, self._bias_values = _bias(sampling, n_vocab)
        self._penalised = (
            sampling.penalty_window > 0
            and (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) != (1.0, 0.0, 0.0)
        )  # fmt: skip

    def prime(self, tokens: Iterable[int]) -> None:
        """Shows the tail of the prompt to the penalties (the grammar starts with the answer)."""
        if self._penalised:
            for token in tokens:
                self._remember(token)

    def accept(self, token: int) -> None:
        """The token was emitted: penalties and grammar move on."""
        if self._penalised:
            self._remember(token)
        if self.grammar is not None:
            self.grammar.accept(token)

    def pick(self, row: FloatRow, position: int) -> int:
        """The token for `position`, from its logits: (n_vocab,) float32, not changed."""
        row = self._adjusted(row)
        if self.sampling.temperature == 0 and self.grammar is None:
            return int(row.argmax())
        ids, _, cumulative = self._survivors(row)
        return self._drawn(ids, cumulative, position)

    def draw(self, row: FloatRow, position: int) -> Draw:
        """Like `pick`, with the candidates and their probabilities."""
        ids, weights, cumulative = self._survivors(self._adjusted(row))
        return Draw(self._drawn(ids, cumulative, position), ids, weights / cumulative[-1])

    def _drawn(self, ids: IntRow, cumulative: FloatColumn, position: int) -> int:
        at = cumulative.searchsorted(uniform(self.seed, position) * cumulative[-1], side="right")
        return int(ids[min(at, ids.size - 1)])

    def _survivors(self, row: FloatRow) -> tuple[IntRow, FloatColumn, FloatColumn]:
        """What the chain leaves: token ids, most probable first, their weights exp(logit / T), and their running sums.

        Method calls, and few of them: after a pass over the weights nothing of this is in the caches, and each NumPy
        call takes about 8 us where it takes 1 in a loop.
        """
        limit = 1 if self.sampling.temperature == 0 else self.sampling.top_k or row.size
        if self.grammar is not None or limit < row.size:
            ids = self._best(row, min(limit, row.size))
            weights = self._weights(row[ids], row[ids[0]])
            cumulative = weights.cumsum()
            keep = _kept(weights, cumulative, cumulative[-1], self.sampling)
            return ids[:keep], weights[:keep], cumulative[:keep]
        # Top-p and min-p nearly always cut inside the first 1,024: sorting only those takes 0.4 ms where the whole
        # vocabulary takes 3 to 13.
        peak = row.max()
        mass = float(self._weights(row, peak).sum())
        for size in (min(_HEAD, row.size), row.size):
            ids = _top(row, size)
            weights = self._weights(row[ids], peak)
            cumulative = weights.cumsum()
            keep = _kept(weights, cumulative, mass, self.sampling)
            if keep < size:
                break
        return ids[:keep], weights[:keep], cumulative[:keep]

    def _weights(self, logits: FloatRow, peak: np.float32) -> FloatColumn:
        weights: FloatColumn = np.exp(np.subtract(logits, peak, dtype=np.float64) / (self.sampling.temperature or 1.0))
        return weights

    def _best(self, row: FloatRow, k: int) -> IntRow:
        """Ids of the `k` best tokens that the grammar allows (fewer if it allows fewer), best first, ties by id."""
        if self.grammar is None:
            return _top(row, k)
        if k <= _GRAMMAR_FIRST_LOOK < row.size:
            ids = _top(row, _GRAMMAR_FIRST_LOOK)
            ids = ids[self.grammar.allowed(ids)]
            if ids.size >= k:
                return ids[:k]
        ids = _top(row, row.size)
        ids = ids[self.grammar.allowed(ids)]
        if not ids.size:
            raise InvalidRequestError(
                "The answer cannot go on under the required format.",
                why="No token of this model's vocabulary continues the text in the way that the grammar asks for.",
                remedy="Loosen the format or use another model.",
            )
        return ids[:k]

    def _adjusted(self, row: FloatRow) -> FloatRow:
        """The row with bias and penalties; the row itself where there are none."""
        if not self._bias_ids.size and not (self._penalised and self._counts):
            return row
        row = row.copy()
        row[self._bias_ids] += self._bias_values
        if self._penalised and self._counts:
            ids = np.fromiter(self._counts.keys(), np.intp, len(self._counts))
            counts = np.fromiter(self._counts.values(), np.float32, len(self._counts))
            seen = row[ids]
            factor = np.float32(self.sampling.repetition_penalty)
            # CTRL's rule (Keskar et al. 2019, section 4.1) for either sign: always towards less probable
            seen = np.where(seen > 0, seen / factor, seen * factor)
            row[ids] = seen - counts * self.sampling.frequency_penalty - np.float32(self.sampling.presence_penalty)
        return row

    def _remember(self, token: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._recent.append(token)
        self._counts[token] += 1


def _bias(sampling: Sampling, n_vocab: int) -> tuple[IntRow, FloatRow]:
    try:
        pairs = [(int(token), bias) for token, bias in sampling.logit_bias.items()]
    except ValueError:
        raise InvalidRequestError(
            "logit_bias has a key that is not a token id.", remedy="Use whole numbers as keys."
        ) from None
    for token, _ in pairs:
        if not 0 <= token < n_vocab:
            raise InvalidRequestError(
                f"logit_bias names token {token}, but this model's tokens go from 0 to {n_vocab - 1}."
            )
    ids = np.array([token for token, _ in pairs], np.intp)
    return ids, np.array([bias for _, bias in pairs], np.float32)


def _top(row: FloatRow, k: int) -> IntRow:
    """Ids of the k largest entries, largest first; equal ones by id.

    The k-th largest of the maxima of groups of 64 is a lower bound for the k-th largest entry, so one pass for the
    maxima and one comparison leave a few hundred candidates.
    """
    groups = row.size // _GROUP
    if k < groups:
        maxima = row[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)  # down the columns: vectorised
        maxima.partition(groups - k)
        ids: IntRow = (row >= maxima[groups - k]).nonzero()[0]
    elif k < row.size:
        ids = (row >= np.partition(row, row.size - k)[row.size - k]).nonzero()[0]
    else:
        ids = np.arange(row.size)
    order = (-row[ids]).argsort(kind="stable")  # ids ascend, so equal logits stay in the order of their ids
    return ids[order[:k]]


def _kept(weights: FloatColumn, cumulative: FloatColumn, mass: float, sampling: Sampling) -> int:
    """How many of the sorted candidates top-p and min-p leave; at least one."""
    keep = weights.size
    if sampling.top_p < 1:
        # the smallest head whose mass reaches top_p (Holtzman et al. 2020, section 3.1)
        keep = min(keep, int(cumulative.searchsorted(sampling.top_p * mass)) + 1)
    if sampling.min_p > 0:
        keep = min(keep, int(np.count_nonzero(weights >= sampling.min_p * weights[0])))
    return max(keep, 1)


def log_softmax(row: FloatRow) -> FloatRow:
    """Natural-log probabilities of a row of logits, (n_vocab,) float32."""
    shifted = row - row.max()
    result: FloatRow = shifted - np.float32(np.log(np.exp(shifted, dtype=np.float64).sum()))
    return result
