"""Sequoia (arXiv 2402.12374): the best tree for acceptance by sibling rank, and a verifier for sampled drafts.

Both take the draft as a sampler. The generation loop does not use them: following the target's own draw needs no
probabilities of the draft and keeps a seed's text, which this verifier cannot. They are here for comparison, and for
high temperatures, where a single sampled child is accepted more often than it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["best_size", "best_tree", "draw_children", "verify"]

Probabilities = npt.NDArray[np.float64]


def best_tree(acceptance: Sequence[float], nodes: int, levels: int) -> tuple[list[int], float]:
    """The tree of `nodes` nodes (the root included) with the most expected tokens.

    Args:
        acceptance: acceptance[b] is the chance that the (b + 1)-th sibling is the accepted one, given its parent was.
        nodes: at least 1.
        levels: below the root, at least 0.

    Returns:
        parents: (nodes,) breadth by depth first, -1 for the root; siblings in the order of their rank. Fewer where
            `levels` and the number of siblings do not allow so many.
        expected: tokens of a pass, the root's own draw included.
    """
    ranks = len(acceptance)
    nothing = -1.0
    # value[l][m]: best of m nodes with l levels; first[l][m][b]: with children of the ranks >= b only
    value = [[nothing] * (nodes + 1) for _ in range(levels + 1)]
    split: dict[tuple[int, int, int], int] = {}
    value[0][1] = 1.0
    for level in range(1, levels + 1):
        below = value[level - 1]
        # rest[m]: the most that m nodes give as children of the ranks b, b + 1, ...
        rest = [0.0] + [nothing] * nodes
        for rank in reversed(range(ranks)):
            new = list(rest)
            for m in range(1, nodes):
                best, at = nothing, 0
                for y in range(1, m + 1):  # nodes of this child's own tree; a rank is used only after the one before
                    if below[y] < 0 or rest[m - y] < 0:
                        continue
                    candidate = acceptance[rank] * below[y] + rest[m - y]
                    if candidate > best:
                        best, at = candidate, y
                new[m] = best
                if at:
                    split[level, rank, m] = at
            rest = new
        for m in range(1, nodes + 1):
            deep = 1.0 + rest[m - 1] if rest[m - 1] >= 0 else nothing
            value[level][m] = max(deep, below[m])  # fewer levels may do as well
    best_m = max(range(1, nodes + 1), key=lambda m: value[levels][m])
    parents: list[int] = []

    def build(level: int, m: int, parent: int) -> None:
        node = len(parents)
        parents.append(parent)
        while level and value[level][m] == value[level - 1][m]:
            level -= 1
        left, rank = m - 1, 0
        while left:
            y = split[level, rank, left]
            build(level - 1, y, node)
            left, rank = left - y, rank + 1

    build(levels, best_m, -1)
    return parents, value[levels][best_m]


def best_size(
    acceptance: Sequence[float],
    sizes: Sequence[int],
    levels: Sequence[int],
    draft_s: float,
    pass_s: Callable[[int], float],
) -> tuple[int, int, float]:
    """(nodes, levels, tokens a second) with the most tokens for the time.

    Args:
        acceptance: as for `best_tree`.
        sizes: nodes to be tried.
        levels: depths to be tried.
        draft_s: seconds of the draft for each level.
        pass_s: seconds of a checking pass of n nodes.
    """
    tried = [
        (n, depth, best_tree(acceptance, n, depth)[1] / (depth * draft_s + pass_s(n)))
        for n in sizes
        for depth in levels
    ]
    return max(tried, key=lambda found: found[2])


def draw_children(q: Probabilities, count: int, uniforms: Probabilities) -> npt.NDArray[np.intp]:
    """Up to `count` different tokens, drawn one after the other from `q` without those before.

    Args:
        q: (n_vocab,) the draft's probabilities.
        count: how many.
        uniforms: (n_vocab,) in (0, 1): the first to ring of clocks with the rates q are such a draw.
    """
    with np.errstate(divide="ignore"):
        clocks = -np.log(uniforms) / q
    order = np.argsort(clocks)[:count]
    return order[q[order] > 0]


def verify(
    p: Probabilities, q: Probabilities, children: Sequence[int], uniforms: Sequence[float]
) -> tuple[int, int | None]:
    """The token behind a node, with exactly the law `p`.

    Args:
        p: (n_vocab,) the target's probabilities.
        q: (n_vocab,) the draft's, from which `children` were drawn by `draw_children`.
        children: in the order of drawing.
        uniforms: at least len(children) + 1 random numbers in [0, 1).

    Returns:
        The token, and its place among the children; None where it is none of them.
    """
    p, q = p.copy(), q.copy()
    for place, child in enumerate(children):
        if uniforms[place] * q[child] < p[child]:
            return child, place
        left = np.maximum(p - q, 0)
        if not left.any():  # equal to the last bit: nothing can be rejected but by rounding
            break
        p = left / left.sum()
        q[child] = 0
        mass = q.sum()
        if mass <= 0:
            break
        q /= mass
    cumulative = p.cumsum()
    token = int(cumulative.searchsorted(uniforms[len(children)] * cumulative[-1], side="right"))
    return min(token, len(p) - 1), None
