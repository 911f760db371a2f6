"""The kernels on CUDA: Triton for packed linears, torch for the rest. Imports torch: load it only where it is used."""

import torch

from kernels.cuda.executor import CudaExecutor
from kernels.cuda.weights import linear, upload

__all__ = ["CudaExecutor", "available", "free_bytes", "linear", "upload"]


def available() -> bool:
    """Whether torch can compute on a CUDA device here."""
    return torch.cuda.is_available()


def free_bytes() -> int:
    """Of the first device's memory, once this process has its context there."""
    free, _ = torch.cuda.mem_get_info(0)
    return int(free)
