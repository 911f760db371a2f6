"""`nutshell bench kernels`: the linears of our own engine beside the memory they read.

Weights are random and there are so many copies of them (more than 256 MB) that each pass reads them from memory. The
memory's own speed is measured between the passes, with the same threads and instruction set, so that a machine whose
speed drifts treats both alike. Times are of 16 MB each, and the best of hundreds counts. The gate comes first: every
scheme and instruction set against `kernels.reference`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from app.benchmarks.report import hardware_name, print_table
from app.benchmarks.weights import SCHEMES, copies, random_linear, streamed_bytes
from app.terminal import say
from backend.api.errors import InvalidRequestError, NutshellError
from kernels import cpu, reference
from kernels.cpu.timing import gemv_seconds, linear_seconds, native_linears, stream_seconds

_SHAPES = ((1536, 1536), (4096, 4096), (8960, 1536), (14336, 4096))
_ROUNDS = 9
#: past the last-level cache of every desktop processor that we know
_ROTATED = 256 << 20
#: bytes timed at once
_PIECE = 16 << 20
#: rows of a prefill pass
_PREFILL = 512
_DECODE, _MANY = 1, 2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement; None where a figure has no meaning.

    Attributes:
        op: "decode" (one row of activations) or "prefill" (512).
        shape: outputs, inputs.
        gb_s: bytes of weights over the best time. gb_s_median: over the median time.
        memory_gb_s: reading memory, the best of the same run. fraction: gb_s over it.
        with_tables: whether activations, look-up tables and hand-over are in the time, or the kernel alone (which makes
            tables itself for AQLM with AVX-512).
        gmac_s: 1e9 multiply-adds a second.
    """

    op: str
    scheme: str
    shape: tuple[int, int]
    isa: str
    threads: int
    with_tables: bool
    gb_s: float | None
    gb_s_median: float | None
    memory_gb_s: float | None
    fraction: float | None
    gmac_s: float


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints a table, and with --json one object as the last line."""
    levels = _levels(arguments.isa)
    schemes = tuple(arguments.scheme.split(",")) if arguments.scheme else SCHEMES
    if unknown := set(schemes) - set(SCHEMES):
        raise InvalidRequestError(
            f"There is no scheme {sorted(unknown)[0]!r} here.", remedy=f"Use one or several of {','.join(SCHEMES)}."
        )
    threads = arguments.threads or psutil.cpu_count(logical=False) or 1
    for level in levels:
        for scheme in schemes:
            _gate(scheme, level)
    rows: list[Row] = []
    buffer = np.ones(_ROTATED, np.uint8)
    for level in levels:
        for scheme in schemes:
            for shape in _SHAPES:
                say(f"{scheme}  {shape[0]} x {shape[1]}  {level}")
                rows += _measured(scheme, shape, level, threads, arguments.rounds or _ROUNDS, buffer)
    print_table(
        f"{threads} threads, {hardware_name()}",
        ["op", "scheme", "shape", "isa", "GB/s", "median", "memory", "fraction", "GMAC/s"],
        [_cells(row) for row in rows],
    )
    if arguments.json:
        print(json.dumps({"hardware": hardware_name(), "rows": [asdict(row) for row in rows]}))
    return 0


def _levels(wanted: str) -> tuple[str, ...]:
    there = cpu.levels()
    if not wanted:
        return there[-1:]
    if wanted == "all":
        return there
    if wanted not in there:
        raise InvalidRequestError(
            f"There is no instruction set {wanted!r} here.", remedy=f"Use one of {', '.join(there)}, or all."
        )
    return (wanted,)


def _gate(scheme: str, level: str) -> None:
    """Fast results against slow ones, on a shape that fits no tile.

    Raises:
        NutshellError: they differ by more than activations of 15 bits explain.
    """
    packed = random_linear(scheme, 200, 352)
    x = np.random.default_rng(3).standard_normal((19, 352)).astype(np.float32)
    expected = reference.linear(packed, x)
    for rows, regime in ((x[:1], "decode"), (x, "many")):
        y = cpu.linear(packed, rows, level=level, threads=2, regime=regime)  # type: ignore[arg-type]
        error = float(np.linalg.norm(y - expected[: len(rows)]) / np.linalg.norm(expected[: len(rows)]))
        if not error < 1e-2:
            raise NutshellError(
                "The kernels do not compute what they should, so their speed says nothing.",
                why=f"{scheme} on {level} ({regime}) is off by {error:.2g} of the result.",
            )


def _measured(
    scheme: str, shape: tuple[int, int], level: str, threads: int, rounds: int, buffer: npt.NDArray[np.uint8]
) -> Iterator[Row]:
    packed = random_linear(scheme, *shape)
    size = streamed_bytes(packed)
    handles = native_linears(copies(packed, _ROTATED // size + 1), level)
    x = np.random.default_rng(1).standard_normal((_PREFILL, shape[1])).astype(np.float32)
    y = np.empty((_PREFILL, shape[0]), np.float32)
    prepared = cpu.prepare(x[:1], level)
    weights = shape[0] * shape[1]
    batch = max(1, _PIECE // size)
    kernel, whole, memory = [], [], []
    for _ in range(rounds):
        memory += stream_seconds(buffer, _PIECE, level=level, threads=threads)
        kernel += gemv_seconds(handles, prepared, batch=batch, threads=threads)
        whole += linear_seconds(handles, x[:1], y[:1], batch=batch, threads=threads, regime="decode")
    memory_gb_s = _PIECE / min(memory) / 1e9
    for with_tables, seconds in ((False, kernel), (True, whole)):
        each = size * batch / 1e9
        best = each / min(seconds)
        yield Row(
            "decode", scheme, shape, level, threads, with_tables,
            round(best, 2), round(each / statistics.median(seconds), 2), round(memory_gb_s, 2),
            round(best / memory_gb_s, 3), round(weights * batch / min(seconds) / 1e9, 1),
        )  # fmt: skip
    few = max(2, rounds // 3)
    many = linear_seconds(handles[:1], x, y, threads=threads, regime="many", rounds=few)
    speed = round(_PREFILL * weights / min(many) / 1e9, 1)
    yield Row("prefill", scheme, shape, level, threads, True, None, None, None, None, speed)


def _cells(row: Row) -> list[str]:
    op = row.op if row.with_tables else f"{row.op}, kernel alone"
    numbers: Mapping[str, Any] = asdict(row)
    figures = ["" if numbers[key] is None else f"{numbers[key]:.1f}" for key in ("gb_s", "gb_s_median", "memory_gb_s")]
    fraction = "" if row.fraction is None else f"{row.fraction:.2f}"
    return [op, row.scheme, f"{row.shape[0]} x {row.shape[1]}", row.isa, *figures, fraction, f"{row.gmac_s:.0f}"]
