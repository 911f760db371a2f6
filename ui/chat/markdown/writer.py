"""Block tokens to a QTextDocument, by cursor operations alone: no HTML is ever made, so none can be smuggled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtGui import QTextBlockFormat, QTextCharFormat, QTextCursor, QTextDocument, QTextTable

from ui.chat.markdown.formula_object import OBJECT
from ui.chat.markdown.formulas import Wanted
from ui.chat.markdown.inline import Base, InlineWriter
from ui.chat.markdown.maths_rules import MATHS_BLOCK
from ui.chat.markdown.parser import MAX_LEVEL, Env, Group
from ui.chat.markdown.parts import CodeBlock, Mark, Marker, Span
from ui.chat.markdown.sanitise import clean_code, clean_text
from ui.chat.markdown.styles import Styles
from ui.theme import metrics

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["MAX_BLOCK", "Writer"]

#: Cells of one table. 800 take about 40 ms to lay out; a larger table is shown as its source.
_MAX_CELLS: Final = 800
#: Characters of one line of code that is written as it stands.
MAX_LINE: Final = 2000
#: Characters of one text block. Qt lays a block out as a whole, so a longer one is broken in two.
MAX_BLOCK: Final = 8000
_MAX_INDENT: Final = 16  # units, two for each list or quotation
_BULLETS: Final = ("•", "◦", "▪")


@dataclass(slots=True)
class _List:
    ordered: bool
    number: int
    markup: str


class Writer:
    """Writes at the end of a document, and goes back to a `Mark` to write its tail again."""

    def __init__(self, document: QTextDocument, styles: Styles) -> None:
        self.document = document
        self.styles = styles
        self.codes: list[CodeBlock] = []
        self.spans: list[Span] = []
        self.markers: list[Marker] = []
        #: the format of the document's last character where plain text may be added to it, else None
        self.open_format: QTextCharFormat | None = None
        self.item_mark: Mark | None = None
        self._cursor = QTextCursor(document)
        self._inline = InlineWriter(styles)
        self._fresh = True  # the document's last block is empty and is the next to be written
        self._kind = ""
        self._in_list = False
        self._lists: list[_List] = []
        self._last_list: _List | None = None  # the list that has just ended: it may turn out to go on
        self._empty_item = False
        self._quotes: list[Span] = []
        self._indent = 0
        self._pending_marker = ""
        self._env: Env = {}
        self._lines: Sequence[str] = ()

    @property
    def pending_formulas(self) -> dict[Wanted, int]:
        """Formulas that were written and are still being drawn, with a position before which none of them stands.

        Whoever hears that one is ready removes it.
        """
        return self._inline.pending

    # where it stands

    def mark(self) -> Mark:
        """The end of the document as it is now."""
        end = self.document.characterCount() - 1
        open_list = self._lists[0] if self._lists else self._last_list
        next_number, list_markup = (open_list.number, open_list.markup) if open_list else (0, "")
        return Mark(
            end, self._fresh, self._kind, self._in_list, len(self.codes), len(self.spans), len(self.markers),
            next_number, list_markup,
        )  # fmt: skip

    def keep(self) -> None:
        """What is written so far stays where it is."""
        self._inline.since = self.document.characterCount() - 1

    def rewind(self, mark: Mark) -> None:
        """Removes what was written after `mark`."""
        self._inline.since = mark.position
        cursor = self._cursor
        cursor.setPosition(mark.position)
        cursor.movePosition(QTextCursor.MoveOperation.End, QTextCursor.MoveMode.KeepAnchor)
        if cursor.hasSelection():
            # Where the block that stays is empty (a rule), Qt would give it the format of the last one removed.
            stays = self.document.findBlock(mark.position)
            block, char = stays.blockFormat(), stays.charFormat()
            cursor.removeSelectedText()
            cursor.setBlockFormat(block)
            if stays.length() <= 1:
                cursor.setBlockCharFormat(char)
        del self.codes[mark.codes :]
        del self.spans[mark.spans :]
        del self.markers[mark.markers :]
        self._fresh, self._kind, self._in_list = mark.fresh, mark.kind, mark.in_list
        self._lists.clear()
        self._last_list = _List(False, mark.next_number, mark.list_markup) if mark.list_markup else None
        self._quotes.clear()
        self._indent = 0
        self._pending_marker = ""
        self.open_format = None

    # writing

    def write(
        self, group: Group, env: Env, lines: Sequence[str], *, continued: Mark | None = None, mark_line: int = -1
    ) -> None:
        """Writes one top-level block.

        Args:
            group: its tokens.
            env: link references.
            lines: the source, for what is shown as it was written.
            continued: where the block may go on with a list begun before this mark.
            mark_line: leaves a mark in `item_mark` before the list item that begins on this line.
        """
        self._env, self._lines = env, lines
        self.item_mark = None
        tokens = group.tokens
        i = 0
        while i < len(tokens):
            token = tokens[i]
            kind = token.type
            if kind == "inline":
                self._text(token)
            elif kind in ("fence", "code_block"):
                self._fence(token)
            elif kind == "table_open":
                i = self._table(tokens, i)
            elif kind == MATHS_BLOCK:
                self._formula(token)
            elif kind == "hr":
                self._rule()
            elif kind == "heading_open":
                i += 1
                self._text(tokens[i], heading=int(token.tag[1:]))
            elif kind in ("bullet_list_open", "ordered_list_open"):
                self._open_list(token, continued if token.level == 0 else None)
            elif kind in ("bullet_list_close", "ordered_list_close"):
                closed = self._lists.pop()
                # markdown-it ends a list at an empty item that blank lines follow.
                self._last_list = None if self._empty_item else closed
                self._indent -= 2
                self._in_list = True
            elif kind == "list_item_open":
                if token.level == 1 and token.map and token.map[0] == mark_line:
                    self.item_mark = self.mark()
                self._open_item()
                self._empty_item = tokens[i + 1].type == "list_item_close"
                if self._empty_item:
                    self._hollow(token)
            elif kind == "blockquote_open":
                self._quotes.append(Span("quote", -1, -1, self._shown()))
                self._indent += 2
                if tokens[i + 1].type == "blockquote_close":
                    self._hollow(token)
            elif kind == "blockquote_close":
                self._indent -= 2
                self._quotes.pop()
            i += 1

    def plain(self, text: str) -> None:
        """Text exactly as typed: every line its own, spaces kept."""
        for number, line in enumerate(text.split("\n")):
            self._start(self.styles.block(top=0 if number else self._gap("text")), self.styles.text, "text")
            self._insert_long(clean_text(line), self.styles.text)
        self.open_format = None

    def remark(self, text: str) -> None:
        """A sentence of ours behind the message."""
        self._start(self.styles.block(top=self._gap("text")), self.styles.quote, "text")
        self._cursor.insertText(text, self.styles.quote)
        self.open_format = None

    def code_lines(self, text: str, code: CodeBlock, *, first: bool) -> None:
        """More lines of code at the end of the document; `text` goes on with the last line unless `first`."""
        shown = clean_code(text)
        if first:
            self._start(self.styles.code_block(indent=code.indent), self.styles.code, "code")
            code.first = self._block_position()
        self._cursor.movePosition(QTextCursor.MoveOperation.End)
        if "\n" in shown and self._cursor.block().text() == "" and not first:
            # An empty line has no character to take the format from.
            self._cursor.setBlockCharFormat(self.styles.code)
        longest = max(map(len, shown.split("\n")))
        if longest + self._cursor.positionInBlock() < MAX_LINE:
            self._cursor.insertText(shown, self.styles.code)
            return
        code.broken = True
        for number, line in enumerate(shown.split("\n")):
            if number:
                self._cursor.insertText("\n", self.styles.code)
            self._insert_long(line, self.styles.code)

    def open_code(self, language: str) -> CodeBlock:
        """The header of a code block, and a record of it that the caller fills."""
        styles = self.styles
        self._start(styles.code_header(top=self._gap("code"), indent=self._shown()), styles.code_label, "code")
        header = self._block_position()
        # Never empty: Qt lays an empty block that follows a table out beside it.
        label = clean_text(language)[:40] or QCoreApplication.translate("Markdown", "code")
        self._cursor.insertText(label, styles.code_label)
        code = CodeBlock(header, -1, language, self._shown())
        self.codes.append(code)
        self.open_format = None
        return code

    # pieces

    def _shown(self, more: int = 0) -> int:
        """The indentation of what is written next. Bounded: deeper down, nothing would be left of the line."""
        return min(self._indent + more, _MAX_INDENT)

    def _block_position(self) -> int:
        return self._cursor.block().position()

    def _gap(self, kind: str) -> int:
        if not self._kind:
            return 0
        if self._pending_marker and self._in_list:
            gap = 4
        elif kind == "heading":
            gap = 20
        elif self._kind == "heading":
            gap = 8
        else:
            gap = 10
        # The area of a code block ends below its last line.
        below = metrics.s if self._kind == "code" else 0
        return metrics.px(gap) + below

    def _start(self, block: QTextBlockFormat, char: QTextCharFormat, kind: str) -> None:
        cursor = self._cursor
        cursor.movePosition(QTextCursor.MoveOperation.End)
        if self._fresh:
            cursor.setBlockFormat(block)
            cursor.setBlockCharFormat(char)
            cursor.setCharFormat(char)
            self._fresh = False
        else:
            cursor.insertBlock(block, char)
        position = cursor.block().position()
        if self._pending_marker:
            self.markers.append(Marker(position, self._pending_marker))
            self._pending_marker = ""
        for quote in self._quotes:
            if quote.start < 0:
                quote.start = position
                self.spans.append(quote)
            quote.end = position
        self._kind = kind
        self._in_list = bool(self._lists)
        self._last_list = None

    def _text(self, token: Token, *, heading: int = 0) -> None:
        kind = "heading" if heading else "text"
        base = Base(heading=heading, quote=bool(self._quotes))
        block = self.styles.block(top=self._gap(kind), indent=self._shown(), heading=heading)
        self._start(block, self._inline.format(base), kind)
        self._inline.write(token.content, self._env, base, self._insert_long)
        self.open_format = None if heading else self._inline.open_format

    def _insert_long(self, text: str, char: QTextCharFormat) -> None:
        cursor = self._cursor
        room = MAX_BLOCK - cursor.positionInBlock()
        while len(text) > room:
            cut = text.rfind(" ", max(0, room - 200), room) + 1 or max(room, 1)
            cursor.insertText(text[:cut], char)
            text = text[cut:]
            same = cursor.blockFormat()
            same.setTopMargin(0)
            cursor.insertBlock(same, char)
            room = MAX_BLOCK
        cursor.insertText(text, char)

    def _fence(self, token: Token) -> None:
        info = token.info.strip().split(maxsplit=1) if token.type == "fence" else []
        code = self.open_code(info[0] if info else "")
        code.pieces.append(token.content)
        content = token.content[:-1] if token.content.endswith("\n") else token.content
        self.code_lines(content, code, first=True)
        code.last = self._block_position()
        self._extend_quotes()

    def _extend_quotes(self) -> None:
        position = self._block_position()
        for quote in self._quotes:
            quote.end = position

    def _formula(self, token: Token) -> None:
        around = self.styles.inline(quote=bool(self._quotes))
        block = self.styles.block(top=self._gap("text"), indent=self._shown())
        text, form = self._inline.formula(token, around)
        if text == OBJECT:
            block.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self._start(block, around, "text")
        self._insert_long(text, form)
        self.open_format = None

    def _rule(self) -> None:
        styles = self.styles
        self._start(styles.rule(top=self._gap("rule"), indent=self._shown()), styles.text, "rule")
        self._cursor.insertText("\u200b", styles.text)  # not empty, for the same reason as the line above code
        position = self._block_position()
        self.spans.append(Span("rule", position, position, self._shown()))
        self.open_format = None

    def _open_list(self, token: Token, continued: Mark | None) -> None:
        ordered = token.type == "ordered_list_open"
        number = int(token.attrs.get("start", 1)) if ordered else 0
        if continued is not None and continued.list_markup == token.markup:
            number = continued.next_number
        self._lists.append(_List(ordered, number, token.markup))
        self._indent += 2

    def _open_item(self) -> None:
        top = self._lists[-1]
        if self._pending_marker:
            # An item that begins with a list: its own marker needs a line to stand on.
            self._start(self.styles.block(top=self._gap("text"), indent=self._shown(-2)), self.styles.text, "text")
        depth = sum(not item.ordered for item in self._lists)
        self._pending_marker = f"{top.number}." if top.ordered else _BULLETS[min(depth, len(_BULLETS)) - 1]
        top.number += 1

    def _hollow(self, token: Token) -> None:
        """An item or a quotation without content: an empty line; or, nested too deeply to be parsed, its source."""
        first, last = token.map or (0, 0)
        source = "\n".join(self._lines[first:last]) if token.level >= MAX_LEVEL - 3 else ""
        self._start(self.styles.block(top=self._gap("text"), indent=self._shown()), self.styles.text, "text")
        if source:
            self._insert_long(clean_text(source.replace("\n", "\u2028")), self.styles.text)
        self.open_format = None

    # tables

    def _table(self, tokens: Sequence[Token], start: int) -> int:
        end = start
        rows: list[list[Token]] = []
        aligns: list[Qt.AlignmentFlag] = []
        while tokens[end].type != "table_close":
            token = tokens[end]
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                if len(rows) == 1:
                    aligns.append(_ALIGN.get(str(token.attrs.get("style", "")), Qt.AlignmentFlag.AlignLeft))
                rows[-1].append(tokens[end + 1])
            end += 1
        columns = len(aligns)
        if len(rows) * columns > _MAX_CELLS:
            self._table_source(tokens[start])
        else:
            self._cells(rows, aligns)
        self.open_format = None
        return end

    def _table_source(self, token: Token) -> None:
        first, last = token.map or (0, 0)
        code = self.open_code("")
        text = "\n".join(self._lines[first:last])
        code.pieces.append(text)
        self.code_lines(text, code, first=True)
        code.last = self._block_position()

    def _cells(self, rows: list[list[Token]], aligns: list[Qt.AlignmentFlag]) -> None:
        styles, cursor = self.styles, self._cursor
        gap = self._gap("table")
        if self._fresh or self._pending_marker or self._quotes:
            # The block before the table stays, with no height worth seeing.
            self._start(styles.spacer(), styles.text, "table")
            cursor.setBlockCharFormat(_tiny(styles))
        cursor.movePosition(QTextCursor.MoveOperation.End)
        table: QTextTable = cursor.insertTable(len(rows), len(aligns), styles.table(top=gap, indent=self._shown()))
        for r, row in enumerate(rows):
            base = Base(heading=4 if r == 0 else 0)
            char = self._inline.format(base)
            for c, token in enumerate(row[: len(aligns)]):
                cell = table.cellAt(r, c)
                at = cell.firstCursorPosition()
                block = QTextBlockFormat()
                block.setAlignment(aligns[c])
                at.setBlockFormat(block)
                at.setBlockCharFormat(char)
                if r == 0:
                    shade = cell.format()
                    shade.setBackground(styles.inline(code=True).background())
                    cell.setFormat(shade)
                self._inline.write(token.content, self._env, base, at.insertText)
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.setBlockFormat(styles.spacer())
        cursor.setBlockCharFormat(_tiny(styles))
        cursor.setCharFormat(_tiny(styles))
        self._kind, self._fresh, self._in_list, self._last_list = "table", True, bool(self._lists), None


_ALIGN: Final = {
    "text-align:center": Qt.AlignmentFlag.AlignHCenter,
    "text-align:right": Qt.AlignmentFlag.AlignRight,
}


def _tiny(styles: Styles) -> QTextCharFormat:
    made = QTextCharFormat(styles.text)
    font = made.font()
    font.setPixelSize(1)
    made.setFont(font)
    return made
