"""What a rendered message knows about itself besides its text: code blocks, and what is painted beside the text."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CodeBlock", "Mark", "Marker", "Span"]


@dataclass(slots=True)
class CodeBlock:
    """A block of code. Positions are document positions of text blocks.

    Attributes:
        header: the line that names the language. first: the first line of code.
        last: the last line of code; -1 while it is still growing at the end of the document.
        language: the fence's first word, or "".
        pieces: the code, exactly as written, in pieces to be joined.
    """

    header: int
    first: int
    language: str
    indent: int = 0
    last: int = -1
    pieces: list[str] = field(default_factory=list)
    highlighted: bool = False
    #: a line was too long for one text block, so lines and blocks do not match and the code stays without colours
    broken: bool = False

    @property
    def code(self) -> str:
        """The code exactly, without the line end that belongs to the closing fence."""
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        text = self.pieces[0] if self.pieces else ""
        return text[:-1] if text.endswith("\n") else text


@dataclass(slots=True)
class Span:
    """A quotation (a bar at its side) or a rule, over the blocks at positions `start`..`end`."""

    kind: str
    start: int
    end: int
    indent: int


@dataclass(frozen=True, slots=True)
class Marker:
    """The bullet or number of a list item, painted beside the block at `position`."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the document to come back to: what lies before it stays, what follows is written again."""

    position: int = 0
    fresh: bool = True
    kind: str = ""
    in_list: bool = False
    codes: int = 0
    spans: int = 0
    markers: int = 0
    #: the number of the next item and the marker, where the mark lies behind an item of a list
    next_number: int = 0
    list_markup: str = ""
