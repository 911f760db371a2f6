"""The CUDA executor where it can run: found without importing torch on computers that have no use for it."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.util
import logging
import sys
from collections.abc import Callable

from backend.hardware.gpus import nvidia_devices
from kernels.program import Executor, Program

__all__ = ["MARGIN", "cuda_executors", "cuda_free"]

#: of what is needed that must be free: captured graphs and what Triton and the allocator round up (not measured)
MARGIN = 1.1

logger = logging.getLogger(__name__)


def cuda_free() -> int:
    """Bytes that are free on the card that our engine would use, by the driver; 0: none that it can use.

    All of a model goes there or nothing does: a layer on the processor between two on the card would cost two copies
    for every token, and its weights are read twenty times as slowly.
    """
    if not _possible():
        return 0
    return next((card.vram_free for card in nvidia_devices()), 0)


def cuda_executors(need: int = 0) -> Callable[[Program, int, int], Executor] | None:
    """What makes an executor on the first CUDA device: (program, positions, most nodes of a forward); None without one.

    torch takes a second to import and chat must not wait for it, so the driver is asked for first.

    Args:
        need: bytes of weights, cache and activations; where fewer are free, the processor computes.
    """
    if not _possible():
        return None
    # by name: the engine does without torch, and an import contract holds that
    cuda = importlib.import_module("kernels.cuda")
    if not cuda.available():
        return None
    free = cuda.free_bytes()
    if need * MARGIN > free:
        logger.info(
            "the model wants %d MB of video memory and %d MB are free: the processor computes", need >> 20, free >> 20
        )
        return None

    def make(program: Program, capacity: int, n_batch: int) -> Executor:
        executor: Executor = cuda.CudaExecutor(program, capacity=capacity, max_rows=n_batch)
        return executor

    return make


def _possible() -> bool:
    return _driver() and all(importlib.util.find_spec(name) is not None for name in ("torch", "triton"))


def _driver() -> bool:
    name = "nvcuda" if sys.platform == "win32" else "cuda"
    return sys.platform != "darwin" and ctypes.util.find_library(name) is not None
