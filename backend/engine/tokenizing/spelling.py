"""How the two families of vocabularies spell bytes as text.

- *letters*: byte-level BPE (GPT-2 and all after it): each of the 256 bytes is a printable letter.
- *pieces*: SentencePiece: text as it is, a space as U+2581, and bytes without a piece as `<0x0A>`.
"""

from __future__ import annotations

import re
from functools import cache

__all__ = ["SPACE", "byte_letters", "of_letters", "of_pieces", "to_letters"]

#: SentencePiece's mark for a space
SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>", re.ASCII)


@cache
def byte_letters() -> tuple[str, ...]:
    """The letter of each byte: itself where it is visible in Latin-1, else one of the letters from U+0100 on."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, extra = [], 0x100
    for byte in range(256):
        if byte in visible:
            letters.append(chr(byte))
        else:
            letters.append(chr(extra))
            extra += 1
    return tuple(letters)


@cache
def _bytes_of_letters() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_letters())}


def of_letters(text: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary stands for. What is no letter stands for itself."""
    table = _bytes_of_letters()
    try:
        return bytes([table[letter] for letter in text])
    except KeyError:
        return text.encode("utf-8", "replace")


def to_letters(raw: bytes) -> str:
    """Bytes, spelled for a byte-level vocabulary."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in raw)


def of_pieces(text: str) -> bytes:
    """The bytes that a SentencePiece token stands for."""
    byte = _BYTE.fullmatch(text)
    if byte is not None:
        return bytes([int(byte[1], 16)])
    return text.replace(SPACE, " ").encode("utf-8", "replace")
