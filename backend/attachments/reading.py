"""A file's text, whatever kind of file it is. Runs in a process of its own: see `reader`."""

from __future__ import annotations

from typing import Final

from .document import Document, Unreadable, empty
from .docx import is_docx, read_docx
from .pdf import read_pdf
from .plain import read_plain

__all__ = ["read_document"]

_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Office before 2007, and protected files of today


def read_document(name: str, content: bytes) -> Document:
    """The document in these bytes. Raises Unreadable."""
    if not content:
        raise empty(name)
    for magic, mime in _IMAGES:
        if content.startswith(magic):
            return Document("image", mime)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Document("image", "image/webp")
    if b"%PDF-" in content[:1024]:  # some programs write a few lines before it
        return read_pdf(name, content)
    if content.startswith(b"PK\x03\x04"):
        if is_docx(content):
            return read_docx(name, content)
        raise Unreadable(
            f"{name} cannot be read.",
            "It is a ZIP file, or a document of a kind that Nutshell does not know.",
            "Attach the files in it one by one; save a spreadsheet as CSV, another document as PDF or .docx.",
        )
    if content.startswith(_OLE):
        raise Unreadable(
            f"{name} cannot be read.",
            "It is a document of an older Office, or one that is protected by a password.",
            "Save it as .docx without a password, or as PDF, and attach that.",
        )
    return read_plain(name, content)
