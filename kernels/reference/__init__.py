"""What the kernels compute, in plain NumPy and float64: slow and obvious. Every fast kernel is tested against it."""

from kernels.reference.activation import softmax, swiglu
from kernels.reference.attention import attention
from kernels.reference.executor import ReferenceExecutor
from kernels.reference.linear import dequantize, linear
from kernels.reference.norm import rms_norm
from kernels.reference.prepare import prepare
from kernels.reference.rope import rope
from kernels.reference.topk import top_k

__all__ = [
    "ReferenceExecutor",
    "attention",
    "dequantize",
    "linear",
    "prepare",
    "rms_norm",
    "rope",
    "softmax",
    "swiglu",
    "top_k",
]
