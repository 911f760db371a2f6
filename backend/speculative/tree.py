"""Draft trees as flat arrays."""

from __future__ import annotations

from backend.engine.model import TokenTree
from backend.speculative.calibration import Origin

__all__ = ["DraftTree"]


class DraftTree:
    """Guesses at how the text goes on. Node 0 is the last emitted token, which the model has not read yet.

    Attributes:
        tokens, parents, depths: of each node; the root has the parent -1 and the depth 0.
        chances: estimated probability that the text goes through the node; never above the parent's.
        origins: who guessed it, for learning from the outcome; None for the root and where nobody wants to learn.
    """

    def __init__(self, root: int) -> None:
        self.tokens = [root]
        self.parents = [-1]
        self.depths = [0]
        self.chances = [1.0]
        self.origins: list[Origin | None] = [None]
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def child(self, node: int, token: int) -> int | None:
        """The child of `node` that carries `token`."""
        return self._children.get((node, token))

    def add(self, parent: int, token: int, probability: float, origin: Origin | None = None) -> int:
        """A child of `parent`; the one that is there, with the better of both chances, if there is one.

        Args:
            parent: index of the node.
            token: what it carries.
            probability: that it follows, given the parent.
            origin: who says so.
        """
        chance = self.chances[parent] * min(probability, 1.0)
        known = self._children.get((parent, token))
        if known is not None:
            self.chances[known] = max(self.chances[known], chance)
            return known
        node = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        self.chances.append(chance)
        self.origins.append(origin)
        self._children[parent, token] = node
        return node

    def path(self, node: int) -> list[int]:
        """Tokens from the root to `node`, both included."""
        tokens = []
        while node >= 0:
            tokens.append(self.tokens[node])
            node = self.parents[node]
        return tokens[::-1]

    def ranked(self) -> list[int]:
        """Nodes without the root, likeliest first. A parent stands before its children, so every head is a tree."""
        return sorted(range(1, len(self)), key=lambda node: -self.chances[node])  # stable: parents have lower indices

    def likeliest_chain(self) -> list[int]:
        """The path that always takes the likeliest child, without the root."""
        best: dict[int, int] = {}
        for node in range(1, len(self)):
            known = best.get(self.parents[node])
            if known is None or self.chances[node] > self.chances[known]:
                best[self.parents[node]] = node
        chain, node = [], 0
        while node in best:
            node = best[node]
            chain.append(node)
        return chain

    def pruned(self, keep: list[int]) -> DraftTree:
        """The tree of the root and these nodes, whose parents must be among them.

        Depth first and likeliest first: then the cells of the likeliest path lie side by side in the KV cache, in the
        order in which a prefill would have written them.
        """
        below: dict[int, list[int]] = {}
        for node in sorted(keep, key=lambda node: self.chances[node]):
            below.setdefault(self.parents[node], []).append(node)
        tree = DraftTree(self.tokens[0])
        stack = [(node, 0) for node in below.get(0, ())]
        while stack:
            node, parent = stack.pop()
            new = tree.add(parent, self.tokens[node], 1.0, self.origins[node])
            tree.chances[new] = self.chances[node]
            stack += [(child, new) for child in below.get(node, ())]
        return tree

    def nodes(self) -> TokenTree:
        """For `Model.forward`, with the logits of every node."""
        return TokenTree(self.tokens, self.parents, range(len(self.tokens)))
