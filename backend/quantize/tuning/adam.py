"""Adam with one rate for tensors of every size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["RelativeAdam", "cosine"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


class RelativeAdam:
    """Adam (0.9, 0.95) whose step is `rate` times the root mean square that each tensor began with.

    Scales are 0.02 and codewords 0.7: one absolute rate would move the first by a tenth or the second not at all.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], rate: float) -> None:
        self._rate = rate
        self._units = [float(p.detach().square().mean().sqrt()) or 1.0 for p in parameters]
        self._optimiser = torch.optim.Adam([{"params": [p]} for p in parameters], lr=rate, betas=(0.9, 0.95))

    def step(self, factor: float) -> None:
        """A step of `factor` times the rate; gradients are cleared."""
        for group, unit in zip(self._optimiser.param_groups, self._units, strict=True):
            group["lr"] = self._rate * factor * unit
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The moments of each tensor that was moved, for a run that goes on; views."""
        found: dict[str, npt.NDArray[np.generic]] = {}
        for number, group in enumerate(self._optimiser.param_groups):
            state = self._optimiser.state.get(group["params"][0])
            if state:
                found |= {f"{name}/{number}": state[name].numpy() for name in _MOMENTS}
        return found

    def load(self, arrays: Mapping[str, npt.NDArray[np.generic]], steps: int) -> None:
        """Takes what `arrays` gave after so many steps. The tensors are those that it was made with."""
        for number, group in enumerate(self._optimiser.param_groups):
            if f"{_MOMENTS[0]}/{number}" in arrays:
                moments = {name: torch.from_numpy(np.array(arrays[f"{name}/{number}"])) for name in _MOMENTS}
                self._optimiser.state[group["params"][0]] = {"step": torch.tensor(float(steps)), **moments}


def cosine(step: int, steps: int) -> float:
    """From 1 to a tenth."""
    return 0.1 + 0.45 * (1 + math.cos(math.pi * step / steps))
