"""How much to draft: as long as it pays, and nothing while it does not.

A pass over the root and m drafted nodes is expected to emit 1 + (sum of their chances) tokens in T(1 + m) seconds. The
nodes are taken likeliest first, so the best m maximises that ratio; at the maximum every node that was taken is worth
more than its marginal time at the rate achieved, which is Dinkelbach's condition, and the maximum of a staircase lies
at the end of a step by itself.

A promise may be wrong. What came of the drafts is judged every ten passes, and an account (`credit.py`) bounds what
they may cost at all: for those out of the text two tokens' time, 1.5 % of the text, and at most 16 tokens' time of what
they had gained; for a draft model eight tokens' time and half a percent, the reading of the prompt into it included.
"""

from __future__ import annotations

from backend.speculative.costs import Costs
from backend.speculative.credit import Credit
from backend.speculative.tree import DraftTree

__all__ = ["Controller"]

#: Drafting must promise, and keep, this much over plain decoding; while it rests, a promise of more still counts.
WORTH = 1.03
_SURE = 1.5
_WINDOW = 10  # speculative passes between two judgements
_FIRST_REST, _LONGEST_REST = 16, 256  # tokens of plain decoding after a judgement against
_MOST_DRAFTED = 32  # passes with a draft, one after the other; then a plain one, so that T(1) stays what it is
_WILD = 2.0  # a pass is charged at most so many times what it was expected to take: another program woke up


class Controller:
    """Chooses trees, judges what came of them, and rests after failures.

    Args:
        costs: of the model that checks the drafts.
        most_nodes: of one pass, the root included.
        trees: whether branches may be checked too, or only the likeliest chain.
        fixed: not 0: this many drafted nodes whatever they promise, without rests (for experiments).
    """

    def __init__(self, costs: Costs, most_nodes: int, *, trees: bool = True, fixed: int = 0) -> None:
        self.costs = costs
        self.most_nodes = most_nodes
        self._trees = trees
        self._fixed = fixed
        self._rest = 0  # tokens left
        self._next_rest = _FIRST_REST
        self._passes = 0
        self._tokens = 0
        self._seconds = 0.0
        self._in_a_row = 0  # passes with a draft since a plain one
        # Gains may be invested: where a pass of 16 costs as much as five and a half (llama.cpp), one miss would use up
        # three tokens' time, and copies were left alone: 1.04 times plain on code edits, 1.31 with 16.
        self.credit = Credit(2.0, 16.0, 0.015)
        self.model_credit = Credit(8.0, 64.0, 0.005)

    @property
    def resting(self) -> bool:
        """Whether drafts must promise much now."""
        return self._rest > 0

    @property
    def stopped(self) -> bool:
        """Whether drafts are not wanted now."""
        return self.credit.stopped and not self._fixed

    def affords_model(self, behind_s: float) -> bool:
        """Whether a draft model that must read for so many seconds first may be asked."""
        plain = self.costs.seconds(1)
        if self._fixed:
            return True
        return plain > 0 and not self.model_credit.stopped and behind_s <= self.model_credit.left * plain

    def rate(self) -> float:
        """Tokens a second of plain decoding; 0: not known yet."""
        seconds = self.costs.seconds(1)
        return 1 / seconds if seconds else 0.0

    def choose(self, tree: DraftTree, spent_s: float = 0.0) -> list[int]:
        """The nodes to check beside the root, [] for none.

        Args:
            tree: all guesses.
            spent_s: seconds that drafting took already; they are gone, but the gain must cover them.
        """
        ranked = (tree.ranked() if self._trees else tree.likeliest_chain())[: self.most_nodes - 1]
        if self._fixed:
            return ranked[: self._fixed]
        plain = self.costs.seconds(1)
        if not plain or self._in_a_row >= _MOST_DRAFTED:
            return []
        best, count, expected = (_SURE if self.resting else WORTH) / plain, 0, 1.0
        for m, node in enumerate(ranked, 1):
            expected += tree.chances[node]
            rate = expected / (self.costs.seconds(1 + m) + spent_s)
            if rate > best:
                best, count = rate, m
        return ranked[:count]

    def plain(self, seconds: float, model_s: float = 0.0) -> None:
        """A pass without a draft; `model_s` seconds of a draft model brought none."""
        self.costs.observe(1, seconds)
        self._in_a_row = 0
        self._rest = max(self._rest - 1, 0)
        self._earn(1)
        if model_s:
            self.model_credit.gain(-model_s / self.costs.seconds(1))

    def drafted(self, nodes: int, tokens: int, pass_s: float, whole_s: float, model_s: float = 0.0) -> None:
        """A pass with a draft.

        Args:
            nodes: of the pass.
            tokens: that it emitted, the last one from a miss or from behind a leaf included.
            pass_s: seconds of the model.
            whole_s: those and the drafting's.
            model_s: of the drafting, those of a draft model; 0: it was not asked.
        """
        expected = self.costs.seconds(nodes)
        self.costs.observe(nodes, pass_s)
        if self._fixed:
            return
        plain = self.costs.seconds(1)
        seconds = min(pass_s, _WILD * expected if expected else pass_s) + whole_s - pass_s
        self._in_a_row += 1
        self._earn(tokens)
        (self.model_credit if model_s else self.credit).gain(tokens - seconds / plain)
        if model_s:
            return
        if self.resting:
            self._rest = max(self._rest - tokens, 0)
            return
        self._passes += 1
        self._tokens += tokens
        self._seconds += seconds
        if self._passes >= _WINDOW:
            if self._tokens * plain < WORTH * self._seconds:
                self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, _LONGEST_REST)
            else:
                self._next_rest = _FIRST_REST
            self._passes = self._tokens = 0
            self._seconds = 0.0

    def _earn(self, tokens: int) -> None:
        self.credit.token(tokens)
        self.model_credit.token(tokens)
