"""What the pages about making models smaller say: levels, quality, time, reasons."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from backend.api.compression import Compression, CompressionSource, Position
from ui.viewmodels.words import error_words, size

__all__ = [
    "duration",
    "level_code",
    "level_name",
    "limit_words",
    "loss_words",
    "measured_words",
    "percent",
    "quality_words",
    "source_note",
    "speed",
    "stage_name",
    "state_words",
    "verdict_words",
]


def _tr(text: str) -> str:
    return QCoreApplication.translate("compression", text)


def level_name(level: str) -> str:
    """The plain word of a level: "Smallest" to "Largest"."""
    return {
        "aqlm-1x8": _tr("Tiny"),
        "aqlm-2x8": _tr("Smallest"),
        "aqlm-3x8": _tr("Small"),
        "spqr-3": _tr("Balanced"),
        "aqlm-4x8": _tr("Medium"),
        "spqr-4": _tr("Faithful"),
        "q8": _tr("Largest"),
    }.get(level, level)


def level_code(level: str) -> str:
    """Its name for those who know it: "AQLM 2x8", "SpQR 3-bit", "8-bit"."""
    scheme, _, rest = level.partition("-")
    match scheme:
        case "aqlm":
            return f"AQLM {rest}"
        case "spqr":
            return _tr("SpQR {0}-bit").format(rest)
        case "q8" | "q4":
            return _tr("{0}-bit").format(scheme[1:])
    return level


def quality_words(growth: float | None) -> str:
    """How answers compare with the source's, from the growth of perplexity (0.05 is 5 %)."""
    if growth is None:
        return _tr("Not known yet")
    for below, words in (
        (0.005, _tr("As the original")),
        (0.021, _tr("Hardly a difference")),
        (0.081, _tr("Very close to the original")),
        (0.36, _tr("A little weaker")),
        (0.71, _tr("Noticeably weaker")),
    ):
        if growth < below:
            return words
    return _tr("Much weaker, for trying out")


def percent(fraction: float) -> str:
    """0.034 -> "3.4 %", 0.34 -> "34 %"."""
    value = 100 * fraction
    return f"{value:.1f} %" if abs(value) < 9.95 else f"{value:.0f} %"


def loss_words(position: Position) -> str:
    """The expectation behind the word, marked as one."""
    low, high = position.loss_low, position.loss_high
    if low is None or high is None:
        return _tr("Nothing like it was measured yet.")
    if high < 0.005:
        return _tr("Expected: perplexity grows by less than 0.5 %.")
    if high >= 3:
        return _tr("Expected: perplexity grows several times.")
    return _tr("Expected: perplexity grows by {0} to {1}.").format(percent(low), percent(high))


def measured_words(growth: float) -> str:
    """The word for what was measured."""
    return quality_words(max(growth, 0.0))


def speed(tok_s: float) -> str:
    """About so many tokens a second: two digits, a prediction promises no more."""
    if tok_s <= 0:
        return ""
    rounded = round(tok_s, -1) if tok_s >= 100 else round(tok_s) if tok_s >= 10 else round(tok_s, 1)
    return _tr("about {0} tok/s").format(f"{rounded:g}")


def duration(seconds: float) -> str:
    """Time in words: "about 4 minutes"."""
    if seconds < 50:
        return _tr("less than a minute")
    minutes = round(seconds / 60)
    if minutes <= 1:
        return _tr("about a minute")
    if minutes < 90:
        return _tr("about {0} minutes").format(minutes if minutes < 20 else 5 * round(minutes / 5))
    hours = seconds / 3600
    return _tr("about {0} hours").format(f"{hours:.1f}".removesuffix(".0") if hours < 10 else f"{hours:.0f}")


def verdict_words(position: Position) -> str:
    """Fits, Fits if other programs are closed, Too big."""
    if position.verdict == "fits":
        return _tr("Fits")
    if position.verdict == "if":
        return _tr("Fits if…")
    return _tr("Not possible") if position.limit == "unknown" else _tr("Too big")


def limit_words(position: Position) -> str:
    """Why it does not fit, or what has to be done for it; "" where it fits."""
    needed, there = size(position.needed), size(position.there)
    hard = position.verdict == "no"
    match position.limit:
        case "run_memory" if hard:
            return _tr("Running it takes {0} of memory; this machine can give {1}.").format(needed, there)
        case "run_memory":
            return _tr("Running it takes {0} of memory; {1} is free. Close other programs first.").format(needed, there)
        case "work_memory" if hard:
            return _tr("Making it takes {0} of memory; this machine can give {1}.").format(needed, there)
        case "work_memory":
            return _tr("Making it takes {0} of memory; {1} is free. Close other programs first.").format(needed, there)
        case "budget":
            return _tr("Making it takes {0} of memory; {1} is allowed. Allow more in the options.").format(
                needed, there
            )
        case "disk":
            return _tr("Making it takes {0} on the disk; {1} is free.").format(needed, there)
        case "unknown" if position.error is not None:
            return error_words(position.error)
    return ""


def source_note(source: CompressionSource) -> str:
    """Why a model cannot be made smaller, or what to know before it is; "" where there is nothing to say."""
    match source.reason:
        case "compressed":
            return _tr("Compressed already")
        case "architecture":
            return _tr("Models of this kind cannot be compressed here")
        case "damaged":
            return source.entry.error.what if source.entry.error is not None else _tr("Damaged")
    return _tr("Rounded already; the original is a better source") if source.rounded else ""


def stage_name(stage: str) -> str:
    """A stage of the work."""
    return {
        "check": _tr("Checking the model"),
        "calibrate": _tr("Reading sample texts"),
        "quantize": _tr("Compressing the layers"),
        "tune": _tr("Fine-tuning"),
        "sensitivity": _tr("Finding what matters most"),
        "write": _tr("Writing the file"),
        "measure": _tr("Measuring the result"),
    }.get(stage, stage)


def state_words(compression: Compression) -> str:
    """How far an unfinished one is: "Paused at 43 %"."""
    words = {
        "paused": _tr("Paused at {0} %"),
        "interrupted": _tr("Interrupted at {0} %"),
        "failed": _tr("Stopped by a problem at {0} %"),
    }.get(compression.state, "{0} %")
    done = min(1.0, compression.done / compression.total) if compression.total > 0 else 0.0
    return words.format(int(100 * done))
