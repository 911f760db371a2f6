"""Colours for code, by Pygments, within bounds: only languages listed here, only so much text, only so long at a time.

Colours are laid over the text (`QTextLayout.setFormats`), so the document does not change and nothing is laid out anew
but the lines that get colour.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from PySide6.QtGui import QBrush, QColor, QTextCharFormat, QTextDocument, QTextLayout

from ui.theme import Role, current

if TYPE_CHECKING:
    from ui.chat.markdown.parts import CodeBlock

__all__ = ["HighlightJob", "canonical", "colour_lines", "lexer_for", "lexer_ready"]

_MAX_CODE: Final = 60_000  # characters of one block
_MAX_LINE: Final = 2_000  # a longer line (minified code, data) can take a lexer's patterns very long

#: The lexers in use, each with the other words that a fence may say for it. A fixed list: for a name that it does not
#: know, Pygments would look for plug-ins.
_LEXERS: Final = """
    python py python3 py3 pyi
    pycon python-repl
    bash sh shell zsh ksh
    console shell-session terminal
    powershell ps1 pwsh
    batch bat cmd
    javascript js mjs cjs node
    jsx
    typescript ts
    tsx
    json jsonc json5 jsonl
    c h
    cpp c++ cc cxx hpp
    csharp c# cs
    rust rs
    go golang
    java
    kotlin kt kts
    scala
    swift
    objective-c objc
    dart
    ruby rb
    perl pl
    php
    lua
    r
    julia jl
    haskell hs
    elixir ex exs
    erlang erl
    ocaml ml
    fsharp f# fs
    clojure clj
    scheme scm racket
    common-lisp lisp
    zig
    nim
    sql sqlite mysql postgresql plsql
    html htm xhtml vue svelte
    xml svg xsd
    css
    scss
    yaml yml
    toml
    ini cfg conf properties
    docker dockerfile
    make makefile
    cmake
    diff patch
    markdown md
    latex tex
    matlab octave
    fortran f90
    nasm asm assembly
    graphql
    protobuf proto
    nginx
    http
    nix
    vim viml
"""
_LANGUAGES: Final = {word: line.split()[0] for line in _LEXERS.split("\n") for word in line.split()}

_ROLES: Final[tuple[tuple[str, Role], ...]] = (
    ("Token.Keyword.Type", "syntax_type"),
    ("Token.Keyword.Constant", "syntax_number"),
    ("Token.Keyword", "syntax_keyword"),
    ("Token.Operator.Word", "syntax_keyword"),
    ("Token.Name.Function", "syntax_name"),
    ("Token.Name.Tag", "syntax_keyword"),
    ("Token.Name.Attribute", "syntax_name"),
    ("Token.Name.Decorator", "syntax_name"),
    ("Token.Name.Class", "syntax_type"),
    ("Token.Name.Exception", "syntax_type"),
    ("Token.Name.Builtin", "syntax_type"),
    ("Token.Name.Namespace", "syntax_type"),
    ("Token.Name.Variable", "syntax_name"),
    ("Token.Literal.String", "syntax_string"),
    ("Token.Literal.Number", "syntax_number"),
    ("Token.Literal", "syntax_number"),
    ("Token.Comment", "syntax_comment"),
    ("Token.Generic.Inserted", "syntax_string"),
    ("Token.Generic.Deleted", "syntax_keyword"),
    ("Token.Generic.Heading", "syntax_name"),
    ("Token.Generic.Subheading", "syntax_name"),
    ("Token.Generic.Prompt", "syntax_comment"),
)


def canonical(language: str) -> str:
    """The lexer's name for what a fence says, or ""."""
    return _LANGUAGES.get(language.strip().lower().strip("{}."), "")


_lexers: dict[str, Any] = {}
_loading: set[str] = set()


def lexer_for(name: str) -> Any:
    """A Pygments lexer by `canonical` name. The first imports Pygments; each compiles its patterns: 10..90 ms."""
    lexer = _lexers.get(name)
    if lexer is None:
        from pygments.lexers import get_lexer_by_name

        lexer = get_lexer_by_name(name)
        deque(lexer.get_tokens_unprocessed(""), maxlen=0)
        _lexers[name] = lexer
    return lexer


def lexer_ready(name: str) -> bool:
    """Whether `lexer_for` answers at once; if not, the lexer is made in a thread, so that the window does not stall."""
    if name in _lexers:
        return True
    if name not in _loading:
        _loading.add(name)
        threading.Thread(target=_load, args=(name,), name=f"lexer-{name}", daemon=True).start()
    return False


def _load(name: str) -> None:
    try:
        lexer_for(name)
    finally:
        _loading.discard(name)


@lru_cache(maxsize=512)
def _role(token_type: str) -> Role | None:
    for prefix, role in _ROLES:
        if token_type == prefix or token_type.startswith(prefix + "."):
            return role
    return None


@lru_cache(maxsize=64)
def _format(colour: str) -> QTextCharFormat:
    made = QTextCharFormat()
    made.setForeground(QBrush(QColor(colour)))
    return made


def _stretches(name: str, text: str) -> Iterator[tuple[int, int, QTextCharFormat | None]]:
    """(start, end, format) of each token of `text`; None where it keeps the plain colour."""
    palette = current()
    for start, kind, value in lexer_for(name).get_tokens_unprocessed(text):
        role = _role(str(kind))
        yield start, start + len(value), _format(palette.value(role)) if role else None


class HighlightJob:
    """Colours one code block, in slices.

    Positions are those of the document when the job was made: text may be added behind the block, nothing before it.
    """

    def __init__(self, document: QTextDocument, code: CodeBlock, *, first_line: int = 0, skip: int = 0) -> None:
        """`first_line`: lex from this line on; `skip`: and leave that many of its lines as they are."""
        self._document = document
        self._block = document.findBlock(code.first)
        for _ in range(first_line):
            self._block = self._block.next()
        text = code.code
        lines = text.split("\n")[first_line:] if first_line else text.split("\n")
        self._lines = lines
        self._skip = skip
        self._line = 0
        self._line_start = 0
        self._ranges: list[QTextLayout.FormatRange] = []
        name = self._name = canonical(code.language)
        fits = name and not code.broken and len(text) <= _MAX_CODE and max(map(len, lines)) <= _MAX_LINE
        self._empty = not fits
        self._tokens = _stretches(name, "\n".join(lines) + "\n") if fits else iter(())

    def run(self, budget_s: float, *, wait: bool = False) -> bool:
        """Goes on for about `budget_s` seconds; True when all is done. Does nothing while the lexer is being made."""
        if not self._empty and not wait and not lexer_ready(self._name):
            return False
        deadline = time.perf_counter() + budget_s
        dirty_from = -1
        done = True
        for start, end, char in self._tokens:
            while self._line < len(self._lines) and start > self._line_start + len(self._lines[self._line]):
                dirty_from = self._finish_line(dirty_from)
            self._add(start, end, char)
            while self._line < len(self._lines) and end > self._line_start + len(self._lines[self._line]):
                dirty_from = self._finish_line(dirty_from)
                self._add(start, end, char)
            if time.perf_counter() > deadline:
                done = False
                break
        if done:
            while self._ranges and self._line < len(self._lines):
                dirty_from = self._finish_line(dirty_from)
        if dirty_from >= 0:
            last = self._block.position() if self._block.isValid() else self._document.characterCount()
            self._document.markContentsDirty(dirty_from, max(1, last - dirty_from))
        return done

    def _add(self, start: int, end: int, char: QTextCharFormat | None) -> None:
        if char is None or self._line >= len(self._lines):
            return
        begin = max(0, start - self._line_start)
        stop = min(len(self._lines[self._line]), end - self._line_start)
        if stop > begin:
            part = QTextLayout.FormatRange()
            part.start, part.length, part.format = begin, stop - begin, char
            self._ranges.append(part)

    def _finish_line(self, dirty_from: int) -> int:
        block = self._block
        if block.isValid() and self._ranges and self._line >= self._skip:
            block.layout().setFormats(_utf16(self._ranges, self._lines[self._line]))
            if dirty_from < 0:
                dirty_from = block.position()
        self._ranges = []
        self._line_start += len(self._lines[self._line]) + 1
        self._line += 1
        self._block = block.next()
        return dirty_from


def _utf16(ranges: list[QTextLayout.FormatRange], line: str) -> list[QTextLayout.FormatRange]:
    """Qt counts UTF-16 units; characters outside the first plane (emoji) count twice."""
    if line.isascii() or max(line) < "\U00010000":
        return ranges
    units = [0]
    for character in line:
        units.append(units[-1] + (2 if character >= "\U00010000" else 1))
    for part in ranges:
        begin, end = units[part.start], units[part.start + part.length]
        part.start, part.length = begin, end - begin
    return ranges


def colour_lines(document: QTextDocument, code: CodeBlock, done: int, total: int, *, context: int = 12) -> None:
    """Colours lines `done`..`total` of a block that is still growing, lexing a few lines before them for context.

    The lexer starts in the middle, so a long string or comment may look wrong until the block is complete and is
    coloured as a whole.
    """
    name = canonical(code.language)
    if total > done and name and lexer_ready(name):
        start = max(0, done - context)
        HighlightJob(document, code, first_line=start, skip=done - start).run(0.02)
