"""A fence that is still open: its code is shown as code at once, and grows line by line without being parsed."""

from __future__ import annotations

import re

from ui.chat.markdown.highlight import colour_lines
from ui.chat.markdown.parser import Group
from ui.chat.markdown.parts import CodeBlock
from ui.chat.markdown.verbatim import closing_line
from ui.chat.markdown.writer import Writer

__all__ = ["OpenFence"]


class OpenFence:
    """Writes code at the end of a document as its text arrives."""

    def __init__(self, writer: Writer, info: str, markup: str) -> None:
        words = info.strip().split(maxsplit=1)
        self.code: CodeBlock = writer.open_code(words[0] if words else "")
        self._writer = writer
        self._closing = closing_line(markup)
        self._maybe_closing = re.compile(rf" {{0,3}}{re.escape(markup[0])}*[ \t]*$")
        self._empty = True  # no line of code is in the document yet
        self._shown = 0  # characters of the unfinished line that are
        self._lines = 0  # finished lines
        self._coloured = 0

    @classmethod
    def of(cls, writer: Writer, group: Group, lines: list[str]) -> OpenFence | None:
        """The fence of a last block `group`, its header written; None where it is closed, indented, or just begun."""
        token = group.tokens[0]
        if token.type != "fence" or group.first + 1 >= len(lines) or lines[group.first][:1] == " ":
            return None
        closing = closing_line(token.markup)
        if any(closing.match(line) for line in lines[group.first + 1 :]):
            return None
        return cls(writer, token.info, token.markup)

    def take(self, text: str) -> tuple[int, bool]:
        """Shows more code. `text` begins with the unfinished line.

        Returns:
            How many characters are finished lines, and whether the last of them closed the fence.
        """
        *finished, rest = text.split("\n")
        taken = 0
        complete: list[str] = []
        for line in finished:
            taken += len(line) + 1
            if self._closing.match(line):
                self._add(complete)
                self._close()
                return taken, True
            complete.append(line)
        self._add(complete)
        # It may become the closing fence; then it never was code.
        if rest.strip() and not self._maybe_closing.match(rest):
            self._show_rest(rest)
        return taken, False

    def finish(self, rest: str) -> None:
        """The text ends with the unfinished line `rest`, without a closing fence or with one that has no line end."""
        if rest.strip() and not self._closing.match(rest):
            self._show_rest(rest)
            self.code.pieces.append(rest)
        self._close()

    def colour(self) -> None:
        """Colours the lines finished since the last call."""
        if self._lines > self._coloured:
            colour_lines(self._writer.document, self.code, self._coloured, self._lines)
            self._coloured = self._lines

    def _add(self, lines: list[str]) -> None:
        if lines:
            text = "\n".join(lines)
            self.code.pieces.append(text + "\n")
            self._insert(text[self._shown :])
            self._shown = 0
            self._lines += len(lines)

    def _show_rest(self, line: str) -> None:
        if len(line) > self._shown:
            self._insert(line[self._shown :])
            self._shown = len(line)

    def _insert(self, text: str) -> None:
        if self._empty:
            self._writer.code_lines(text, self.code, first=True)
            self._empty = False
        elif self._shown == 0:
            self._writer.code_lines("\n" + text, self.code, first=False)
        else:
            self._writer.code_lines(text, self.code, first=False)

    def _close(self) -> None:
        if self._empty:
            self._writer.code_lines("", self.code, first=True)
        self.code.last = self._writer.document.lastBlock().position()
