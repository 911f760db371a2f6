"""One linear at one level: which quantizer makes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.quantize.layer import LinearTask, Quantized, Stop, relative_error
from backend.quantize.levels import level_recipe
from backend.quantize.recipes import Recipe, encode
from kernels.packing import dense

__all__ = ["encode_level"]


def encode_level(
    task: LinearTask,
    level: str,
    *,
    warm: Mapping[str, npt.NDArray[Any]] | None = None,
    descent: bool = False,
    stop: Stop = lambda: False,
) -> Quantized:
    """A linear at a level.

    Args:
        task: see LinearTask.
        level: one of `options.LEVELS`.
        warm: of an earlier linear of this width and level.
        descent: see Options.
        stop: asked now and then.

    Raises:
        InterruptedError: `stop` said so.
        InvalidModelFileError: weights that half precision cannot hold.
    """
    recipe = level_recipe(level)
    if stop():
        raise InterruptedError
    if recipe.scheme == "aqlm":
        from backend.quantize.aqlm import quantize_aqlm

        nbits = 8 * int(recipe.bits) // recipe.number
        return quantize_aqlm(task, num_codebooks=recipe.number, nbits=nbits, warm=warm, descent=descent, stop=stop)
    if recipe.scheme == "spqr":
        from backend.quantize.spqr import quantize_spqr

        return quantize_spqr(task, bits=recipe.number, stop=stop)
    return _rounded(task, recipe)


def _rounded(task: LinearTask, recipe: Recipe) -> Quantized:
    """By the weights alone: at 8 bits nothing is left to gain by the inputs."""
    from kernels.cpu import nearest_codes

    began = time.monotonic()
    weight = np.ascontiguousarray(task.weight.numpy(), np.float32)
    source = dense.pack(weight, "f32", bias=task.bias)
    packed = encode(source, recipe, partial(nearest_codes, threads=task.threads), task.module).packed
    return Quantized(packed, relative_error(task.weight, packed, task.hessian), time.monotonic() - began)
