"""A message's Markdown in a QTextDocument, kept up with text that streams in.

While an answer streams, the blocks that can no longer change are left alone; only the last one, the tail, is parsed and
written again. Two cases are cheaper still: plain words at the end of a paragraph are inserted as they come, and code in
an open fence grows line by line without being parsed at all.
"""

from __future__ import annotations

import re
from typing import Final

from PySide6.QtGui import QTextCursor, QTextDocument

from ui.chat.markdown.highlight import HighlightJob, canonical, colour_lines
from ui.chat.markdown.parser import Env, Group, groups, parse_blocks
from ui.chat.markdown.parts import CodeBlock, Mark, Marker, Span
from ui.chat.markdown.sanitise import clean_text, normalise
from ui.chat.markdown.styles import styles
from ui.chat.markdown.writer import Writer

__all__ = ["MarkdownDocument"]

#: A tail longer than this is cut where it stands, so that one endless block cannot make each step dearer.
_MAX_TAIL: Final = 12_000
#: Above this a message is shown as plain text, and above the second only its beginning is shown.
_MAX_MARKDOWN: Final = 400_000
_MAX_SHOWN: Final = 1_500_000

# Characters that may begin, end or change a construct when they are added behind plain words.
_SPECIAL: Final = re.compile(r"[\n\\`*_\[\]<>&~|!#=+\t\r]")
# The same where the tail already has marks that a later character could complete.
_SPECIAL_OPEN: Final = re.compile(r"[\n\\`*_\[\]<>&~|!#=+\t\r();:]")
_MARKS: Final = re.compile(r"[\[<&*_`~|\\]")
_PLAIN_END: Final = re.compile(r"[^\W_]|[.,;:'\"?%)(/ -]")
_HAS_LETTER: Final = re.compile(r"[^\W\d_]")
_ORDERED_MARKUP: Final = (".", ")")


class _OpenFence:
    """A fence that has not been closed yet: its code grows at the end of the document."""

    def __init__(self, code: CodeBlock, markup: str) -> None:
        self.code = code
        self.closing = re.compile(rf" {{0,3}}{re.escape(markup[0])}{{{len(markup)},}}[ \t]*$")
        self.maybe_closing = re.compile(rf" {{0,3}}{re.escape(markup[0])}*[ \t]*$")
        self.empty = True  # no line is in the document yet
        self.shown = 0  # characters of the unfinished line that are
        self.lines = 0  # finished lines
        self.coloured = 0


class MarkdownDocument:
    """Keeps `document` equal to the Markdown it is given.

    Args:
        document: emptied, and owned from here on.
        verbatim: text as typed, with only fenced code recognised (the person's own messages).
    """

    def __init__(self, document: QTextDocument, *, verbatim: bool = False) -> None:
        self.document = document
        self.verbatim = verbatim
        self.source = ""
        self.truncated = False
        document.setUndoRedoEnabled(False)
        document.setDocumentMargin(0)
        self._jobs: list[HighlightJob] = []
        self._begin()

    def _begin(self) -> None:
        look = styles()
        self.document.clear()
        self.document.setDefaultFont(look.body_font)
        self.document.setIndentWidth(look.indent)
        self._writer = Writer(self.document, look)
        self._text = ""  # the source with plain line ends
        self._stable = 0  # characters of it that are written for good
        self._mark = Mark()
        self._env: Env = {}
        self._fence: _OpenFence | None = None
        self._calm = False  # plain words may be added without parsing
        self._spaces = ""  # at the end of the source, not shown until a word follows
        self._approximate = False  # the tail was cut, or a reference came after its use: write anew when finished
        self._jobs.clear()

    # what it knows

    @property
    def codes(self) -> list[CodeBlock]:
        """The code blocks, first to last."""
        return self._writer.codes

    @property
    def spans(self) -> list[Span]:
        """Quotations and rules."""
        return self._writer.spans

    @property
    def header_height(self) -> int:
        """Height of the line above code, in pixels."""
        return self._writer.styles.header_height

    @property
    def markers(self) -> list[Marker]:
        """Bullets and numbers, first to last."""
        return self._writer.markers

    # changing it

    def set_source(self, text: str) -> None:
        """Shows another text, complete."""
        self.source = text
        self._write_all()

    def restyle(self) -> None:
        """Writes the same text again in the colours and sizes in force."""
        fence = self._fence is not None or self._stable > 0
        self._write_all(streaming=fence)

    def append(self, chunk: str) -> None:
        """Adds text at the end."""
        if not chunk:
            return
        self.source += chunk
        self._text += normalise(chunk)
        cursor = QTextCursor(self.document)
        cursor.beginEditBlock()
        try:
            if self.verbatim:
                self._write_verbatim()
            else:
                self._grow(normalise(chunk))
        finally:
            cursor.endEditBlock()
        if self._fence is not None:
            self._colour_open_fence(self._fence)

    def finish(self) -> None:
        """No more text follows: what was guessed while streaming is put right, and code gets its final colours."""
        if self._approximate or self._text != normalise(self.source):
            self._write_all()
            return
        if self._fence is not None:
            # What may have been the beginning of the closing fence belongs to the code, if it was none.
            self._show_partial(self._fence, held_too=True)
            self._close_fence(self._fence)
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

    # writing it all

    def _write_all(self, *, streaming: bool = False) -> None:
        self._begin()
        text = normalise(self.source)
        self.truncated = len(text) > _MAX_SHOWN
        if self.truncated:
            text = text[:_MAX_SHOWN]
        self._text = text
        cursor = QTextCursor(self.document)
        cursor.beginEditBlock()
        try:
            if self.verbatim:
                self._write_verbatim()
            elif len(text) > _MAX_MARKDOWN:
                self._writer.plain(text)
                self._stable = len(text)
                self._mark = self._writer.mark()
            elif streaming:
                self._write_tail()
            else:
                lines = text.split("\n")
                for group in groups(parse_blocks(text, self._env)):
                    self._writer.write(group, self._env, lines)
        finally:
            cursor.endEditBlock()
        self._queue_highlights()

    def _write_verbatim(self) -> None:
        self._writer.rewind(Mark())
        for is_code, language, text in _verbatim_parts(self._text):
            if is_code:
                code = self._writer.open_code(language)
                code.pieces.append(text)
                self._writer.code_lines(text, code, first=True)
                code.last = self.document.lastBlock().position()
            else:
                self._writer.plain(text)
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
        before = self._text[self._stable : len(self._text) - len(chunk)]
        line = before[before.rfind("\n") + 1 :]
        special = _SPECIAL_OPEN if _MARKS.search(before) else _SPECIAL
        if special.search(chunk) or not _PLAIN_END.match(line[-1:]) or not _HAS_LETTER.search(line):
            return False
        words = self._spaces + chunk
        shown = words.rstrip(" ")
        self._spaces = words[len(shown) :]
        if shown:
            cursor = QTextCursor(self.document)
            cursor.movePosition(QTextCursor.MoveOperation.End)
            if cursor.positionInBlock() + len(shown) > 8000:
                return False
            cursor.insertText(clean_text(shown), self._writer.open_format)
        return True

    def _write_tail(self) -> None:
        tail = self._text[self._stable :]
        if len(tail) > _MAX_TAIL:
            self._cut_tail(tail)
            tail = self._text[self._stable :]
        writer = self._writer
        writer.rewind(self._mark)
        self._calm = False
        self._spaces = ""
        env: Env = {"references": dict(self._env.get("references", {}))}
        tokens = parse_blocks(tail, env)
        found = groups(tokens)
        if len(env["references"]) > len(self._env.get("references", {})):
            self._approximate = True
        if not found:
            return
        lines = tail.split("\n")
        cut, item_line = _cut(found, lines)
        continued = self._mark if self._mark.list_markup else None
        for i, group in enumerate(found):
            if i == cut > 0 and item_line < 0:
                self._settle(writer.mark(), lines, group.first, env)
            last = i == len(found) - 1
            if last and group.kind == "fence" and self._enter_fence(group, lines):
                return
            writer.write(
                group, env, lines, continued=continued if i == 0 else None, mark_line=item_line if i == cut else -1
            )
            if i == cut and writer.item_mark is not None:
                self._settle(writer.item_mark, lines, item_line, env)
        end = self._text[-1:]
        self._calm = found[-1].kind in ("paragraph_open", "bullet_list_open", "ordered_list_open")
        if self._calm and end == " ":
            self._spaces = self._text[len(self._text.rstrip(" ")) :]
            if len(self._spaces) > 1:
                self._calm = False  # two spaces before a line end are a line break

    def _settle(self, mark: Mark, lines: list[str], line: int, env: Env) -> None:
        """What lies before `line` of the tail stays as it is."""
        self._mark = mark
        self._stable += sum(map(len, lines[:line])) + line
        kept = {k: v for k, v in env.get("references", {}).items() if v.get("map", (0, 0))[1] <= line}
        self._env = {"references": {**self._env.get("references", {}), **kept}}

    def _cut_tail(self, tail: str) -> None:
        """Writes most of an overlong tail for good, as if it ended there."""
        self._approximate = True
        cut = tail.rfind("\n", 1, len(tail) - 1) + 1 or tail.rfind(" ") + 1 or len(tail)
        self._writer.rewind(self._mark)
        env: Env = {"references": dict(self._env.get("references", {}))}
        lines = tail[:cut].split("\n")
        for i, group in enumerate(groups(parse_blocks(tail[:cut], env))):
            self._writer.write(group, env, lines, continued=self._mark if i == 0 and self._mark.list_markup else None)
        self._mark = self._writer.mark()
        self._stable += cut

    # an open fence

    def _enter_fence(self, group: Group, lines: list[str]) -> bool:
        """Whether the last block is a fence that is open: then its code is written, and grows from here on."""
        token = group.tokens[0]
        opening = lines[group.first]
        if group.first + 1 >= len(lines) or opening[:1] == " ":
            return False
        closing = re.compile(rf" {{0,3}}{re.escape(token.markup[0])}{{{len(token.markup)},}}[ \t]*$")
        if any(closing.match(line) for line in lines[group.first + 1 :]):
            return False
        info = token.info.strip().split(maxsplit=1)
        fence = _OpenFence(self._writer.open_code(info[0] if info else ""), token.markup)
        # `_settle` may have moved the stable part up to this block already; count from the end instead.
        rest = sum(map(len, lines[group.first + 1 :])) + len(lines) - group.first - 2
        self._stable = len(self._text) - rest
        self._fence = fence
        self._grow_fence(fence)
        return True

    def _grow_fence(self, fence: _OpenFence) -> None:
        """Takes the text after `_stable`, which is the beginning of a line of code."""
        lines = self._text[self._stable :].split("\n")
        complete: list[str] = []
        for line in lines[:-1]:
            self._stable += len(line) + 1
            if fence.closing.match(line):
                self._add_code(fence, complete)
                self._close_fence(fence)
                self._fence = None
                self._mark = self._writer.mark()
                self._write_tail()
                return
            complete.append(line)
        self._add_code(fence, complete)
        self._show_partial(fence)

    def _add_code(self, fence: _OpenFence, lines: list[str]) -> None:
        if not lines:
            return
        text = "\n".join(lines)
        fence.code.pieces.append(text + "\n")
        self._insert_code(fence, text[fence.shown :])
        fence.shown = 0
        fence.lines += len(lines)

    def _insert_code(self, fence: _OpenFence, text: str) -> None:
        """Adds code to the unfinished line; a new line is begun where the last one was finished."""
        if fence.empty:
            self._writer.code_lines(text, fence.code, first=True)
            fence.empty = False
        elif fence.shown == 0:
            self._writer.code_lines("\n" + text, fence.code, first=False)
        else:
            self._writer.code_lines(text, fence.code, first=False)

    def _show_partial(self, fence: _OpenFence, *, held_too: bool = False) -> None:
        line = self._text[self._stable :]
        if held_too and fence.closing.match(line):
            return
        if not line.strip() or (not held_too and fence.maybe_closing.match(line)):
            return  # it may become the closing fence
        if len(line) > fence.shown:
            self._insert_code(fence, line[fence.shown :])
            fence.shown = len(line)
        if held_too:
            fence.code.pieces.append(line)

    def _close_fence(self, fence: _OpenFence) -> None:
        if fence.empty:
            self._writer.code_lines("", fence.code, first=True)
        fence.code.last = self.document.lastBlock().position()
        self._queue_highlights()

    def _colour_open_fence(self, fence: _OpenFence) -> None:
        if fence.lines > fence.coloured and not fence.empty:
            colour_lines(self.document, fence.code, fence.coloured, fence.lines)
            fence.coloured = fence.lines


def _cut(found: list[Group], lines: list[str]) -> tuple[int, int]:
    """Up to where a tail is final: (index of the first block that is not, line of its first open list item or -1).

    The last block may still change. So may the place where it begins, as long as its first line is unfinished and
    follows another block directly: "a", then "#" looks like a heading until "#b" turns it into more of the paragraph.
    """
    index = len(found) - 1
    while index > 0 and not _final(found[index].first, lines):
        index -= 1
    group = found[index]
    if group.kind in ("bullet_list_open", "ordered_list_open"):
        starts = [t.map[0] for t in group.tokens if t.type == "list_item_open" and t.level == 1 and t.map]
        for line in reversed(starts[1:]):
            if _final(line, lines):
                return index, line
    return index, -1


def _final(line: int, lines: list[str]) -> bool:
    return line < len(lines) - 1 or (line > 0 and not lines[line - 1].strip())


_FENCE_LINE: Final = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$")


def _verbatim_parts(text: str) -> list[tuple[bool, str, str]]:
    """(is code, language, text) of a message as typed."""
    parts: list[tuple[bool, str, str]] = []
    plain: list[str] = []
    lines = text.split("\n")
    i = 0
    while i < len(lines):
        opening = _FENCE_LINE.match(lines[i])
        if opening is None:
            plain.append(lines[i])
            i += 1
            continue
        mark = opening[1]
        closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        end = next((j for j in range(i + 1, len(lines)) if closing.match(lines[j])), -1)
        if end < 0:
            plain.append(lines[i])
            i += 1
            continue
        if any(line.strip() for line in plain):
            parts.append((False, "", "\n".join(plain).strip("\n")))
        plain = []
        parts.append((True, opening[2], "\n".join(lines[i + 1 : end])))
        i = end + 1
    if any(line.strip() for line in plain) or not parts:
        parts.append((False, "", "\n".join(plain).strip("\n")))
    return parts
