"""Markdown in a QTextDocument, safely and while it streams."""

from __future__ import annotations

from ui.chat.markdown.document import MarkdownDocument
from ui.chat.markdown.parser import warm_up
from ui.chat.markdown.parts import CodeBlock, Marker, Span

__all__ = ["CodeBlock", "MarkdownDocument", "Marker", "Span", "warm_up"]
