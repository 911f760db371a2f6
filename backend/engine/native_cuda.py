"""The CUDA executor where it can run: found without importing torch on computers that have no use for it."""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.util
import sys
from collections.abc import Callable

from kernels.program import Executor, Program

__all__ = ["cuda_executors"]


def cuda_executors() -> Callable[[Program, int, int], Executor] | None:
    """What makes an executor on the first CUDA device: (program, positions, most nodes of a forward); None without one.

    torch takes a second to import and chat must not wait for it, so the driver is asked for first.
    """
    if not _driver() or any(importlib.util.find_spec(name) is None for name in ("torch", "triton")):
        return None
    # by name: the engine does without torch, and an import contract holds that
    cuda = importlib.import_module("kernels.cuda")
    if not cuda.available():
        return None

    def make(program: Program, capacity: int, n_batch: int) -> Executor:
        executor: Executor = cuda.CudaExecutor(program, capacity=capacity, max_rows=n_batch)
        return executor

    return make


def _driver() -> bool:
    name = "nvcuda" if sys.platform == "win32" else "cuda"
    return sys.platform != "darwin" and ctypes.util.find_library(name) is not None
