"""Plain text in whatever encoding: Markdown, code, CSV, notes. What a file is, its content says and not its name."""

from __future__ import annotations

import codecs
from pathlib import PurePath
from typing import Final

from .document import MAX_CHARACTERS, Document, Unreadable, empty, too_long

__all__ = ["decode", "read_plain"]

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MIMES: Final = {".md": "text/markdown", ".markdown": "text/markdown", ".csv": "text/csv", ".html": "text/html"}
#: control characters that no text has; ESC and form feed are in logs and old sources
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\r\x0c\x1b")
_SAMPLE: Final = 64 * 1024  # bytes from which an encoding is guessed


def read_plain(name: str, content: bytes) -> Document:
    """The text of a file, line ends as line feeds. Raises Unreadable: empty, binary, or too long."""
    if not content.strip():
        raise empty(name)
    if len(content) > 4 * MAX_CHARACTERS:
        raise too_long(name)
    text = decode(content)
    if text is None:
        raise Unreadable(
            f"{name} is not text.",
            "Nutshell reads text, Markdown, code, CSV, PDF, Word documents (.docx) and images.",
            "Save it in one of these forms and attach that.",
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise empty(name)
    if len(text) > MAX_CHARACTERS:
        raise too_long(name)
    return Document("text", _MIMES.get(PurePath(name).suffix.lower(), "text/plain"), text)


def decode(content: bytes) -> str | None:
    """Bytes as text: by their mark, as UTF-8, UTF-16 without a mark, or the likeliest old encoding; None: binary."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _try(content, encoding)
    text = _try(content, "utf-8")
    if text is not None:
        return text
    for encoding, zeros in (("utf-16-le", content[1:_SAMPLE:2]), ("utf-16-be", content[0:_SAMPLE:2])):
        # of Latin text every second byte is zero
        if len(zeros) >= 2 and zeros.count(0) > 0.4 * len(zeros):
            return _try(content[: len(content) // 2 * 2], encoding)
    if sum(byte in _CONTROLS for byte in content[:_SAMPLE]):
        return None
    return _guess(content)


def _guess(content: bytes) -> str | None:
    from charset_normalizer import from_bytes

    found = from_bytes(content[:_SAMPLE])
    best = found.best()
    if best is None:
        return None
    # Western and Central European pages differ in few letters; where both fit equally well, the common one is meant.
    equal = [one.encoding for one in found if (one.chaos, one.coherence) == (best.chaos, best.coherence)]
    return _try(content, "cp1252" if "cp1252" in equal else best.encoding)


def _try(content: bytes, encoding: str) -> str | None:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    sample = text[:_SAMPLE]
    strange = sum(ord(letter) in _CONTROLS for letter in sample)
    return None if strange > len(sample) // 500 or "\0" in sample else text
