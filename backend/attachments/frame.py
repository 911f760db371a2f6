"""The frame in which the model reads a file: a line before and a line after it, ahead of the person's own words.

    --- Attached file: notes.md ---
    (the text)
    --- End of notes.md ---

    What is the second point about?

Plain lines and no mark-up of one model family: every model has read files set apart like this, and the n-gram drafter
finds the text unchanged in the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.api.schemas import Attachment

__all__ = ["framed"]


def framed(files: Sequence[Attachment], text: str) -> str:
    """The files, then the text, as the model reads them."""
    parts = [_one(file) for file in files]
    return "\n\n".join([*parts, text] if text.strip() else parts)


def _one(file: Attachment) -> str:
    name = " ".join(file.name.split())
    if file.mime.startswith("image/"):
        return f"--- Attached image: {name} (only its name is shown to you; you cannot see it) ---"
    body = file.text.strip("\n")
    return f"--- Attached file: {name} ---\n{body}\n--- End of {name} ---"
