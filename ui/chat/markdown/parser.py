"""Markdown to tokens: CommonMark with tables, strikethrough and formulas; HTML stays text; links are not guessed.

Blocks and the text inside them are parsed apart, because only the blocks are needed to find where the stable part of a
streaming answer ends, and because a hostile line is then recognised before time is spent on it.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ui.chat.markdown.maths_rules import add_maths

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["MAX_LEVEL", "Env", "Group", "groups", "parse_blocks", "parse_inline", "warm_up"]

Env = MutableMapping[str, Any]

#: Token levels; a list takes two, a quote one. markdown-it drops what lies deeper; the writer then shows the source.
MAX_LEVEL: Final = 24
#: Brackets in one paragraph. Each open one starts a search for its end: 2,000 cost 15 ms, 16,000 cost 120 ms.
_MAX_BRACKETS: Final = 600
#: Other marks in one paragraph, where the cost is linear: 16,000 cost 40 ms.
_MAX_MARKS: Final = 4000


class Group:
    """One top-level block: its tokens and the lines it covers, `first` inclusive and `last` exclusive."""

    __slots__ = ("first", "last", "tokens")

    def __init__(self, tokens: Sequence[Token], first: int, last: int) -> None:
        self.tokens = tokens
        self.first = first
        self.last = last

    @property
    def kind(self) -> str:
        """The type of its first token: "paragraph_open", "fence", ..."""
        return self.tokens[0].type


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt  # 40 ms: the window shows itself first

    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False, "maxNesting": MAX_LEVEL})
    made.enable(["table", "strikethrough"])
    add_maths(made)
    made.disable(["inline", "text_join"])
    return made


def warm_up() -> None:
    """Imports the parser, so that the first message does not wait for it."""
    _markdown()


def parse_blocks(text: str, env: Env) -> list[Token]:
    """Block tokens; the `inline` ones have no children yet. `env` receives and gives link references."""
    return _markdown().parse(text, env)


def parse_inline(content: str, env: Env) -> list[Token]:
    """The tokens inside a paragraph; one text token where the marks are so many that parsing would take long."""
    if content.count("[") > _MAX_BRACKETS or sum(map(content.count, "*_`~<&$")) > _MAX_MARKS:
        from markdown_it.token import Token

        return [Token("text", "", 0, content=content)]
    found: list[Token] = []
    markdown = _markdown()
    markdown.inline.parse(content, markdown, env, found)
    return found


def groups(tokens: Sequence[Token]) -> list[Group]:
    """The top-level blocks of a token list, in order."""
    found: list[Group] = []
    start = 0
    for i, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            lines = tokens[start].map or [0, 0]
            found.append(Group(tokens[start : i + 1], lines[0], lines[1]))
            start = i + 1
    return found
