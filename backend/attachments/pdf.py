"""PDF files: the text of each page, by pypdf (BSD licence, pure Python: a hostile file finds no memory to overrun)."""

from __future__ import annotations

import io
import logging

from .document import MAX_CHARACTERS, Document, Unreadable, too_long

__all__ = ["read_pdf"]


def read_pdf(name: str, content: bytes) -> Document:
    """The text of all pages, a blank line between two.

    Raises Unreadable: damaged, protected, without text, or too long. Time and memory are bounded by who calls.
    """
    import pypdf
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every small fault of a file
    protected = Unreadable(f"{name} is protected by a password.", "", "Save a copy without one and attach that.")
    pages: list[str] = []
    length = 0
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise protected
        for page in reader.pages:
            text = page.extract_text().strip()
            length += len(text)
            if length > MAX_CHARACTERS:
                raise too_long(name)
            pages.append(text)
    except Unreadable:
        raise
    except DependencyError as error:  # encryption that needs a library we do not have
        raise protected from error
    except Exception as error:  # a damaged file may trip over anything
        raise Unreadable(
            f"{name} is damaged.", "Its pages cannot be read.", "Open it in a PDF reader and save it again."
        ) from error
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise Unreadable(
            f"{name} has no text.",
            "Its pages are pictures, as from a scanner, and Nutshell does not recognise letters in pictures.",
            "Run text recognition on it first, or copy the text from elsewhere.",
        )
    return Document("pdf", "application/pdf", text)
