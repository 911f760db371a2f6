"""What a document must not be fed as it comes."""

from __future__ import annotations

import re

__all__ = ["clean_code", "clean_text", "normalise"]

# U+FDD0 and U+FDD1 are QTextDocument's own marks for the edges of a frame, U+FFFC stands for an object, U+2029 ends a
# block; lone surrogates are not text. The overrides U+202D/E show letters in another order than they stand.
_TEXT = re.compile("[\ufdd0\ufdd1\ufffc\u2029\u202d\u202e\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f]")
# In code every mark of direction is suspect ("Trojan source"): a reader must see that something is there.
_CODE = re.compile(
    "[\ufdd0\ufdd1\ufffc\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f]"
)
_SHOWN = "\ufffd"


def normalise(text: str) -> str:
    """Line ends as "\n"."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def clean_text(text: str) -> str:
    """Prose as it may be drawn; one character for one, so that positions keep."""
    return text if text.isascii() and text.isprintable() else _TEXT.sub(_SHOWN, text)


def clean_code(text: str) -> str:
    """Code as it may be drawn; one character for one."""
    return _CODE.sub(_SHOWN, text)
