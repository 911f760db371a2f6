"""The text inside a block: emphasis, code, links and pictures as formatted stretches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QTextCharFormat

from ui.chat.markdown.formula_object import OBJECT, formula_format, wanted_of
from ui.chat.markdown.formulas import Wanted, formulas
from ui.chat.markdown.maths_rules import MATHS_INLINE
from ui.chat.markdown.parser import Env, parse_inline
from ui.chat.markdown.sanitise import clean_code, clean_text
from ui.chat.markdown.styles import Styles

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["Base", "InlineWriter"]

LINE_SEPARATOR: Final = "\u2028"
_OPENS: Final = {"strong_open": "bold", "em_open": "italic", "s_open": "struck"}
_CLOSES: Final = {"strong_close": "bold", "em_close": "italic", "s_close": "struck"}
Insert = Callable[[str, QTextCharFormat], object]


@dataclass(frozen=True, slots=True)
class Base:
    """What the block gives to the text in it."""

    heading: int = 0
    quote: bool = False


class InlineWriter:
    """Writes the content of `inline` tokens."""

    def __init__(self, styles: Styles) -> None:
        self._styles = styles
        #: the format of the last stretch if it was plain text that more text may follow, else None
        self.open_format: QTextCharFormat | None = None
        #: formulas that are being drawn, with a document position before which none of them stands
        self.pending: dict[Wanted, int] = {}
        #: that position for what is written next
        self.since = 0

    def format(self, base: Base) -> QTextCharFormat:
        """Plain text in such a block."""
        return self._styles.inline(heading=base.heading, quote=base.quote)

    def write(self, content: str, env: Env, base: Base, insert: Insert) -> None:
        """Parses `content` and hands it to `insert`, stretch by stretch."""
        depth = {"bold": 0, "italic": 0, "struck": 0}
        href: list[str] = []
        self.open_format = self.format(base)
        for token in parse_inline(content, env):
            kind = token.type
            if kind in _OPENS:
                depth[_OPENS[kind]] += 1
                continue
            if kind in _CLOSES:
                depth[_CLOSES[kind]] -= 1
                self.open_format = None
                continue
            if kind == "link_open":
                href.append(str(token.attrs.get("href", "")))
                continue
            if kind == "link_close":
                if href:
                    href.pop()
                self.open_format = None
                continue
            if kind == MATHS_INLINE:
                around = self._styles.inline(
                    heading=base.heading, quote=base.quote, bold=depth["bold"] > 0, italic=depth["italic"] > 0
                )
                insert(*self.formula(token, around))
                self.open_format = None
                continue
            text, link = self._piece(token)
            if not text:
                continue
            char = self._styles.inline(
                heading=base.heading, quote=base.quote, bold=depth["bold"] > 0, italic=depth["italic"] > 0,
                struck=depth["struck"] > 0, code=kind == "code_inline",
            )  # fmt: skip
            target = href[-1] if href else link
            if target:
                char = self._styles.link(char, target)
            insert(text, char)
            self.open_format = char if kind == "text" and not target else None

    def formula(self, token: Token, around: QTextCharFormat) -> tuple[str, QTextCharFormat]:
        """A formula as one character, or as it was written where it cannot be drawn, among text of format `around`."""
        latex = clean_code(token.content)
        made = formula_format(around, latex, display=token.markup not in ("$", "\\("))
        wanted = wanted_of(made)
        if not formulas().knows(wanted):
            self.pending.setdefault(wanted, self.since)
        elif formulas().get(wanted) is None:
            closing = {"\\(": "\\)", "\\[": "\\]", "\\begin": ""}.get(token.markup, token.markup)
            opening = "" if token.markup == "\\begin" else token.markup
            shown = f"{opening}{latex}{closing}".replace("\n", LINE_SEPARATOR)
            return shown, self._styles.inline(quote=False, code=True)
        return OBJECT, made

    @staticmethod
    def _piece(token: Token) -> tuple[str, str]:
        """The text of a token and the address it carries by itself, if it does."""
        kind = token.type
        if kind == "softbreak":
            return " ", ""
        if kind == "hardbreak":
            return LINE_SEPARATOR, ""
        if kind == "code_inline":
            return clean_code(token.content), ""
        if kind == "image":
            # Pictures are never loaded: an address in one could carry words of the chat to a server.
            alt = clean_text(_plain(token.children or [])).strip()
            label = (
                QCoreApplication.translate("Markdown", "Image: {0}").format(alt)
                if alt
                else (QCoreApplication.translate("Markdown", "Image"))
            )
            return label, str(token.attrs.get("src", ""))
        return clean_text(token.content), ""


def _plain(tokens: Sequence[Token]) -> str:
    """The words of a picture's description, without its marks."""
    return "".join(
        " " if token.type in ("softbreak", "hardbreak") else _plain(token.children) if token.children else token.content
        for token in tokens
    )
