r"""Formulas in Markdown: `$...$`, `$$...$$`, `\(...\)`, `\[...\]` and `\begin{align}...\end{align}`, as tokens.

A dollar is a formula's only where it can hardly be money: pandoc's rules, and no letter or digit on its outer sides. A
formula of its own lines has no empty line in it, so that a dollar sign that is never closed takes no more than its
paragraph, also while the text streams in.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

__all__ = ["MATHS_BLOCK", "MATHS_INLINE", "add_maths"]

#: types of the tokens; `content` is the LaTeX, `markup` what stood around it
MATHS_INLINE: Final = "maths_inline"
MATHS_BLOCK: Final = "maths_block"

_MAX_LENGTH: Final = 2000
_MAX_LINES: Final = 60
_BEGIN: Final = re.compile(r"\\begin\{((?:align|equation|gather|multline|eqnarray)\*?)\}")
_PAIRS: Final = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}


def add_maths(markdown: MarkdownIt) -> None:
    """Teaches a parser the two kinds of token."""
    markdown.inline.ruler.before("escape", MATHS_INLINE, _inline)
    may_end = ["paragraph", "reference", "blockquote", "list"]
    markdown.block.ruler.before("fence", MATHS_BLOCK, _block, {"alt": may_end})


def _inline(state: StateInline, silent: bool) -> bool:
    src, start = state.src, state.pos
    if src[start] not in "$\\":
        return False
    pair = src[start : start + 2]
    closing = _PAIRS.get(pair)
    if closing is not None:
        end = src.find(closing, start + 2, start + _MAX_LENGTH)
        content, after = src[start + 2 : end], end + 2
        found = end >= 0 and any(character.isalnum() for character in content)  # and not brackets that are escaped
    elif src[start] == "$":
        end = _dollar(src, start)
        content, after = src[start + 1 : end], end + 1
        found = end >= 0
    else:
        return False
    if not found:
        return False
    if not silent:
        token = state.push(MATHS_INLINE, "", 0)
        token.content = content.strip()
        token.markup = pair if closing is not None else "$"
    state.pos = after
    return True


def _dollar(src: str, start: int) -> int:
    """Where the dollar stands that closes the one at `start`; -1 where that one is money or a name."""
    if start and (src[start - 1].isalnum() or src[start - 1] == "\\"):
        return -1
    first = src[start + 1 : start + 2]
    if not first or first.isspace():
        return -1
    end = src.find("$", start + 1, start + _MAX_LENGTH)
    while end > 0 and src[end - 1] == "\\":
        end = src.find("$", end + 1, start + _MAX_LENGTH)
    if end < 0 or src[end - 1].isspace() or src[end + 1 : end + 2].isalnum():
        return -1
    return end


def _block(state: StateBlock, start: int, last: int, silent: bool) -> bool:
    if state.is_code_block(start):
        return False
    line = _line(state, start)
    opening, closing = line[:2], _PAIRS.get(line[:2], "")
    begin = _BEGIN.match(line)
    if begin is not None:
        opening, closing = "", f"\\end{{{begin[1]}}}"
    elif opening not in ("$$", "\\["):
        return False
    end = start
    rest = line[len(opening) :]
    while not rest.endswith(closing) or (end == start and not rest[: -len(closing)].strip()):
        end += 1
        if end >= last or end - start > _MAX_LINES or (state.sCount[end] < state.blkIndent):
            return False
        rest = _line(state, end)
        if not rest:
            return False
    if silent:
        return True
    whole = "\n".join(_line(state, number) for number in range(start, end + 1))
    token = state.push(MATHS_BLOCK, "", 0)
    token.content = (whole[len(opening) : -len(closing)] if opening else whole).strip()
    token.markup = opening or "\\begin"
    token.map = [start, end + 1]
    token.block = True
    state.line = end + 1
    return len(token.content) <= _MAX_LENGTH


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()
