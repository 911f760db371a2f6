"""Drafts of a smaller model by parallel best-first search.

The tree of the k likeliest nodes is what a shortest-path search finds with -log q as the length of an edge; expanding
several of the best nodes in one pass is its parallel form (SpecExec, arXiv 2406.02532, section 4). The search ends when
a further pass of the draft model is not worth its time, and not at a fixed size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from backend.engine.model import Logits, Model, TokenTree
from backend.speculative.calibration import Calibration
from backend.speculative.costs import Costs
from backend.speculative.tree import DraftTree

__all__ = ["ModelDrafter"]

_WIDTH = 4  # children of a node: the target's token is among the draft's best four in 9 of 10 cases
_MOST_BEAMS = 16
_BINS = 10
_TYPICAL_RATE = 0.05
#: a token of a long text is read in this share of the time of one alone, until it was seen: 0.5B on two cores
_READING = 0.25
_LONG = 16  # tokens
_SLOW_MEMORY = 4e9  # bytes a second


class ModelDrafter:
    """Drafts with a model of its own, which may be on another engine than the one that checks.

    Args:
        model: with the vocabulary of the target (`vocabulary.why_not`). Nobody else may use it; whoever opened it
            closes it.
        most: nodes of a draft.
        full: all of them in every draft, whether they pay or not (for experiments): expanded until no other node could
            be among the likeliest `most`, as SpecExec does (arXiv 2406.02532).
    """

    def __init__(self, model: Model, most: int = 63, *, full: bool = False) -> None:
        self._model = model
        self._most = min(most, model.info.n_batch)
        self._full = full
        self._read: list[int] = []  # what is in its cache
        self._text: list[int] = []
        self._costs = Costs()
        self._read_s = 0.0  # seconds a token of a long text; 0: not seen yet
        self._hits = Calibration([(i + 0.5) / _BINS * 0.9 for i in range(_BINS)])
        self._typical = 0.7  # hit rate of a best child, as expected of nodes that are not expanded yet

    def begin(self, prompt: Sequence[int]) -> None:
        """See `decoder.Drafter`."""
        self._text = list(prompt)

    def observe(self, token: int) -> None:
        """See `decoder.Drafter`."""
        self._text.append(token)

    def request_abort(self, flag: bool) -> None:
        """See `decoder.Drafter`."""
        self._model.request_abort(flag)

    def behind_s(self, costs: Costs) -> float:
        """See `decoder.Drafter`. Before it has read anything it is taken for as slow as the model that checks, unless
        that one waits for a disk: then for as slow as memory can be.
        """
        behind = len(self._text) - self._common()
        if behind <= 1:
            return 0.0
        alone = self._costs.seconds(1) or min(costs.seconds(1), self._model.info.bytes_per_token / _SLOW_MEMORY)
        return behind * (self._read_s or _READING * alone)

    def grow(self, tree: DraftTree, deepest: int, costs: Costs) -> None:
        """See `decoder.Drafter`."""
        info = self._model.info
        if max(tree.tokens[0], self._text[-1]) >= info.n_vocab or len(self._text) + self._most > info.n_ctx:
            return
        plain = costs.seconds(1)
        if not plain or not self._worth(1.0, 1, 1, costs):
            return
        self._expand(tree, {0: self._catch_up()}, deepest)
        expanded = {0}
        while self._full or len(tree) <= self._most:
            likeliest = tree.ranked()[: self._most] if self._full else tree.ranked()
            ranked = [node for node in likeliest if node not in expanded and tree.depths[node] < deepest]
            beams: list[int] = []
            chances = 0.0
            for node in ranked[:_MOST_BEAMS]:
                chances += tree.chances[node]
                read = len(self._closure(tree, [*beams, node]))
                if not self._worth(chances, read, len(beams) + 1, costs):
                    break
                beams.append(node)
            if not beams:
                return
            self._expand(tree, self._rows(tree, beams), deepest)
            expanded.update(beams)

    def _worth(self, chances: float, drafted: int, checked: int, costs: Costs) -> bool:
        """Whether expanding nodes with these chances pays for a pass here and for the children's part of the next."""
        if self._full:
            return True
        plain = costs.seconds(1)
        draft_s = self._costs.seconds(drafted)  # 0 before the first pass: it is tried once
        return chances * self._typical * plain > draft_s + costs.seconds(1 + checked) - plain

    def _catch_up(self) -> Logits:
        """Reads what the text has more than the cache; (n_vocab,) logits behind its last token."""
        model, text = self._model, self._text
        model.rewind(self._common())
        del self._read[model.length :]
        rows: Logits = np.empty((0, 0), np.float32)
        while len(self._read) < len(text):
            part = text[len(self._read) : len(self._read) + model.info.n_batch]
            started = time.perf_counter()
            rows = model.forward(TokenTree.chain(part, logits=len(self._read) + len(part) == len(text)))
            seconds = time.perf_counter() - started
            if len(part) == 1:
                self._costs.observe(1, seconds)
            elif len(part) >= _LONG:
                self._read_s = seconds / len(part)
            model.commit(range(len(part)))
            self._read += part
        row: Logits = rows[0]
        return row

    def _common(self) -> int:
        """Tokens of its cache that the text begins with, the text's last one excluded: its row is needed."""
        text, read = self._text, self._read
        most = min(len(read), len(text) - 1)
        if read[:most] == text[:most]:
            return most
        return next(i for i in range(most) if read[i] != text[i])

    @staticmethod
    def _closure(tree: DraftTree, nodes: Sequence[int]) -> list[int]:
        """These nodes and their ancestors, the root excluded, ascending."""
        found: set[int] = set()
        for node in nodes:
            while node > 0 and node not in found:
                found.add(node)
                node = tree.parents[node]
        return sorted(found)

    def _rows(self, tree: DraftTree, beams: Sequence[int]) -> dict[int, Logits]:
        """One pass over the beams. Their ancestors are read again: provisional nodes live for one pass, and a tree that
        pays is small.
        """
        nodes = self._closure(tree, beams)
        index = {node: i for i, node in enumerate(nodes)}
        wanted = sorted(beams)
        started = time.perf_counter()
        rows = self._model.forward(
            TokenTree(
                [tree.tokens[node] for node in nodes],
                [index.get(tree.parents[node], -1) for node in nodes],
                [index[node] for node in wanted],
            )
        )
        self._costs.observe(len(nodes), time.perf_counter() - started)
        return dict(zip(wanted, rows, strict=True))

    def _expand(self, tree: DraftTree, rows: dict[int, Logits], deepest: int) -> None:
        if deepest < 1:
            return
        for node, row in rows.items():
            best = np.argpartition(row, -_WIDTH)[-_WIDTH:]
            best = best[np.argsort(-row[best])]
            mass = float(np.exp(row - row[best[0]], dtype=np.float64).sum())
            for rank, token in enumerate(best.tolist()):
                p = float(np.exp(float(row[token] - row[best[0]]))) / mass
                bin_ = min(int(p * _BINS), _BINS - 1)
                chance = self._hits[bin_]
                if not rank:
                    self._typical += _TYPICAL_RATE * (chance - self._typical)
                if self._full or tree.chances[node] * chance > 0.01:
                    tree.add(node, token, chance, (self._hits, bin_))
