"""X^T X of a linear's inputs, with tokens of massive norm weighted down.

Two `down_proj` of each Qwen read a token whose norm is 25 times the median's (640 for 26): unweighted, that one
direction is all that the Hessian knows, and codes chosen under it ruin the model at a tiny local error. Left out, the
error on held-out text grows threefold; scaled so that all massive tokens together weigh what the others do, it falls
by a fifth.
"""

from __future__ import annotations

import torch

from backend.quantize.products import all_finite, product

__all__ = ["HessianSum"]

Tensor = torch.Tensor

#: times the median norm; ordinary tokens stay below 4
MASSIVE = 10.0
#: Tokens longer than this times the median of the first piece wait until the median of all is known.
_ASIDE = 4.0
#: tokens of one product; sums in float32 stay precise, and fewer are slower
_PIECE = 2048
#: Columns of one product. Only what lies on or below the diagonal is computed; narrower ones are slower each.
_COLUMNS = 512


class HessianSum:
    """The running sum for one input: 4 * width * (width + 2048) bytes. How tokens are divided among calls of `add`
    changes no bit of it.

    Args:
        width: of the input.
        outs: numbers a token that are missed by what reads it, 0: not looked at. They and their products with the
            input are summed along: 4 * outs * (width + 2048) bytes.
    """

    def __init__(self, width: int, outs: int = 0) -> None:
        self._sum = torch.zeros(width, width)
        self._piece = torch.empty(width, _PIECE)  # tokens are columns: what is multiplied lies side by side
        self._lengths = torch.empty(_PIECE)  # norms of its tokens: along columns they would take a fifth of all time
        self._pull = torch.zeros(outs, width)
        self._missed = torch.empty(outs, _PIECE)
        self._filled = 0
        self._norms: list[Tensor] = []
        self._limit: float | None = None
        self._aside: list[Tensor] = []
        self._aside_lengths: list[Tensor] = []
        self._aside_missed: list[Tensor] = []

    @property
    def tokens(self) -> int:
        """Tokens added."""
        return sum(len(one) for one in self._norms)

    def add(self, x: Tensor, missed: Tensor | None = None) -> None:
        """Adds inputs, (tokens, width) float32, and what is missed behind them, (tokens, outs)."""
        x = x.detach()
        norms = torch.linalg.vector_norm(x, dim=-1)
        self._norms.append(norms)
        at = 0
        while at < len(x):
            part = x[at : at + _PIECE - self._filled]
            until = self._filled + len(part)
            self._piece[:, self._filled : until] = part.T
            self._lengths[self._filled : until] = norms[at : at + len(part)]
            if missed is not None:
                self._missed[:, self._filled : until] = missed[at : at + len(part)].T
            self._filled, at = until, at + len(part)
            if self._filled == _PIECE:
                self._flush()

    def ratio(self) -> float:
        """The largest norm over the median's: 25 where a massive activation is read, 2 to 5 elsewhere."""
        norms = torch.cat(self._norms)
        return float(norms.max() / norms.median().clamp_min(1e-30))

    @property
    def massive(self) -> bool:
        """Whether some token is."""
        return self.ratio() > MASSIVE

    def mean(self) -> Tensor:
        """(width, width) float32, symmetric: the mean of x x^T over all tokens. The sum is used up: once only.

        Raises:
            ValueError: nothing was added, or it is not finite.
        """
        if not self.tokens:
            raise ValueError("no tokens")
        self._flush()
        self._piece = self._missed = torch.empty(0)
        norms = torch.cat(self._norms)
        if self._aside:
            limit = MASSIVE * norms.median()
            aside = torch.cat(self._aside, 1)
            lengths = torch.cat(self._aside_lengths)
            missed = torch.cat(self._aside_missed, 1)
            massive = lengths > limit
            if massive.any():
                ordinary = norms[norms <= limit].square().sum(dtype=torch.float64)
                energy = lengths[massive].square().sum(dtype=torch.float64)
                scale = float((ordinary / energy).clamp_max(1.0).sqrt())
                aside[:, massive] *= scale
                missed[:, massive] *= scale
            for first in range(0, len(lengths), _PIECE):
                some = slice(first, first + _PIECE)
                self._accumulate(aside[:, some].contiguous(), missed[:, some].contiguous())
        width = len(self._sum)
        for first in range(0, width, _COLUMNS):  # what is above the diagonal; of its blocks, to the last bit
            last = min(first + _COLUMNS, width)
            block = self._sum[first:last, first:last]
            block.copy_(torch.tril(block) + torch.tril(block, -1).T)
            self._sum[first:last, last:] = self._sum[last:, first:last].T
        result = self._sum.div_(len(norms))
        if not all_finite(result):
            raise ValueError("activations that are not finite")
        return result

    def pull(self) -> Tensor:
        """After `mean`: (outs, width) float32, the mean of missed x^T with the same weights. Once only."""
        result = self._pull.div_(self.tokens)
        self._pull = torch.empty(0)
        return result

    def _flush(self) -> None:
        if not self._filled:
            return
        piece, norms = self._piece[:, : self._filled], self._lengths[: self._filled]
        if self._limit is None:
            self._limit = _ASIDE * float(norms.median())
        long = norms > self._limit
        if long.any():
            self._aside.append(piece[:, long])
            self._aside_lengths.append(norms[long])
            self._aside_missed.append(self._missed[:, : self._filled][:, long])
            piece[:, long] = 0.0
        self._accumulate(piece, self._missed[:, : self._filled])
        self._filled = 0

    def _accumulate(self, piece: Tensor, missed: Tensor) -> None:
        """Adds piece @ piece.T and missed @ piece.T, piece (width, tokens), missed (outs, tokens)."""
        if len(missed):
            self._pull += product(missed, piece)
        for first in range(0, len(piece), _COLUMNS):
            last = min(first + _COLUMNS, len(piece))
            self._sum[first:, first:last] += product(piece[first:], piece[first:last])
