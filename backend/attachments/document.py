"""What reading a file gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["MAX_CHARACTERS", "Document", "Kind", "Unreadable"]

Kind = Literal["text", "pdf", "docx", "image"]

#: of one file: about half a million tokens, more than the window of any model that runs at home
MAX_CHARACTERS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read. An image has no text."""

    kind: Kind
    mime: str
    text: str = ""


class Unreadable(Exception):  # noqa: N818 - it is what the file is
    """A file that cannot be attached, in three sentences for the person: what, why, what to do."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.why, self.remedy = what, why, remedy


def too_long(name: str) -> Unreadable:
    """The file has more text than MAX_CHARACTERS."""
    return Unreadable(
        f"{name} is too long to attach.",
        f"It has more than {MAX_CHARACTERS:,} characters, which no model here can read at once.",
        "Attach only the part that matters.",
    )


def empty(name: str) -> Unreadable:
    """There is nothing in the file."""
    return Unreadable(f"{name} is empty.", "There is no text in it.", "Choose another file.")
