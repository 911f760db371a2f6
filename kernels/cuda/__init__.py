"""The kernels on CUDA: Triton for packed linears, torch for the rest. Imports torch: load it only where it is used."""

import torch

from kernels.cuda.executor import CudaExecutor
from kernels.cuda.placed import Placed, needs
from kernels.cuda.weights import linear, upload
from kernels.program import Program

__all__ = ["CudaExecutor", "Placed", "available", "free_bytes", "linear", "needs", "place", "upload"]


def available() -> bool:
    """Whether torch can compute on a CUDA device here."""
    return torch.cuda.is_available()


def free_bytes() -> int:
    """Of the first device's memory, once this process has its context there."""
    free, _ = torch.cuda.mem_get_info(0)
    return int(free)


def place(program: Program, resident: float = 1.0) -> Placed:
    """A program's weights on the first device: see `Placed`."""
    return Placed(program, torch.device("cuda"), torch.float16, resident)
