"""Word documents: the text of word/document.xml, in order, without the rest of the format.

Our own few lines: what a model needs is paragraphs, headings, lists and tables as plain text, and a file from a
stranger must cost little (sizes are bounded before anything is unpacked, and a document type, where entities that
expand for ever are declared, is refused; Word writes none).
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import Final
from xml.parsers import expat

from .document import MAX_CHARACTERS, Document, Unreadable, empty, too_long

__all__ = ["is_docx", "read_docx"]

MIME: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_PART: Final = "word/document.xml"
_MOST_XML: Final = 64 << 20  # bytes; a novel of 2 million characters has 20 MB
_MOST_DEPTH: Final = 500
_PIECE: Final = 1 << 16
_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, expat.ExpatError, KeyError, EOFError, OSError, ValueError, NotImplementedError,
)  # fmt: skip
_HEADING: Final = re.compile(r"(?:heading|berschrift|titre|t.tulo)\s*([1-6])$", re.IGNORECASE)


def is_docx(content: bytes) -> bool:
    """Whether the ZIP file is a Word document."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _PART in archive.NameToInfo
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def read_docx(name: str, content: bytes) -> Document:
    """The document's text; headings with #, list items with -, cells of tables with |.

    Raises Unreadable: damaged, larger than it may be, empty, or too long.
    """
    walk = _Walk(name)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = archive.getinfo(_PART)
            if member.file_size > _MOST_XML:
                raise too_long(name)
            if member.flag_bits & 1:
                raise Unreadable(f"{name} is protected by a password.", "", "Save a copy without one and attach that.")
            with archive.open(member) as part:
                while piece := part.read(_PIECE):
                    walk.parser.Parse(piece, False)
            walk.parser.Parse(b"", True)
    except _DAMAGE as error:
        raise Unreadable(
            f"{name} is damaged.", f"Its text cannot be read: {error}.", "Open it in Word and save it again."
        ) from error
    text = re.sub(r"\n{3,}", "\n\n", "".join(walk.out)).strip()
    if not text:
        raise empty(name)
    return Document("docx", MIME, text)


class _Walk:
    """The text of a document as the parser goes through it."""

    def __init__(self, name: str) -> None:
        self.out: list[str] = []
        self._name = name
        self._length = 0
        self._line: list[str] = []
        self._prefix = ""
        self._in_text = False
        self._skip = 0  # depth inside a part that says the same again for older programs
        self._depth = 0
        self._cells: list[list[str]] = []  # of the rows that are open, outermost first
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype

    def _doctype(self, *_: object) -> None:
        raise ValueError("it declares a document type, which Word never does")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError("its parts are nested too deep")
        kind = tag.rpartition(" ")[2]
        if kind == "Fallback":
            self._skip += 1
        elif kind == "t":
            self._in_text = True
        elif kind == "tab":
            self._add("\t")
        elif kind in ("br", "cr"):
            self._add("\n")
        elif kind == "pStyle":
            value = next((value for key, value in attributes.items() if key.rpartition(" ")[2] == "val"), "")
            if found := _HEADING.search(value):
                self._prefix = "#" * int(found[1]) + " "
        elif kind == "numPr":
            self._prefix = self._prefix or "- "
        elif kind == "tr":
            self._cells.append([])
        elif kind == "tc" and self._cells:
            self._cells[-1].append("")

    def _end(self, tag: str) -> None:
        self._depth -= 1
        kind = tag.rpartition(" ")[2]
        if kind == "Fallback":
            self._skip -= 1
        elif kind == "t":
            self._in_text = False
        elif kind == "p":
            self._end_paragraph()
        elif kind == "tr" and self._cells:
            row = " | ".join(cell.strip() for cell in self._cells.pop())
            self._put(row if self._cells else f"| {row} |\n")
        elif kind == "tbl":
            self._put("\n")

    def _text(self, text: str) -> None:
        if self._in_text:
            self._add(text)

    def _add(self, text: str) -> None:
        if not self._skip:
            self._length += len(text)
            if self._length > MAX_CHARACTERS:
                raise too_long(self._name)
            self._line.append(text)

    def _end_paragraph(self) -> None:
        text = "".join(self._line).strip("\n")
        self._line.clear()
        prefix, self._prefix = self._prefix, ""
        if self._cells:
            self._put(text.replace("\n", " ") + " ")
        elif text.strip():
            self._put(f"{prefix}{text}\n" if prefix == "- " else f"{prefix}{text}\n\n")

    def _put(self, text: str) -> None:
        if self._cells:
            if self._cells[-1]:
                self._cells[-1][-1] += text
        else:
            self.out.append(text)
