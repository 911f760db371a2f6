"""The CUDA executor where it can run: found without importing torch on computers that have no use for it."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.api.schemas import GpuReport
from backend.hardware.gpus import nvidia_devices
from kernels.program import Executor, Program

__all__ = ["MARGIN", "OnCard", "cuda_card", "cuda_executors"]

#: of what is needed that must be free: captured graphs and what Triton and the allocator round up (not measured)
MARGIN = 1.1

logger = logging.getLogger(__name__)


def cuda_card() -> GpuReport | None:
    """The card that our engine would use, by the driver; None: there is none.

    All of a model is computed there or nothing is: a layer on the processor between two on the card would cost two
    copies for every token, and its weights are read twenty times as slowly.
    """
    return next(iter(nvidia_devices()), None) if _possible() else None


@dataclass(frozen=True, slots=True)
class OnCard:
    """What runs programs on a card.

    Attributes:
        make: (program, positions, most nodes of a forward) -> what runs it.
        layers: worth of weights that stay on the card.
        link_bytes: of the others, which are sent there in every pass; about.
    """

    make: Callable[[Program, int, int], Executor]
    layers: int
    link_bytes: int = 0


def cuda_executors(program: Program, besides: int, layers: int, wanted: int = -1) -> OnCard | None:
    """What runs a program on the first CUDA device; None without one, or where there is no room.

    torch takes a second to import and chat must not wait for it, so the driver is asked for first.

    Args:
        program: with its weights.
        besides: bytes of cache and activations.
        layers: of the model.
        wanted: how many layers' worth of weights stay on the card; the others wait in the machine's memory and pass
            through the card in every pass. As many of these as there is room for. -1: all of them, or not at all.
    """
    if not _possible():
        return None
    # by name: the engine does without torch, and an import contract holds that
    cuda = importlib.import_module("kernels.cuda")
    if not cuda.available():
        return None
    free = cuda.free_bytes()
    stay = layers if wanted < 0 else min(wanted, layers)
    least = layers if wanted < 0 else 0

    found = cuda.needs(program, stay / max(layers, 1))
    while stay > least and (found.device + besides) * MARGIN > free:
        stay -= 1
        found = cuda.needs(program, stay / max(layers, 1))
    if (need := int((found.device + besides) * MARGIN)) > free:
        logger.info(
            "the model wants %d MB of video memory and %d MB are free: the processor computes", need >> 20, free >> 20
        )
        return None
    placed: list[tuple[Program, Any]] = []  # of the last program: a second executor of it shares its weights

    def make(program: Program, capacity: int, n_batch: int) -> Executor:
        if not placed or placed[0][0] is not program:
            placed[:] = [(program, cuda.place(program, resident=stay / max(layers, 1)))]
        executor: Executor = cuda.CudaExecutor(program, capacity=capacity, max_rows=n_batch, placed=placed[0][1])
        return executor

    return OnCard(make, stay, found.link)


def _possible() -> bool:
    return _driver() and all(importlib.util.find_spec(name) is not None for name in ("torch", "triton"))


def _driver() -> bool:
    name = "nvcuda" if sys.platform == "win32" else "cuda"
    return sys.platform != "darwin" and ctypes.util.find_library(name) is not None
