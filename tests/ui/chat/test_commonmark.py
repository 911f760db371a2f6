"""The examples of the CommonMark specification: what stands in our document beside what its HTML says.

The specification is not part of this repository (its licence is another); the variable NUTSHELL_COMMONMARK names its
`spec.txt`. Raw HTML is shown as text by design, so examples of it are counted apart; pictures are links.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PySide6.QtGui import QTextBlock

from tests.ui.chat.support import rendered
from ui.chat.markdown.styles import CODE_HEADER, CODE_LINE, KIND, RULE, SPACER
from ui.chat.markdown.verbatim import closing_line

SPEC = os.environ.get("NUTSHELL_COMMONMARK", "")
pytestmark = [
    pytest.mark.usefixtures("qapp"),
    pytest.mark.skipif(not Path(SPEC).is_file(), reason="NUTSHELL_COMMONMARK names no spec.txt"),
]
_EXAMPLE = re.compile(r"^`{32} example\n(.*?)^\.\n(.*?)^`{32}$", re.MULTILINE | re.DOTALL)


@dataclass
class Leaf:
    """A block of text: what it is, how deep in lists and quotations, its text, and the letters under each mark."""

    kind: str
    depth: int
    text: str = ""
    marks: dict[str, str] = field(default_factory=dict)

    def mark(self, name: str, text: str) -> None:
        if text.strip():
            self.marks[name] = self.marks.get(name, "") + "".join(text.split())


class Expected(HTMLParser):
    """The specification's HTML as leaves."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.leaves: list[Leaf] = []
        self.depth = 0
        self._open: list[tuple[str, str]] = []
        self._fresh = True
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("ul", "ol", "blockquote"):
            self.depth += 1
            self._fresh = True
        elif tag in ("p", "h1", "h2", "h3", "h4", "h5", "h6", "pre"):
            self.leaves.append(Leaf(tag, self.depth))
            self._fresh = False
        elif tag == "li":
            self._fresh = True
        elif tag == "hr":
            self.leaves.append(Leaf("hr", self.depth))
            self._fresh = True
        elif tag == "br":
            self._add("\n")
        elif tag == "img":
            self._add(f"Image: {values['alt']}" if values.get("alt") else "Image", image=True)
        elif tag in ("em", "strong", "a") or (tag == "code" and self.leaves[-1].kind != "pre"):
            self._open.append((tag, values.get("href") or ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("ul", "ol", "blockquote"):
            self.depth -= 1
            self._fresh = True
        elif tag in ("p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "li"):
            self._fresh = True
        elif self._open and self._open[-1][0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._fresh and not data.strip():
            return
        self._add(data)

    def _add(self, text: str, *, image: bool = False) -> None:
        if self._fresh or not self.leaves:
            self.leaves.append(Leaf("p", self.depth))
            self._fresh = False
        leaf = self.leaves[-1]
        leaf.text += text
        # a link to nowhere is text; marks in marks of the same kind look like one
        for mark in {"a" if image else "", *(mark for mark, href in self._open if mark != "a" or href)} - {""}:
            leaf.mark(mark, text)


def ours(text: str) -> list[Leaf]:
    """What the document has, in the same form."""
    made = rendered(text)
    leaves: list[Leaf] = []
    block = made.document.begin()
    while block.isValid():
        form = block.blockFormat()
        kind, depth = form.intProperty(KIND), form.indent() // 2
        if kind == CODE_HEADER:
            leaves.append(Leaf("pre", depth, ""))
            leaves[-1].text = "\0"
        elif kind == CODE_LINE:
            leaf = leaves[-1]
            leaf.text = block.text() if leaf.text == "\0" else f"{leaf.text}\n{block.text()}"
        elif kind == RULE:
            leaves.append(Leaf("hr", depth))
        elif kind != SPACER and block.text():
            name = f"h{form.headingLevel()}" if form.headingLevel() else "p"
            leaves.append(_leaf(name, depth, block))
        block = block.next()
    for leaf in leaves:
        leaf.text = leaf.text.replace("\0", "").replace("\u2028", "\n")
    return leaves


def _leaf(kind: str, depth: int, block: QTextBlock) -> Leaf:
    leaf = Leaf(kind, depth, block.text())
    at = block.begin()
    while not at.atEnd():
        form = at.fragment().charFormat()
        for on, mark in (
            (form.font().italic(), "em"),
            (form.font().weight() >= 600 and kind == "p", "strong"),
            (bool(form.anchorHref()) or form.isAnchor(), "a"),
            (form.font().pixelSize() == 13 and not kind.startswith("h"), "code"),
        ):
            if on:
                leaf.mark(mark, at.fragment().text())
        at += 1
    return leaf


def _all_tokens(source: str) -> list[Token]:
    tokens = MarkdownIt("commonmark").parse(source)
    return tokens + [inner for token in tokens for inner in token.children or []]


def same(expected: list[Leaf], found: list[Leaf]) -> bool:
    if [(one.kind, one.depth) for one in expected] != [(one.kind, one.depth) for one in found]:
        return False
    for want, got in zip(expected, found, strict=True):
        if want.kind == "pre":
            if want.text.rstrip("\n") != got.text.rstrip("\n"):
                return False
        elif want.text.split() != got.text.split():
            return False
        names = ("em", "strong", "a", "code") if want.kind == "p" else ("em", "a")  # a heading is bold anyway
        if any(want.marks.get(name) != got.marks.get(name) for name in names):
            return False
    return True


def test_examples_keep_their_structure() -> None:
    examples = _EXAMPLE.findall(Path(SPEC).read_text(encoding="utf-8"))
    assert len(examples) > 600
    failures, raw, kept = [], 0, 0
    for number, (source, html) in enumerate(examples, 1):
        source, html = source.replace("→", "\t"), html.replace("→", "\t")
        if any(token.type.startswith("html") for token in _all_tokens(source)):
            raw += 1
            continue
        expected = Expected(html)
        if same(expected.leaves, ours(source)):
            kept += 1
        else:
            failures.append(number)
    share = kept / (len(examples) - raw)
    print(f"{kept} of {len(examples) - raw} keep their structure ({share:.1%}); raw HTML in {raw}; not: {failures}")
    assert share >= 0.95


def test_the_closing_line_is_that_of_the_specification() -> None:
    assert closing_line("```").match("   ````")
