"""From one row of logits to the next, by way of a draft.

The generation loop picks a token from `row` and calls `advance`. Where the token is in the tree of the last pass, its
row is there already; else the accepted path is committed, a new tree grows from the token, and one pass reads it. The
loop samples every token from the model's own row with a random number that belongs to its position, so that the text is
the one of plain decoding, whatever the drafts were.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backend.engine.model import Logits, Model, TokenTree
from backend.speculative.calibration import Origin
from backend.speculative.controller import Controller
from backend.speculative.costs import Costs
from backend.speculative.ngram import NgramDrafter
from backend.speculative.tree import DraftTree
from backend.speculative.trigram import TrigramDrafter

__all__ = ["DraftStats", "Drafter", "Speculation", "Steps"]

#: Most nodes of a pass while the weights are in memory: no curve that was measured pays for more.
MOST_NODES = 64
#: The same where the weights come from the disk: a pass over them costs seconds, and more nodes next to nothing, until
#: the processors are the slower ones: two cores are from 64 on. 128 rows of logits take 78 MB with 151,936 tokens.
MOST_FROM_DISK = 128
#: where their number is fixed
_MOST_FIXED = 512
_HISTORY = 1000


class Drafter(Protocol):
    """A drafter that costs time of its own: a second model."""

    def begin(self, prompt: Sequence[int]) -> None:
        """The text is this prompt now."""
        ...

    def observe(self, token: int) -> None:
        """It goes on with this token."""
        ...

    def grow(self, tree: DraftTree, deepest: int, costs: Costs) -> None:
        """Adds nodes as long as they are worth the time; `costs` are those of the model that checks them."""
        ...

    def request_abort(self, flag: bool) -> None:
        """As of its model: from any thread."""
        ...

    def behind_s(self, costs: Costs) -> float:
        """Seconds that reading the text up to here will take, before the first node can be drafted."""
        ...


@dataclass(slots=True)
class DraftStats:
    """Of one answer.

    Attributes:
        passes: over the model's weights, behind the prompt.
        drafted, accepted: nodes that were checked (roots excluded), and those that the text went through.
        draft_s: seconds of drafting and bookkeeping. model_s: of these, a draft model's. pass_s: of the passes.
        history: (nodes, tokens emitted, seconds with the drafting) of each pass, the first thousand of them.
        plain_s: seconds that one token without drafts takes; 0: not known.
    """

    passes: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_s: float = 0.0
    model_s: float = 0.0
    pass_s: float = 0.0
    plain_s: float = 0.0
    history: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def speedup(self) -> float:
        """Times plain decoding, in seconds of passes and drafts; 1 where nothing was measured."""
        whole = self.draft_s + self.pass_s
        return (self.passes + self.accepted) * self.plain_s / whole if whole and self.plain_s else 1.0


class Speculation:
    """What speculation knows of one loaded model; it outlives the answers.

    Args:
        model: that checks the drafts.
        fixed: not 0: always this many drafted nodes, branches too.
        drafter: a second model, or None for the free drafters alone.
    """

    def __init__(self, model: Model, *, fixed: int = 0, drafter: Drafter | None = None) -> None:
        self.costs = Costs()
        info = model.info
        self.possible = info.max_leaves > 0
        # Left to itself it checks chains, and none that is computed otherwise than token by token: so a seed keeps its
        # text. Branches gain little while the weights are in memory, where a pass of nine nodes takes three times
        # that of one, and both engines sum otherwise over a cache where branches were. Where weights come from the
        # disk, or to a card over its link, a pass of many nodes takes hardly longer than that of one, and nobody would
        # give that up for the last bit.
        self._from_afar = info.streamed_bytes > 0 or info.link_bytes > 0
        most = _MOST_FIXED if fixed else MOST_FROM_DISK if self._from_afar else MOST_NODES
        most = min(most, info.n_batch, info.max_leaves + 1)
        if not fixed and info.exact_chain and not self._from_afar:
            most = min(most, info.exact_chain)
        self.controller = Controller(self.costs, most, trees=fixed > 0 or self._from_afar, fixed=fixed)
        self.ngram = NgramDrafter()
        self.trigram = TrigramDrafter()
        self._fixed = fixed
        self.drafter = drafter
        self.model_s = 0.0  # of the draft model, for the last draft
        self._unread: list[tuple[int, Origin]] = []  # guesses at the next token that were not worth checking
        self.last = DraftStats()  # of the last answer that ended
        self._prompt: Sequence[int] | None = None

    def begin(self, prompt: Sequence[int]) -> None:
        """An answer to this prompt begins. The prompt is indexed with the first draft: not before the first token."""
        self._prompt, self._unread = list(prompt), []

    def observe(self, token: int) -> None:
        """The token was emitted."""
        unread, self._unread = self._unread, []
        for guess, origin in unread:
            origin[0].learn(origin[1], guess == token)
        prompt, self._prompt = self._prompt, None
        if prompt is not None:
            self.ngram.begin(prompt)
            if len(prompt) >= 2:
                self.trigram.begin(prompt[-2], prompt[-1])
            if self.drafter is not None:
                self.drafter.begin(prompt)
        self.ngram.observe(token)
        self.trigram.observe(token)
        if self.drafter is not None:
            self.drafter.observe(token)

    def draft(self, token: int, deepest: int, room: int) -> DraftTree:
        """The tree to check below `token`, which was observed already: at most `room` nodes, none below `deepest`."""
        tree = DraftTree(token)
        controller, drafter = self.controller, self.drafter
        self.model_s = 0.0
        if deepest < 1 or room < 2:
            return tree
        keep: list[int] = []
        if not controller.stopped:
            self.ngram.grow(tree, deepest)
            self.trigram.grow(tree, deepest)
            keep = controller.choose(tree)
        # What is free comes first, and is enough where a pass grows with its nodes; from the disk a full tree is as
        # cheap.
        wanted = drafter is not None and (not keep or self._from_afar or len(keep) < self._fixed)
        if drafter is not None and wanted and controller.affords_model(drafter.behind_s(self.costs)):
            started = time.perf_counter()
            drafter.grow(tree, deepest, self.costs)
            self.model_s = time.perf_counter() - started
            keep = controller.choose(tree, self.model_s)
        if keep:
            return tree.pruned(keep[: room - 1])
        # The next token tells whether they would have been right. Without that, guesses that are held for too unlikely
        # would never be put to the test, and would stay so.
        self._unread = [
            (guess, origin)
            for guess, parent, origin in zip(tree.tokens, tree.parents, tree.origins, strict=True)
            if parent == 0 and origin is not None
        ]
        return DraftTree(token)


class Steps:
    """The passes of one answer.

    Args:
        model: with the whole prompt committed.
        tokens: its committed tokens; kept in step.
        row: (n_vocab,) logits behind the prompt.
        speculation: None: one token a pass.
    """

    def __init__(
        self, model: Model, tokens: list[int], row: npt.NDArray[np.float32], speculation: Speculation | None
    ) -> None:
        self.row = row
        self.stats = DraftStats()
        self._model = model
        self._tokens = tokens
        self._speculation = speculation if speculation is not None and speculation.possible else None
        if self._speculation is not None:
            self._speculation.begin(tokens)
        self._tree = DraftTree(-1)
        self._rows: Logits = row[None]
        self._path: list[int] = []  # accepted nodes of the tree, root first; [] before the first pass
        self._pass_s = self._whole_s = self._model_s = 0.0

    @property
    def position(self) -> int:
        """Of the token that `row` is for."""
        return self._model.length + len(self._path)

    def has(self, token: int) -> bool:
        """Whether `advance` with this token needs no pass."""
        return bool(self._path) and self._tree.child(self._path[-1], token) is not None

    def advance(self, token: int, most: int | None) -> None:
        """Makes `row` the logits behind `token`.

        Args:
            token: drawn from `row`.
            most: tokens that the answer may still have; None: no limit.

        Raises:
            Aborted, ContextOverflowError: from the pass, or a draft model's; what was accepted before is committed.
        """
        if self._speculation is not None:
            started = time.perf_counter()
            self._speculation.observe(token)
            self.stats.draft_s += time.perf_counter() - started
        if self._path and (node := self._tree.child(self._path[-1], token)) is not None:
            self._path.append(node)
            self.row = self._rows[node]
            self.stats.accepted += 1
            return
        started = time.perf_counter()
        self._settle(token)
        room = self._model.info.n_ctx - self._model.length
        deepest = room - 1 if most is None else min(room, most) - 1
        tree = DraftTree(token) if self._speculation is None else self._speculation.draft(token, deepest, room)
        drafted = time.perf_counter()
        self._rows = self._model.forward(tree.nodes() if len(tree) > 1 else TokenTree.chain((token,)))
        ended = time.perf_counter()
        self._tree, self._path, self.row = tree, [0], self._rows[0]
        self._pass_s, self._whole_s = ended - drafted, ended - started
        self._model_s = 0.0 if self._speculation is None else self._speculation.model_s
        self.stats.model_s += self._model_s
        self.stats.passes += 1
        self.stats.drafted += len(tree) - 1
        self.stats.draft_s += drafted - started
        self.stats.pass_s += ended - drafted
        self._price()

    def close(self) -> None:
        """Commits what was accepted and forgets the rest of the tree. May be called twice."""
        self._settle(None)
        self._price()
        if self._speculation is not None:
            self._speculation.last = self.stats

    def _price(self) -> None:
        if self._speculation is not None:
            self.stats.plain_s = self._speculation.costs.seconds(1)

    def _settle(self, token: int | None) -> None:
        """Commits the path; `token` came after it (None: not known)."""
        path, tree = self._path, self._tree
        if not path:
            return
        self._path = []
        if len(self.stats.history) < _HISTORY:
            self.stats.history.append((len(tree), len(path), self._whole_s))
        self._model.commit(path)
        self._tokens.extend(tree.tokens[node] for node in path)
        if self._speculation is None:
            return
        if len(tree) > 1:
            _learn(tree, path, token)
            if token is not None:
                self._speculation.controller.drafted(len(tree), len(path), self._pass_s, self._whole_s, self._model_s)
        else:
            self._speculation.controller.plain(self._pass_s, self._model_s)


def _learn(tree: DraftTree, path: list[int], token: int | None) -> None:
    """Every node below an accepted one was put to the test."""
    after = {node: tree.tokens[next_] for node, next_ in itertools.pairwise(path)}
    if token is not None:
        after[path[-1]] = token
    for node in range(1, len(tree)):
        origin = tree.origins[node]
        came = after.get(tree.parents[node])
        if origin is not None and came is not None:
            origin[0].learn(origin[1], came == tree.tokens[node])
