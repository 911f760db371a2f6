"""The kernels on CUDA: Triton for packed linears, torch for the rest. Imports torch: load it only where it is used."""

from kernels.cuda.executor import CudaExecutor
from kernels.cuda.weights import linear, upload

__all__ = ["CudaExecutor", "linear", "upload"]
