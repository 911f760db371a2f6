"""Codes that move: the V step of PV-Tuning, for AQLM (arXiv 2405.14852, section 3).

A gradient step on the decoded weights almost never crosses over to another code: a step large enough for that would
break the model. So steps are gathered in a buffer beside the weights (straight through), and each time only the groups
that have been pulled farthest are encoded anew: one in a hundred, and never more than a trust region allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from backend.quantize.tuning.weights import AqlmWeight
from kernels.cpu import nearest_codes

__all__ = ["CodeMover", "CodeSettings"]

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class CodeSettings:
    """How codes move.

    Attributes:
        rate: step of the buffer, relative to the root mean square of the weights.
        share: of all groups, how many are encoded anew in a step at most.
        trust: ||change of W|| / ||W|| of a step at most; one group is always allowed.
        beam: of the search.
        decay: of the second moment.
    """

    rate: float = 3e-3
    share: float = 0.01
    trust: float = 0.01
    beam: int = 8
    decay: float = 0.95


class CodeMover:
    """The buffer of one linear.

    Args:
        weight: its codes are changed in place.
        settings: how.
        threads: of the search.
    """

    def __init__(self, weight: AqlmWeight, settings: CodeSettings, threads: int = 1) -> None:
        self._weight, self._settings, self._threads = weight, settings, threads
        with torch.no_grad():
            dense = weight.dense()
        self._unit = float(dense.square().mean().sqrt())
        # A pull that is kept in 8 bits of mantissa: a step is about a hundredth of what makes a code change.
        self._pull = torch.zeros(weight.out, weight.groups * weight.codebooks.shape[2], dtype=torch.bfloat16)
        self._rows = torch.zeros(dense.shape[0])
        self._columns = torch.zeros(dense.shape[1])
        self._steps = 0

    def add(self, gradient: Tensor) -> None:
        """Pulls against a gradient of the decoded weight, (out, in).

        The second moment is kept as its means over rows and columns (Adafactor): a full one would be as large as the
        weights.
        """
        self._steps += 1
        decay = self._settings.decay
        squares = gradient.square()
        self._rows.lerp_(squares.mean(1), 1 - decay)
        self._columns.lerp_(squares.mean(0), 1 - decay)
        bias = 1 - decay**self._steps
        rows, columns = self._rows / bias, self._columns / bias
        size = (rows[:, None] * columns / rows.mean().clamp_min(1e-38)).sqrt_().clamp_min_(1e-30)
        step = gradient / size * (-self._settings.rate * self._unit)
        self._pull[:, : gradient.shape[1]] += step.to(torch.bfloat16)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What was gathered, for a run that goes on; views."""
        pull = self._pull.view(torch.int16).numpy()
        return {"pull": pull, "rows": self._rows.numpy(), "columns": self._columns.numpy()}

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]], steps: int) -> None:
        """Takes what `arrays` gave after so many gradients."""
        self._pull = torch.from_numpy(np.array(arrays["pull"])).view(torch.bfloat16)
        self._rows, self._columns = (torch.from_numpy(np.array(arrays[name])) for name in ("rows", "columns"))
        self._steps = steps

    def move(self) -> int:
        """Encodes the groups that are pulled farthest anew. Returns how many codes changed."""
        weight, settings = self._weight, self._settings
        group = weight.codebooks.shape[2]
        pulls = self._pull.float().view(-1, group)
        far = pulls.square().sum(1)
        count = max(1, int(len(far) * settings.share))
        chosen = torch.topk(far, count).indices  # the farthest first
        chosen = chosen[far[chosen] > 0]
        if not len(chosen):
            return 0
        with torch.no_grad():
            scales = weight.scales[chosen // weight.groups]
            before = weight.decoded(chosen)
            wanted = before * scales[:, None] + pulls[chosen]
            usable = scales.abs() > 1e-12
            target = torch.where(usable[:, None], wanted / scales.where(usable, torch.ones(()))[:, None], before)
            books = np.ascontiguousarray(weight.codebooks.numpy().transpose(0, 2, 1))
            codes, _ = nearest_codes(
                np.ascontiguousarray(target.numpy()), books, beam=settings.beam, threads=self._threads
            )
            new = torch.from_numpy(codes).T.to(weight.codes.dtype)
            changed = (new != weight.codes[:, chosen]).any(0) & usable
            # in the order of how far they are pulled, until the step is as long as is trusted
            lengths = torch.where(changed, (weight.sums(new) - before).square().sum(1) * scales.square(), 0.0)
            limit = (settings.trust * self._unit) ** 2 * self._pull.numel()
            trusted = lengths.cumsum(0) <= limit
            first = changed.nonzero()
            if len(first):
                trusted[: int(first[0]) + 1] = True
            changed &= trusted
            where = chosen[changed]
            weight.codes[:, where] = new[:, changed]
            left = wanted[changed] - weight.decoded(where) * scales[changed, None]
            self._pull.view(-1, group)[where] = left.to(torch.bfloat16)
        return len(where)
