"""KL divergence from the source's next-token distribution to the build's, and its gradient, a few tokens at a time.

A vocabulary of 152,000 makes logits of a thousand tokens 0.6 GB; so the loss is not left to autograd: for each piece of
tokens the gradient with respect to the build's hidden states is computed at once, (softmax(s) - softmax(t)) @ head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Heads"]

Tensor = torch.Tensor

#: tokens in one piece: three matrices of 128 x 152,000 are 0.23 GB
_PIECE = 128


@dataclass(frozen=True, slots=True)
class Heads:
    """The output layers.

    Attributes:
        source: (vocab, hidden) float32.
        build: the same, as the build decodes it.
    """

    source: Tensor
    build: Tensor

    def divergence(self, source: Tensor, build: Tensor, *, gradient: bool = True) -> tuple[float, Tensor | None]:
        """The sum over tokens of KL(source || build) in nats.

        Args:
            source: (tokens, hidden) float32: what the source's head reads.
            build: the same of the build.
            gradient: whether it is wanted.

        Returns:
            the sum, and its gradient with respect to `build`, (tokens, hidden).
        """
        total = 0.0
        pieces = []
        with torch.no_grad():
            for first in range(0, len(source), _PIECE):
                t, s = source[first : first + _PIECE], build[first : first + _PIECE]
                p = torch.log_softmax(t @ self.source.T, -1)
                q = torch.log_softmax(s @ self.build.T, -1)
                difference = p - q
                p = p.exp_()
                total += float((p * difference).sum(dtype=torch.float64))
                if gradient:
                    pieces.append(q.exp_().sub_(p) @ self.build)
        return total, torch.cat(pieces) if gradient else None
