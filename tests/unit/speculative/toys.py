"""Models of six tokens whose every conditional is known, and drafts of them that are good, useless or misleading."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from backend.engine.model import Aborted, Logits, ModelInfo, TokenTree
from backend.speculative.decoder import Speculation
from backend.speculative.tree import DraftTree

N_VOCAB = 6
#: the next token's logits for each pair of tokens before it
TABLE = np.random.default_rng(7).normal(0, 1.5, (N_VOCAB, N_VOCAB, N_VOCAB)).astype(np.float32)


def logits_after(tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    row: npt.NDArray[np.float32] = TABLE[tokens[-2], tokens[-1]]
    return row


class ToyTokenizer:
    def encode(self, text: str, *, special: bool) -> list[int]:
        return [int(c) for c in text]

    def piece(self, token: int) -> bytes:
        return str(token).encode()

    def is_end(self, token: int) -> bool:
        return False


class Odd:
    """A grammar: no token twice in a row, and an even one only after an odd one."""

    def __init__(self) -> None:
        self.last: int | None = None

    def allowed(self, tokens: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        if self.last is None:
            return np.ones(len(tokens), np.bool_)
        return (tokens != self.last) & ((self.last % 2 == 1) | (tokens % 2 == 1))

    def accept(self, token: int) -> None:
        assert self.allowed(np.array([token]))[0], "the chain let a token through that the grammar forbids"
        self.last = token

    def close(self) -> None:
        pass


class ToyModel:
    """`rows` gives the logits behind a path; the cache is a list that the tests see."""

    def __init__(
        self,
        rows: Callable[[Sequence[int]], npt.NDArray[np.float32]] = logits_after,
        *,
        n_ctx: int = 512,
        max_leaves: int = 64,
    ) -> None:
        self.tokenizer = ToyTokenizer()
        self.info = ModelInfo("toy", "toy", N_VOCAB, n_ctx, n_ctx, 1, 8, 64, 1, 1, 1, 1, 0, max_leaves=max_leaves)
        self.cache: list[int] = []
        self.passes: list[int] = []
        self.abort_at: int | None = None
        self._rows = rows
        self._pending: TokenTree | None = None

    @property
    def length(self) -> int:
        return len(self.cache)

    def forward(self, nodes: TokenTree) -> Logits:
        assert self.length + len(nodes) <= self.info.n_ctx, "the tree does not fit the context"
        assert len(nodes) <= self.info.n_batch
        assert len(set(range(len(nodes))) - set(nodes.parents)) <= max(self.info.max_leaves, 1)
        if self.abort_at == len(self.passes):
            raise Aborted
        self._pending = nodes
        self.passes.append(len(nodes))
        out = np.full((len(nodes.wants_logits), N_VOCAB), np.nan, np.float32)
        paths: list[list[int]] = []
        for token, parent in zip(nodes.tokens, nodes.parents, strict=True):
            paths.append((paths[parent] if parent >= 0 else self.cache[-2:]) + [token])
        for row, node in zip(out, nodes.wants_logits, strict=True):
            row[:] = self._rows(paths[node] if len(paths[node]) > 1 else [0, *paths[node]])
        return out

    def commit(self, path: Sequence[int]) -> None:
        assert self._pending is not None
        parent = -1
        for node in path:
            assert self._pending.parents[node] == parent, "not a path"
            parent = node
        self.cache += [self._pending.tokens[i] for i in path]
        self._pending = None

    def rewind(self, length: int) -> None:
        self._pending = None
        del self.cache[length:]

    def request_abort(self, flag: bool) -> None:
        pass

    def grammar(self, gbnf: str) -> Odd:
        return Odd()

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        raise NotImplementedError

    def close(self) -> None:
        pass


#: children at each depth
SHAPES = {"chain": (1, 1, 1, 1), "tree": (3, 2, 2), "wide": (6, 6)}
#: from the target's logits to the order in which a draft believes in the tokens
DRAFTS: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.intp]]] = {
    "equal": lambda row: np.argsort(-row),
    "anti-correlated": lambda row: np.argsort(row),
    "disjoint": lambda row: np.argsort(row)[:2],  # tokens that top-k 2 never lets through
}


class FixedDrafts(Speculation):
    """Trees of one shape whose children are those that the draft believes in."""

    def __init__(self, model: ToyModel, shape: str, draft: str) -> None:
        super().__init__(model)
        self._shape, self._order = SHAPES[shape], DRAFTS[draft]
        self._written: list[int] = []

    def begin(self, prompt: Sequence[int]) -> None:
        self._written = list(prompt)

    def observe(self, token: int) -> None:
        self._written.append(token)

    def draft(self, token: int, deepest: int, room: int) -> DraftTree:
        assert self._written[-1] == token
        tree = DraftTree(token)
        level = [0]
        for width in self._shape[: max(deepest, 0)]:
            above, level = level, []
            for node in above:
                path = self._written[:-1] + tree.path(node)
                for child in self._order(logits_after(path))[:width]:
                    if len(tree) < room:
                        level.append(tree.add(node, int(child), 0.5))
        return tree.pruned(tree.ranked())
