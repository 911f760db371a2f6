"""Numbers in words: sizes, token counts, quantization names, titles."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from PySide6.QtCore import QCoreApplication

from backend.api.schemas import ErrorInfo

__all__ = [
    "count",
    "date_group",
    "error_words",
    "model_name",
    "parameter_words",
    "parameters",
    "quantization_words",
    "rate",
    "size",
    "source_name",
    "title_from",
    "tokens_of",
]

TITLE_LENGTH = 48


def _tr(text: str) -> str:
    return QCoreApplication.translate("words", text)


def error_words(error: ErrorInfo) -> str:
    """What, why and remedy in one paragraph."""
    return " ".join(part for part in (error.what, error.why, error.remedy) if part)


def size(number: int) -> str:
    """Bytes as "1.1 GB", "234 MB": at most two significant digits after the first."""
    value, unit = float(max(number, 0)), "bytes"
    for bigger in ("KB", "MB", "GB", "TB"):
        # 999.5 and not 1000, so that rounding never prints "1000 MB"
        if value < 999.5:
            break
        value, unit = value / 1000, bigger
    if unit == "bytes":
        return f"{int(value)} {unit}"
    if value < 9.995:
        return f"{value:.2f}".rstrip("0").rstrip(".") + f" {unit}"
    if value < 99.95:
        return f"{value:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:.0f} {unit}"


def count(number: int) -> str:
    """A count with thousands apart: "8,192"."""
    return f"{number:,}"


def tokens_of(used: int, total: int) -> str:
    """The context meter's words: "1,240 of 8,192 tokens"."""
    return _tr("{used} of {total} tokens").format(used=count(used), total=count(total))


def parameters(number: int) -> str:
    """A parameter count as people say it: "135M", "1.5B", "" when unknown."""
    if number <= 0:
        return ""
    if number < 999_500_000:
        return f"{number / 1e6:.0f}M"
    return f"{number / 1e9:.1f}".removesuffix(".0") + "B"


def parameter_words(number: int) -> str:
    """The same with its word: "135M parameters", "" when unknown."""
    short = parameters(number)
    return _tr("{0} parameters").format(short) if short else ""


def rate(tokens: float) -> str:
    """Tokens a second, as precise as anyone needs."""
    return f"{tokens:.1f}" if tokens < 10 else f"{tokens:.0f}"


def quantization_words(name: str) -> str:
    """The plain word first, the code second: "4-bit (Q4_K_M)"; "" when unknown."""
    if not name:
        return ""
    code = name.upper()
    if code in ("F32", "F16", "BF16"):
        return _tr("{bits}-bit, uncompressed ({code})").format(bits=code.lstrip("BF"), code=code)
    found = re.match(r"(?:UD-)?I?(?:Q|TQ|MXFP|NVFP)(\d)", code)
    return _tr("{bits}-bit ({code})").format(bits=found.group(1), code=name) if found else name


def source_name(source: str) -> str:
    """Where a model was found, as a heading."""
    return {
        "builtin": _tr("Built in"),
        "file": _tr("Opened files"),
        "huggingface": _tr("Hugging Face"),
        "lmstudio": _tr("LM Studio"),
        "ollama": _tr("Ollama"),
        "llamacpp": _tr("llama.cpp"),
    }.get(source, source)


def model_name(name: str) -> str:
    """A model's name without a file's ending and without the folder before it."""
    return re.sub(r"\.(gguf|nutshell)$", "", name.rsplit("/", 1)[-1], flags=re.IGNORECASE)


def title_from(text: str) -> str:
    """A conversation's title from its first message: its first words, at most 48 characters, one line."""
    words = " ".join(text.split()).lstrip("#>*-` ").strip()
    if len(words) <= TITLE_LENGTH:
        return words
    cut = words[:TITLE_LENGTH]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > TITLE_LENGTH // 2 else cut).rstrip(" ,.;:") + "…"


def date_group(when: float, today: date) -> str:
    """The heading a conversation stands under: Today, Yesterday, Previous 7 days, Older."""
    day = datetime.fromtimestamp(when).date()
    if day >= today:
        return _tr("Today")
    if day == today - timedelta(days=1):
        return _tr("Yesterday")
    if day >= today - timedelta(days=7):
        return _tr("Previous 7 days")
    return _tr("Older")
