"""AQLM of one linear, from its weights and its Hessian: codes, codebooks and row scales.

Feedback between groups (`aqlm_feedback.py`) is what counts: three times less output error than codes that look at
the weights alone. Codebooks learn from some rows (`aqlm_books.py`), are rounded to float16, and only then all rows get
their codes and scales: what is stored is what was optimised.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from backend.api.errors import InvalidModelFileError, InvalidRequestError
from backend.quantize.aqlm_books import ENTRIES, starting_books, trained
from backend.quantize.aqlm_descent import descend
from backend.quantize.aqlm_feedback import Coded, Factor, Search, encode, factor, through
from backend.quantize.cholesky import Latest
from backend.quantize.layer import LinearTask, Quantized, Stop
from backend.quantize.products import all_finite
from kernels.packing import aqlm

__all__ = ["quantize_aqlm"]

#: Rounds of training, and groups that it sees (256 and 128 rows of 1,536 inputs): from K-means, and from the books of
#: another linear. Twice the groups are 1 % better, twice the rounds half a percent.
_COLD = (8, 98304)
_WARM = (3, 49152)
#: With descent, rows are also coded with scales this much smaller and larger, and the best of the three stays: 1 to
#: 1.5 % less error. It is the luck of three draws: deciding on the first 512 inputs brings a quarter of that.
_SCALES = (0.94, 1.06)
#: Linears that read the same input share its Hessian, and so this.
_LATEST: Latest[Factor] = Latest()
_LARGEST = float(np.finfo(np.float16).max)


def quantize_aqlm(
    task: LinearTask,
    *,
    num_codebooks: int,
    nbits: int = 8,
    group: int = 8,
    warm: Mapping[str, npt.NDArray[Any]] | None = None,
    descent: bool = False,
    stop: Stop = lambda: False,
) -> Quantized:
    """`num_codebooks` codes of 8 bits for each 8 (or 16) inputs.

    Args:
        task: the linear; `tokens` decides the damping.
        num_codebooks: K, 1 to 8.
        nbits: 8. (16 bits are a table of a megabyte for each linear, more than the codes of models up to 3 B.)
        group: inputs per code, 8 or 16.
        warm: of an earlier linear; used if its codebooks have the same shape.
        descent: three passes with different row scales, and a sweep over all codes afterwards.
        stop: asked every second or so.

    Raises:
        InterruptedError: `stop` said so.
        InvalidModelFileError: weights that are not finite, or too large for half precision.
        InvalidRequestError: another number of bits, codebooks or inputs than there is a search for.
    """
    start = time.perf_counter()
    if nbits != 8 or group not in aqlm.GROUPS or not 1 <= num_codebooks <= 8:
        raise InvalidRequestError(
            f"There is no search for {num_codebooks} codebooks of {nbits} bits for {group} inputs.",
            remedy="Use 1 to 8 codebooks of 8 bits for 8 or 16 inputs.",
        )
    weight = _checked(task)
    inputs = weight.shape[1]
    padded = -(-inputs // group) * group
    damping = 0.1 if task.tokens > 8 * inputs else 0.3
    by = _LATEST.get(
        task.hessian, (damping, group), lambda: factor(_padded(task.hessian, padded), damping, group, stop)
    )
    search = Search(task.threads, stop)
    scales = _half(weight.square().mean(1).sqrt())
    scales[scales == 0] = 1.0  # a row of zeros, or one too small for float16
    rows = (torch.nn.functional.pad(weight, (0, padded - inputs)) / scales[:, None])[:, by.stored]
    books = _books(rows, scales.square(), by, num_codebooks, warm, task.seed, search)
    if descent:
        scales, rows, coded = _best_of_three(rows, scales, by, books, search)
        coded = descend(rows, coded, by, books, search)
    else:
        coded = encode(rows, by, books, search)
    scales, wrong = _fitted(rows, coded, by, scales, stop)
    codes = torch.empty_like(coded.codes)
    codes[:, by.visits] = coded.codes
    packed = aqlm.pack(codes.numpy(), books.numpy(), scales.numpy(), bias=task.bias, in_features=inputs)
    return Quantized(packed, wrong, time.perf_counter() - start, {"codebooks": books.half().numpy()})


def _books(
    rows: torch.Tensor,
    importance: torch.Tensor,
    by: Factor,
    count: int,
    warm: Mapping[str, npt.NDArray[Any]] | None,
    seed: int,
    search: Search,
) -> torch.Tensor:
    shape = (count, ENTRIES, by.group)
    given = None if warm is None else warm.get("codebooks")
    if given is not None and given.shape == shape:
        rounds, learn = _WARM
        books = torch.from_numpy(np.array(given, np.float32))
    else:
        rounds, learn = _COLD
        books = starting_books(rows, importance, by, count, seed)
    picked = np.sort(np.random.default_rng(seed + 1).permutation(len(rows))[: -(-learn // len(by.diagonal))])
    some = torch.from_numpy(picked)
    return _half(trained(books, rows[some], importance[some], by, rounds, search))


def _best_of_three(
    rows: torch.Tensor, scales: torch.Tensor, by: Factor, books: torch.Tensor, search: Search
) -> tuple[torch.Tensor, torch.Tensor, Coded]:
    """Scales (out,), rows divided by them, and codes: of each row those of the scale with the least error."""
    best, chosen = encode(rows, by, books, search), torch.ones_like(scales)
    for ratio in _SCALES:
        found = encode(rows / ratio, by, books, search)
        squares = best.rest.square().sum(1) * chosen.square()
        better = (found.rest.square().sum(1) * ratio**2 < squares)[:, None]
        best = Coded(
            torch.where(better[:, :, None], found.codes, best.codes),
            torch.where(better, found.left, best.left),
            torch.where(better, found.rest, best.rest),
        )
        chosen[better[:, 0]] = ratio
    return scales * chosen, rows / chosen[:, None], best


def _fitted(
    rows: torch.Tensor, coded: Coded, by: Factor, scales: torch.Tensor, stop: Stop
) -> tuple[torch.Tensor, float]:
    """Row scales (out,) that fit best under H, in float16's numbers, and the relative error that remains.

    All from products with R: w H y = (w R)(y R) less the damping's part.
    """
    decoded, seen = rows - coded.left, through(rows, by, stop)
    seen_decoded = seen - coded.rest

    def inner(a: torch.Tensor, b: torch.Tensor, plain_a: torch.Tensor, plain_b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum(1, dtype=torch.float64) - by.damping * (plain_a * plain_b).sum(1, dtype=torch.float64)

    shared = inner(seen, seen_decoded, rows, decoded)
    square = inner(seen_decoded, seen_decoded, decoded, decoded)
    best = torch.where((square > 0) & (shared > 0), shared / square.clamp_min(1e-30), 1.0)
    fitted = _half((scales.double() * best).float())
    fitted[~rows.any(1)] = 0.0
    ratio = (fitted / scales)[:, None]
    missed, plain = seen - ratio * seen_decoded, rows - ratio * decoded
    squares = scales.double().square()
    wrong = float((squares * inner(missed, missed, plain, plain)).sum())
    whole = float((squares * inner(seen, seen, rows, rows)).sum())
    return fitted, max(wrong, 0.0) / whole if whole > 0 else 0.0


def _checked(task: LinearTask) -> torch.Tensor:
    largest = float(task.weight.abs().max()) if task.weight.numel() else 0.0
    if not largest <= _LARGEST or not all_finite(task.hessian):
        raise InvalidModelFileError(
            "This model cannot be compressed.",
            why=f"{task.module} has weights that are not numbers or too large, or its inputs become so.",
            remedy="The file is probably damaged. Download it again, or choose another one.",
        )
    return task.weight


def _padded(hessian: torch.Tensor, width: int) -> torch.Tensor:
    missing = width - len(hessian)
    return torch.nn.functional.pad(hessian, (0, missing, 0, missing)) if missing else hessian


def _half(x: torch.Tensor) -> torch.Tensor:
    return x.half().float()
