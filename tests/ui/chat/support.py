"""What a rendered document is, as plain values that can be compared."""

from __future__ import annotations

from PySide6.QtGui import QTextDocument

from backend.api.schemas import Message, MessageStatus, Role, TurnStats
from ui.chat.markdown import MarkdownDocument
from ui.chat.markdown.styles import KIND

Block = tuple[str, float, int, int, int]
Piece = tuple[str, int, bool, bool, str, int]


def rendered(text: str) -> MarkdownDocument:
    """`text`, complete."""
    made = MarkdownDocument(QTextDocument())
    made.set_source(text)
    return made


def streamed(chunks: list[str]) -> MarkdownDocument:
    """The chunks, one after the other, and finished."""
    made = MarkdownDocument(QTextDocument())
    for chunk in chunks:
        made.append(chunk)
    made.finish()
    return made


def blocks(document: QTextDocument) -> list[Block]:
    """(text, top margin, indent, heading level, kind) of each block."""
    found = []
    block = document.begin()
    while block.isValid():
        form = block.blockFormat()
        found.append((block.text(), form.topMargin(), form.indent(), form.headingLevel(), form.intProperty(KIND)))
        block = block.next()
    return found


def texts(document: QTextDocument) -> list[str]:
    return [block[0] for block in blocks(document)]


def pieces(document: QTextDocument) -> list[Piece]:
    """(text, weight, italic, struck out, address, pixel size) of each stretch of equal format."""
    found = []
    block = document.begin()
    while block.isValid():
        at = block.begin()
        while not at.atEnd():
            part = at.fragment()
            form = part.charFormat()
            font = form.font()
            found.append(
                (part.text(), font.weight(), font.italic(), font.strikeOut(), form.anchorHref(), font.pixelSize())
            )
            at += 1
        block = block.next()
    return found


def state(markdown: MarkdownDocument) -> dict[str, object]:
    """Everything that is seen of a message."""
    return {
        "blocks": blocks(markdown.document),
        "pieces": pieces(markdown.document),
        "codes": [(c.header, c.first, c.last, c.code, c.language) for c in markdown.codes],
        "markers": [(m.position, m.text) for m in markdown.markers],
        "spans": [(s.kind, s.start, s.end, s.indent) for s in markdown.spans],
    }


def message(
    message_id: str, role: Role, content: str, *, status: MessageStatus = "complete", stats: TurnStats | None = None
) -> Message:
    made = Message(id=message_id, conversation_id="c", parent_id=None, role=role, content=content, status=status)
    made.model, made.stats = "m", stats
    return made
