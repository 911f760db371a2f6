"""How much to draft: as long as it pays, and nothing while it does not.

A pass over the root and m drafted nodes is expected to emit 1 + (sum of their chances) tokens in T(1 + m) seconds. The
nodes are taken likeliest first, so the best m maximises that ratio; at the maximum every node that was taken is worth
more than its marginal time at the rate achieved, which is Dinkelbach's condition, and the maximum of a staircase lies
at the end of a step by itself.
"""

from __future__ import annotations

from backend.speculative.costs import Costs
from backend.speculative.tree import DraftTree

__all__ = ["Controller"]

#: Drafting must promise, and keep, this much over plain decoding.
WORTH = 1.03
_WINDOW = 10  # speculative passes between two judgements
_FIRST_REST, _LONGEST_REST = 16, 256  # tokens of plain decoding after a judgement against


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

    @property
    def resting(self) -> bool:
        """Whether drafts are not wanted now."""
        return self._rest > 0

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
        if not plain:
            return []
        best, count, expected = WORTH / plain, 0, 1.0
        for m, node in enumerate(ranked, 1):
            expected += tree.chances[node]
            rate = expected / (self.costs.seconds(1 + m) + spent_s)
            if rate > best:
                best, count = rate, m
        return ranked[:count]

    def plain(self, seconds: float) -> None:
        """A pass without a draft."""
        self.costs.observe(1, seconds)
        self._rest = max(self._rest - 1, 0)

    def drafted(self, nodes: int, tokens: int, pass_s: float, whole_s: float) -> None:
        """A pass with a draft.

        Args:
            nodes: of the pass.
            tokens: that it emitted, the last one from a miss or from behind a leaf included.
            pass_s: seconds of the model.
            whole_s: those and the drafting's.
        """
        self.costs.observe(nodes, pass_s)
        if self._fixed:
            return
        self._passes += 1
        self._tokens += tokens
        self._seconds += whole_s
        if self._passes >= _WINDOW:
            if self._tokens * self.costs.seconds(1) < WORTH * self._seconds:
                self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, _LONGEST_REST)
            else:
                self._next_rest = _FIRST_REST
            self._passes = self._tokens = 0
            self._seconds = 0.0
