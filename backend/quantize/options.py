"""What a person may choose when a model is compressed, and what they are told meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["LEVELS", "TUNINGS", "Options", "Progress", "Report"]

Tuning = Literal["none", "block", "p", "pv"]
#: from the fastest to the best
TUNINGS: tuple[Tuning, ...] = ("none", "block", "p", "pv")
#: how the linears of the layers may be stored, from the smallest (nominal 1 bit) to the largest (8.25 bits)
LEVELS = ("aqlm-1x8", "aqlm-2x8", "aqlm-3x8", "spqr-3", "aqlm-4x8", "spqr-4", "q8")


@dataclass(frozen=True, slots=True)
class Options:
    """Of one compression. Two runs with the same options, source and program give the same bits.

    Attributes:
        levels: one of LEVELS: a build of that level; several: a build of all of them, whose slider mixes them.
        tuning: one of TUNINGS; needs a single level.
        texts: files and folders for calibration, besides the text that ships with the program.
        own_text_only: leave the program's text out.
        tokens: of calibration, in all.
        sequence: tokens of one calibration text.
        head: how the output layer is stored (q4, q8, f16); None: q4 below 3 bits, else q8.
        embedding: how the table of tokens is stored; None: as the head.
        protect: keep the linears that write massive activations at 4 bits where AQLM would give them fewer.
        descent: AQLM's optional coordinate descent over the codes: a tenth better, twice the time.
        seed: of everything random.
        threads: 0: one for each core.
        memory: bytes that the work may hold; 0: half of what is free when it starts.
    """

    levels: tuple[str, ...]
    tuning: Tuning = "none"
    texts: tuple[Path, ...] = ()
    own_text_only: bool = False
    tokens: int = 16 * 1024
    sequence: int = 1024
    head: str | None = None
    embedding: str | None = None
    protect: bool = True
    descent: bool = False
    seed: int = 0
    threads: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a compression is.

    Attributes:
        stage: "check", "calibrate", "quantize", "tune", "sensitivity", "write" or "measure".
        done, total: of the whole work, in seconds of predicted work, what an earlier run did included; total 0: not
            known yet.
        layer, layers: blocks done and in all.
        module: the linear at work, or "".
        error: the relative error of the linear that was just finished, else None.
        rate: million weights per second of the stage, 0 where it makes no sense.
        seconds_left: None until a rate is known.
        memory: bytes that the process holds.
        level: at which `module` was quantized, or "".
    """

    stage: str
    done: float
    total: float
    layer: int = 0
    layers: int = 0
    module: str = ""
    error: float | None = None
    rate: float = 0.0
    seconds_left: float | None = None
    memory: int = 0
    level: str = ""


#: Told of progress; returns False when the work should stop (it then raises InterruptedError and can be resumed).
Report = Callable[[Progress], bool]
