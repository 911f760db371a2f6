"""KL divergence from the source's next-token distribution to the build's, and its gradient, a few tokens at a time.

A vocabulary of 152,000 makes logits of a thousand tokens 0.6 GB; so the loss is not left to autograd: for each piece of
tokens the gradient with respect to the build's hidden states is computed at once, (softmax(s) - softmax(t)) @ head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from backend.quantize.products import product

__all__ = ["Heads"]

Tensor = torch.Tensor

#: tokens in one piece: a matrix of 64 x 152,000 is 39 MB, and five are needed at once
_PIECE = 64


@dataclass(frozen=True, slots=True)
class Heads:
    """The output layers.

    Attributes:
        source: (vocab, hidden) float32 or bfloat16.
        build: the same, as the build decodes it.
    """

    source: Tensor
    build: Tensor

    def divergence(self, source: Tensor, build: Tensor, *, gradient: bool = True) -> tuple[float, Tensor | None]:
        """The sum over tokens of KL(source || build) in nats.

        Args:
            source: (tokens, hidden) float32: what the source's head reads.
            build: the same of the build.
            gradient: whether it is wanted. Without it the products are exact (float32), whatever the heads are held as:
                logits rounded to bfloat16 (.06 of 20) do for a direction, not for a comparison.

        Returns:
            the sum, and its gradient with respect to `build`, (tokens, hidden).
        """
        total = 0.0
        pieces = []
        with torch.no_grad():
            for first in range(0, len(source), _PIECE):
                t = _logits(source[first : first + _PIECE], self.source, exact=not gradient)
                s = _logits(build[first : first + _PIECE], self.build, exact=not gradient)
                # KL = sum p (t - s) - log sum exp t + log sum exp s; one exponential for each number
                t -= t.amax(1, keepdim=True)
                s -= s.amax(1, keepdim=True)
                p = t.exp()
                sum_p = p.sum(1, keepdim=True)
                p /= sum_p
                t -= s
                q = s.exp_()
                sum_q = q.sum(1, keepdim=True)
                kl = torch.linalg.vecdot(p, t) - sum_p.log().squeeze(1) + sum_q.log().squeeze(1)
                total += float(kl.sum(dtype=torch.float64))
                if gradient:
                    q /= sum_q
                    q -= p
                    pieces.append((q.to(self.build.dtype) @ self.build).float())
        return total, torch.cat(pieces) if gradient else None


#: rows of a table in bfloat16 that are made float32 at a time
_ROWS = 16384


def _logits(x: Tensor, head: Tensor, *, exact: bool) -> Tensor:
    if not exact or head.dtype == torch.float32:
        return product(x.to(head.dtype), head).float()
    out = torch.empty(len(x), len(head))
    for first in range(0, len(head), _ROWS):
        out[:, first : first + _ROWS] = product(x, head[first : first + _ROWS].float())
    return out
