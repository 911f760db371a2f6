"""Matrix products of float32, which are most of a compression's time.

torch sends them to MKL, which uses half the width of an AMD processor's registers: 104 GFLOP in a second of a Zen 5
core. oneDNN, which torch carries too, does 232, and sums in float32 as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

__all__ = ["all_finite", "has_half_products", "linear", "product"]

Tensor = torch.Tensor


def _find() -> Any:
    """OneDNN's operator, or None where torch was built without it (macOS)."""
    try:
        return torch.ops.mkldnn._linear_pointwise
    except AttributeError:
        return None


_ONEDNN = _find()


def has_half_products() -> bool:
    """Whether this processor multiplies bfloat16 by instructions of its own: twice as fast as float32, 450 GFLOP in a
    second of a Zen 5 core; others emulate it, and are slower.
    """
    try:
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    except AttributeError:  # a private name of torch
        return False


def all_finite(a: Tensor) -> bool:
    """Whether every number is one. The least and the largest say it in a tenth of the time of looking at each."""
    return not a.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(a))).all())


def product(a: Tensor, b: Tensor) -> Tensor:
    """Rows of a (n, k) times rows of b (m, k): a @ b.T, (n, m), without a gradient; any strides.

    A copy is made of rows of b that lie apart: oneDNN takes them, and computes a thousand times as long.
    """
    if _ONEDNN is None or a.dtype != torch.float32 or b.dtype != torch.float32 or not a.numel() or not b.numel():
        return torch.mm(a, b.T)  # bfloat16 goes to oneDNN from here too
    if not b.is_contiguous() and not b.T.is_contiguous():
        b = b.contiguous()
    result: Tensor = _ONEDNN(a, b, None, "none", [], "")
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`: x (..., in), weight (out, in), bias (out,); differentiable once.

    x is float32. With a weight of bfloat16 so are the factors of all three products, forwards and backwards; the result
    is float32 again.
    """
    y: Tensor
    if x.dtype == torch.float32 and weight.dtype == torch.bfloat16:
        half: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]).bfloat16(), weight)  # type: ignore[no-untyped-call]
        y = half.float() if bias is None else half.float() + bias
        return y.view(*x.shape[:-1], len(weight))
    if x.dtype != torch.float32 or weight.dtype != torch.float32:
        return functional.linear(x, weight, bias)
    y = _Linear.apply(x.reshape(-1, x.shape[-1]), weight)  # type: ignore[no-untyped-call]
    if bias is not None:
        y = y + bias
    return y.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x = product(gradient, weight.T) if ctx.needs_input_grad[0] else None
        of_weight = product(gradient.T, x.T) if ctx.needs_input_grad[1] else None
        return of_x, of_weight
