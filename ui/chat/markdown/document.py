"""A message's Markdown in a QTextDocument, kept up with text that streams in.

While an answer streams, the blocks that can no longer change are left alone; only the last one, the tail, is parsed and
written again. Two cases are cheaper still: plain words at the end of a paragraph are inserted as they come, and code in
an open fence grows line by line without being parsed at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QTextCursor, QTextDocument

from ui.chat.markdown.fence import OpenFence
from ui.chat.markdown.formula_object import FORMULA, OBJECT, formula_format, formula_painter, wanted_of
from ui.chat.markdown.formulas import Wanted, formulas
from ui.chat.markdown.growing import GrowingText, Pieces
from ui.chat.markdown.highlight import HighlightJob, canonical
from ui.chat.markdown.parser import Env, groups, parse_blocks
from ui.chat.markdown.parts import CodeBlock, Mark, Marker, Span
from ui.chat.markdown.sanitise import clean_text, normalise
from ui.chat.markdown.stable import LISTS, Written, find_cut, same_structure
from ui.chat.markdown.styles import styles
from ui.chat.markdown.verbatim import parts_of
from ui.chat.markdown.writer import MAX_BLOCK, Writer

__all__ = ["MarkdownDocument"]

#: A tail longer than this is cut where it stands, so that one endless block cannot make each step dearer.
_MAX_TAIL: Final = 12_000
#: Above this a message is shown as plain text.
_MAX_MARKDOWN: Final = 300_000
#: What is shown of a message at most: 20 times what a long answer has. 10,000 lines take half a second to lay out.
_MAX_SHOWN: Final = 1_000_000
_MAX_LINES: Final = 10_000

# Characters that may begin, end or change a construct when they are added behind plain words.
_SPECIAL: Final = re.compile(r"[\n\\`*_\[\]<>&~|!#=+$\t\r]")
# The same where the tail already has marks that a later character could complete.
_SPECIAL_OPEN: Final = re.compile(r"[\n\\`*_\[\]<>&~|!#=+$\t\r();:]")
_MARKS: Final = re.compile(r"[\[<&*_`~|\\$]")
_PLAIN_END: Final = re.compile(r"[^\W_]|[.,;:'\"?%)(/ -]")
_HAS_LETTER: Final = re.compile(r"[^\W\d_]")


class MarkdownDocument:
    """Keeps `document` equal to the Markdown it is given.

    Args:
        document: emptied, and owned from here on.
        verbatim: text as typed, with only fenced code recognised (the person's own messages).
    """

    def __init__(self, document: QTextDocument, *, verbatim: bool = False) -> None:
        self.document = document
        self.verbatim = verbatim
        self._source = Pieces()
        self._streaming = False
        self._jobs: list[HighlightJob] = []
        document.setUndoRedoEnabled(False)
        document.setDocumentMargin(0)
        self._begin()

    def _begin(self) -> None:
        look = styles()
        # The writer first: clearing the document tells others of its new size, and they ask what is in it.
        self._writer = Writer(self.document, look)
        self.document.clear()
        self.document.setDefaultFont(look.body_font)
        self.document.setIndentWidth(look.indent)
        self.document.documentLayout().registerHandler(FORMULA, formula_painter())
        self.truncated = False
        self._text = GrowingText()  # the source with plain line ends; settled is what is written for good
        self._lines = 0  # of it
        self._mark = Mark()
        self._env: Env = {}
        self._fence: OpenFence | None = None
        self._settled: list[Written] = []  # top-level blocks of the settled text
        self._open: list[Written] = []  # and behind it
        self._calm = False  # plain words may be added without parsing
        self._spaces = ""  # at the end of the source, not shown until a word follows
        self._approximate = False  # the tail was cut, or a reference came after its use: write anew when finished
        self._jobs.clear()

    # what it knows

    @property
    def source(self) -> str:
        """The text as it was given."""
        return self._source.whole()

    @property
    def blank(self) -> bool:
        """Whether it was given no text at all."""
        return len(self._source) == 0

    @property
    def codes(self) -> list[CodeBlock]:
        """The code blocks, first to last."""
        return self._writer.codes

    @property
    def spans(self) -> list[Span]:
        """Quotations and rules."""
        return self._writer.spans

    @property
    def markers(self) -> list[Marker]:
        """Bullets and numbers, first to last."""
        return self._writer.markers

    @property
    def header_height(self) -> int:
        """Height of the line above code, in pixels."""
        return self._writer.styles.header_height

    # changing it

    def set_source(self, text: str) -> None:
        """Shows another text, complete."""
        self._source = Pieces(text)
        self._streaming = False
        self._write_all()

    def restyle(self) -> None:
        """Writes the same text again in the colours and sizes in force."""
        self._write_all()

    def append(self, chunk: str) -> None:
        """Adds text at the end."""
        if not chunk:
            return
        self._source.append(chunk)
        self._streaming = True
        if self.truncated:
            return
        chunk = normalise(chunk)
        self._text.append(chunk)
        self._lines += chunk.count("\n")
        if len(self._text) > _MAX_SHOWN or self._lines > _MAX_LINES:
            self._write_all()
            return
        self._edit(self._write_verbatim if self.verbatim else lambda: self._grow(chunk))
        if self._fence is not None:
            self._fence.colour()

    def finish(self) -> None:
        """No more text follows: what was guessed while streaming is put right, and code gets its final colours."""
        self._streaming = False
        if self.truncated:
            return
        if self._approximate or self._text.whole() != normalise(self.source) or not self._as_parsed_whole():
            self._write_all()
            return
        if self._fence is not None:
            self._fence.finish(self._text.tail)
            self._fence = None
        self._queue_highlights()

    def highlight(self, budget_s: float, *, wait: bool = False) -> bool:
        """Goes on colouring code for about `budget_s` seconds; True when there is nothing left to do.

        A lexer that is not loaded yet is loaded meanwhile, in a thread, unless `wait` says to stop for it.
        """
        while self._jobs:
            if not self._jobs[0].run(budget_s, wait=wait):
                return False
            self._jobs.pop(0)
            budget_s /= 2
        return True

    def formula_ready(self, wanted: Wanted) -> int:
        """A formula has been drawn, or could not be: shows it so.

        Returns:
            A position before which nothing has changed; -1 where this document does not have the formula.
        """
        since = self._writer.pending_formulas.pop(wanted, -1)
        if since < 0:
            return -1
        if formulas().get(wanted) is None:
            self._write_all()
            return 0
        # From the start of the document this took a tenth of the time of a 20,000-token answer's last tenth.
        self._edit(lambda: self._show_drawn(wanted, since))
        return since

    def _show_drawn(self, wanted: Wanted, since: int) -> None:
        cursor = self.document.find(OBJECT, since)
        while not cursor.isNull():
            form = cursor.charFormat()
            if wanted_of(form) == wanted:
                cursor.setCharFormat(formula_format(form, wanted.latex, display=wanted.display))
            cursor = self.document.find(OBJECT, cursor)

    def _edit(self, write: Callable[[], None]) -> None:
        """One change: the document is laid out once, at its end."""
        cursor = QTextCursor(self.document)
        cursor.beginEditBlock()
        try:
            write()
        finally:
            cursor.endEditBlock()

    # writing it all

    def _write_all(self) -> None:
        self._begin()
        text = normalise(self.source)
        shown = _shorten(text)
        self.truncated = len(shown) < len(text)
        self._text = GrowingText(shown)
        self._lines = shown.count("\n")
        self._edit(self._write_text)
        self._queue_highlights()

    def _write_text(self) -> None:
        text = self._text.tail
        if self.verbatim:
            self._write_verbatim()
        elif len(text) > _MAX_MARKDOWN or self.truncated:
            self._writer.plain(text)
            self._text.settle(len(text))
            self._mark = self._writer.mark()
            self._approximate = True
        elif self._streaming:
            self._write_tail()
        else:
            lines = text.split("\n")
            for group in groups(parse_blocks(text, self._env)):
                self._writer.keep()
                self._writer.write(group, self._env, lines)
        if self.truncated:
            say = QCoreApplication.translate
            self._writer.remark(
                say("Markdown", "The rest of this very long message is not shown. Copy takes all of it.")
            )

    def _write_verbatim(self) -> None:
        self._writer.rewind(Mark())
        for part in parts_of(self._text.whole()):
            if part.is_code:
                code = self._writer.open_code(part.language)
                code.pieces.append(part.text)
                self._writer.code_lines(part.text, code, first=True)
                code.last = self.document.lastBlock().position()
            else:
                self._writer.plain(part.text)
        self._queue_highlights()

    def _queue_highlights(self) -> None:
        for code in self.codes:
            if not code.highlighted and code.last >= 0:
                code.highlighted = True
                if canonical(code.language):
                    self._jobs.append(HighlightJob(self.document, code))

    # growing

    def _grow(self, chunk: str) -> None:
        if self._fence is not None:
            self._grow_fence(self._fence)
        elif not self._grow_words(chunk):
            self._write_tail()

    def _grow_words(self, chunk: str) -> bool:
        """Inserts plain words behind plain words; False where the tail must be parsed instead."""
        if not self._calm or self._writer.open_format is None:
            return False
        before = self._text.tail[: -len(chunk)]
        line = before[before.rfind("\n") + 1 :]
        special = _SPECIAL_OPEN if _MARKS.search(before) else _SPECIAL
        if special.search(chunk) or not _PLAIN_END.match(line[-1:]) or not _HAS_LETTER.search(line):
            return False
        words = self._spaces + chunk
        shown = words.rstrip(" ")
        if shown:
            cursor = QTextCursor(self.document)
            cursor.movePosition(QTextCursor.MoveOperation.End)
            if cursor.positionInBlock() + len(shown) > MAX_BLOCK:
                return False
            cursor.insertText(clean_text(shown), self._writer.open_format)
        self._spaces = words[len(shown) :]
        return True

    def _grow_fence(self, fence: OpenFence) -> None:
        taken, closed = fence.take(self._text.tail)
        self._text.settle(taken)
        if closed:
            self._fence = None
            self._mark = self._writer.mark()
            self._queue_highlights()
            self._write_tail()

    def _write_tail(self) -> None:
        """Parses what is not settled, writes it anew, and settles what can no longer change."""
        writer = self._writer
        writer.rewind(self._mark)
        self._calm = False
        self._spaces = ""
        tail = self._text.tail
        base = self._text.stable_lines
        env: Env = {"references": dict(self._env.get("references", {}))}
        found = groups(parse_blocks(tail, env))
        if len(env["references"]) > len(self._env.get("references", {})):
            self._approximate = True
        lines = tail.split("\n")
        cut, item_line = find_cut(found, lines) if found else (0, -1)
        starts = [(group.kind, base + group.first) for group in found]
        self._open = starts[cut:]
        continued = self._mark if self._mark.list_markup else None
        for i, group in enumerate(found):
            if i == cut > 0 and item_line < 0:
                # A list here is another than the one before it; only a paragraph may yet turn out to go on with that.
                mark = writer.mark() if group.kind not in LISTS else replace(writer.mark(), list_markup="")
                self._settle(mark, lines, group.first, env, starts[:cut])
            fence = OpenFence.of(writer, group, lines) if i == len(found) - 1 else None
            if fence is not None:
                self._enter(fence, lines[group.first + 1 :], starts[-1])
                return
            writer.write(
                group, env, lines, continued=continued if i == 0 else None, mark_line=item_line if i == cut else -1
            )
            if i == cut and writer.item_mark is not None:
                self._settle(writer.item_mark, lines, item_line, env, starts[: cut + 1])
                self._open = [(group.kind, base + item_line)]
        if len(self._text.tail) > _MAX_TAIL:
            self._cut_tail()
            return
        self._calm = bool(found) and found[-1].kind in ("paragraph_open", *LISTS)
        self._spaces = tail[len(tail.rstrip(" ")) :]
        if len(self._spaces) > 1:
            self._calm = False  # two spaces before a line end are a line break

    def _settle(self, mark: Mark, lines: list[str], line: int, env: Env, starts: list[Written]) -> None:
        """What lies before `line` of the tail stays as it is; `starts` are the blocks that begin there."""
        self._mark = mark
        self._text.settle(sum(map(len, lines[:line])) + line)
        self._settled += starts
        kept = {k: v for k, v in env.get("references", {}).items() if v.get("map", (0, 0))[1] <= line}
        self._env = {"references": {**self._env.get("references", {}), **kept}}

    def _enter(self, fence: OpenFence, code: list[str], start: Written) -> None:
        """The tail is an open fence from here on."""
        self._settled.append(start)
        self._open = []
        self._text.settle(len(self._text.tail) - sum(map(len, code)) - len(code) + 1)
        self._fence = fence
        self._grow_fence(fence)

    def _cut_tail(self) -> None:
        """Settles most of an overlong tail as if the text ended there; put right when it is finished."""
        self._approximate = True
        tail = self._text.tail
        cut = tail.rfind("\n", 1, len(tail) - 1) + 1 or tail.rfind(" ") + 1 or len(tail)
        self._writer.rewind(self._mark)
        env: Env = {"references": dict(self._env.get("references", {}))}
        lines = tail[:cut].split("\n")
        for i, group in enumerate(groups(parse_blocks(tail[:cut], env))):
            self._writer.write(group, env, lines, continued=self._mark if i == 0 and self._mark.list_markup else None)
        self._mark = self._writer.mark()
        self._text.settle(cut)
        self._write_tail()

    def _as_parsed_whole(self) -> bool:
        """Whether the blocks as they were written one after the other are those of the whole text.

        They are, but for rare cases in which a later line gives an earlier one another meaning. A parse of the blocks
        alone takes 2 ms for a long answer.
        """
        return self.verbatim or same_structure(self._settled + self._open, groups(parse_blocks(self._text.whole(), {})))


def _shorten(text: str) -> str:
    """As much of a text as is shown."""
    if text.count("\n") > _MAX_LINES:
        text = "\n".join(text.split("\n", _MAX_LINES)[:_MAX_LINES])
    return text[:_MAX_SHOWN]
