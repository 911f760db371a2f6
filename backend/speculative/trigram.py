"""An adaptive table of three tokens: what the model itself tends to write after the last two.

The idea is ADED's (arXiv 2407.12021): no second model, a table that follows the answers. Our form of it is a best-first
search over the table's own estimates, because the tree is checked by sampling from the model and needs no other care.
"""

from __future__ import annotations

import heapq

from backend.speculative.calibration import Calibration
from backend.speculative.tree import DraftTree

__all__ = ["TrigramDrafter"]

_MOST_PAIRS = 1 << 16
_MOST_NODES = 16
_BINS = 8
_DOUBT = 1.0  # added to a pair's count: what was seen once is believed half
_LEAST = 0.05


class TrigramDrafter:
    """`observe` the tokens that the model emits; `grow` continues from the last two."""

    def __init__(self) -> None:
        self._table: dict[tuple[int, int], dict[int, float]] = {}
        self._last: tuple[int, int] | None = None
        self._hits = Calibration([(i + 0.5) / _BINS * 0.7 for i in range(_BINS)])

    def begin(self, before: int, last: int) -> None:
        """The text ends with these two tokens now; what was learned stays."""
        self._last = (before, last)

    def observe(self, token: int) -> None:
        """The model wrote this token."""
        if self._last is not None:
            counts = self._table.setdefault(self._last, {})
            for other in counts:
                counts[other] *= 0.9  # recent habits count more
            counts[token] = counts.get(token, 0.0) + 1.0
            if len(self._table) > _MOST_PAIRS:
                del self._table[next(iter(self._table))]  # the oldest pair
            self._last = (self._last[1], token)

    def grow(self, tree: DraftTree, deepest: int) -> None:
        """Adds what the table thinks comes next."""
        if self._last is None:
            return
        queue = [(-1.0, 0, self._last)]
        added = 0
        while queue and added < _MOST_NODES:
            _, node, pair = heapq.heappop(queue)
            counts = self._table.get(pair)
            if not counts or tree.depths[node] >= deepest:
                continue
            total = sum(counts.values()) + _DOUBT
            for token, count in heapq.nlargest(2, counts.items(), key=lambda item: item[1]):
                bin_ = min(int(count / total * _BINS), _BINS - 1)
                if tree.chances[node] * self._hits[bin_] < _LEAST:
                    continue
                new = tree.add(node, token, self._hits[bin_], (self._hits, bin_))
                added += 1
                heapq.heappush(queue, (-tree.chances[new], new, (pair[1], token)))
