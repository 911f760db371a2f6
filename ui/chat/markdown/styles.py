"""Text formats from the colour roles and the type scale, made once per palette, zoom and wrapping of code."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from PySide6.QtCore import Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QTextBlockFormat,
    QTextCharFormat,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTableFormat,
)

from ui.theme import Palette, current, metrics
from ui.widgets.dialogs import visible_address

__all__ = ["CODE_HEADER", "CODE_LINE", "KIND", "RULE", "SPACER", "Styles", "styles"]

#: QTextBlockFormat property: what a block is, where it is more than text
KIND: Final = QTextFormat.Property.UserProperty.value + 1
CODE_HEADER: Final = 1
CODE_LINE: Final = 2
RULE: Final = 3
SPACER: Final = 4

_HEADINGS: Final = {1: 18, 2: 16, 3: 15}  # px at 100 %; deeper ones are as large as the text
_LINE_TYPE_FIXED: Final = QTextBlockFormat.LineHeightTypes.FixedHeight.value
# MinimumHeight and not Fixed: a line that falls back to a taller face (emoji, Devanagari) is not cut.
_LINE_TYPE_MINIMUM: Final = QTextBlockFormat.LineHeightTypes.MinimumHeight.value
_CODE_LINE_HEIGHT: Final = 1.45


class Styles:
    """Formats for one palette at one zoom; `wrap_code` breaks lines of code that are too long."""

    def __init__(self, palette: Palette, *, wrap_code: bool) -> None:
        self.palette = palette
        self.wrap_code = wrap_code
        self.body_font = metrics.font("body")
        self.code_font = metrics.font("code")
        self.indent = metrics.px(11)  # one unit of indentation; a list level takes two
        self.code_pad = metrics.m
        self.header_height = metrics.px(30)
        self.body_line = round(metrics.font_px("body") * metrics.line_height_pct / 100)
        self.code_line = round(metrics.font_px("code") * _CODE_LINE_HEIGHT)

        self.text = self._char(self.body_font, palette.text)
        self.quote = self._char(self.body_font, palette.muted)
        self.code = self._char(self.code_font, palette.text)
        self.code_label = self._char(metrics.font("secondary"), palette.muted)
        self._cache: dict[tuple[int, bool, bool, bool, bool, bool], QTextCharFormat] = {}

    @staticmethod
    def _char(font: QFont, colour: str) -> QTextCharFormat:
        made = QTextCharFormat()
        made.setFont(font)
        made.setForeground(QBrush(QColor(colour)))
        return made

    def inline(
        self, *, heading: int = 0, quote: bool = False, bold: bool = False, italic: bool = False, struck: bool = False,
        code: bool = False,
    ) -> QTextCharFormat:  # fmt: skip
        """The format of a stretch of text. Shared: copy it before changing it."""
        key = (heading, quote, bold, italic, struck, code)
        made = self._cache.get(key)
        if made is None:
            made = self._cache[key] = self._make(*key)
        return made

    def _make(self, heading: int, quote: bool, bold: bool, italic: bool, struck: bool, code: bool) -> QTextCharFormat:
        made = QTextCharFormat(self.quote if quote else self.text)
        font = QFont(self.code_font if code else self.body_font)
        if heading:
            scale = _HEADINGS.get(heading, metrics.font_px("body") / metrics.zoom)
            font.setPixelSize(metrics.px(scale - (1 if code else 0)))
        if bold or heading:
            font.setWeight(QFont.Weight.DemiBold)
        font.setItalic(italic)
        font.setStrikeOut(struck)
        made.setFont(font)
        if code:
            made.setBackground(QBrush(QColor(self.palette.raised)))
        return made

    def link(self, base: QTextCharFormat, href: str) -> QTextCharFormat:
        """`base` as a link to `href`; the whole address is its tooltip."""
        made = QTextCharFormat(base)
        made.setAnchor(True)
        made.setAnchorHref(href)
        made.setForeground(QBrush(QColor(self.palette.link)))
        made.setFontUnderline(True)
        made.setToolTip(visible_address(href)[:500])
        return made

    def block(self, *, top: int, indent: int = 0, heading: int = 0) -> QTextBlockFormat:
        """A paragraph with `top` pixels above it."""
        made = QTextBlockFormat()
        made.setTopMargin(top)
        made.setIndent(indent)
        line = self.body_line
        if heading:
            line = round(metrics.px(_HEADINGS.get(heading, 14)) * 1.35)
            made.setHeadingLevel(heading)
        made.setLineHeight(line, _LINE_TYPE_MINIMUM)
        return made

    def code_header(self, *, top: int, indent: int) -> QTextBlockFormat:
        """The line above code that names the language."""
        made = QTextBlockFormat()
        made.setTopMargin(top)
        made.setIndent(indent)
        made.setLeftMargin(self.code_pad)
        made.setRightMargin(self.code_pad)
        made.setLineHeight(self.header_height, _LINE_TYPE_FIXED)
        made.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        made.setProperty(KIND, CODE_HEADER)
        return made

    def code_block(self, *, indent: int) -> QTextBlockFormat:
        """A line of code. Code runs from left to right whatever surrounds it."""
        made = QTextBlockFormat()
        made.setIndent(indent)
        made.setLeftMargin(self.code_pad)
        made.setRightMargin(self.code_pad)
        made.setLineHeight(self.code_line, _LINE_TYPE_MINIMUM)
        made.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        made.setNonBreakableLines(not self.wrap_code)
        made.setProperty(KIND, CODE_LINE)
        return made

    def rule(self, *, top: int, indent: int) -> QTextBlockFormat:
        """An empty line through which a hairline is painted."""
        made = QTextBlockFormat()
        made.setTopMargin(top)
        made.setIndent(indent)
        made.setLineHeight(metrics.px(3), _LINE_TYPE_FIXED)
        made.setProperty(KIND, RULE)
        return made

    def spacer(self) -> QTextBlockFormat:
        """The empty block that QTextDocument keeps on each side of a table, with next to no height."""
        made = QTextBlockFormat()
        made.setLineHeight(1, _LINE_TYPE_FIXED)
        made.setProperty(KIND, SPACER)
        return made

    def table(self, *, top: int, indent: int) -> QTextTableFormat:
        """Hairlines between cells."""
        made = QTextTableFormat()
        made.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
        made.setBorder(1)
        made.setBorderBrush(QBrush(QColor(self.palette.line)))
        made.setBorderCollapse(True)
        made.setCellPadding(metrics.px(6))
        made.setCellSpacing(0)
        made.setTopMargin(top)
        # Qt takes no margin above a block that follows a table.
        made.setBottomMargin(metrics.px(12))
        made.setLeftMargin(indent * self.indent)
        made.setWidth(QTextLength(QTextLength.Type.VariableLength, 0))
        return made


@lru_cache(maxsize=4)
def _styles(palette: Palette, zoom: float, wrap_code: bool) -> Styles:
    return Styles(palette, wrap_code=wrap_code)


def styles() -> Styles:
    """The formats for the palette, the zoom and the wrapping in force."""
    return _styles(current(), metrics.zoom, metrics.wrap_code)
