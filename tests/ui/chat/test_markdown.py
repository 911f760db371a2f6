from __future__ import annotations

import random

import pytest
from PySide6.QtGui import QTextDocument, QTextTable
from PySide6.QtWidgets import QApplication

from tests.ui.chat.support import blocks, pieces, rendered, state, streamed, texts
from ui.chat.markdown import MarkdownDocument
from ui.theme import DARK, LIGHT, apply_theme

pytestmark = pytest.mark.usefixtures("qapp")


def tables(document: QTextDocument) -> list[QTextTable]:
    return [frame for frame in document.rootFrame().childFrames() if isinstance(frame, QTextTable)]


# structure


def test_paragraphs_emphasis_and_code() -> None:
    made = rendered("a *b* **c** ~~d~~ `e`\nf\n\ng")
    assert texts(made.document) == ["a b c d e f", "g"]
    by_text = {p[0]: p for p in pieces(made.document)}
    assert by_text["b"][2] is True
    assert by_text["c"][1] == 600
    assert by_text["d"][3] is True
    assert by_text["e"][5] == 13


def test_headings_are_modest_and_marked() -> None:
    made = rendered("# One\n\ntext\n\n#### Four")
    assert [(b[0], b[3]) for b in blocks(made.document)] == [("One", 1), ("text", 0), ("Four", 4)]
    assert [p[5] for p in pieces(made.document)] == [18, 14, 14]


def test_nested_lists_have_their_marks_and_indents() -> None:
    made = rendered("3. a\n4. b\n   - c\n     - d\n5. e\n")
    marks = {made.document.findBlock(m.position).text(): m.text for m in made.markers}
    assert marks == {"a": "3.", "b": "4.", "c": "•", "d": "◦", "e": "5."}
    assert [b[2] for b in blocks(made.document)] == [2, 2, 4, 6, 2]


def test_quotes_rules_and_hard_breaks() -> None:
    made = rendered("> a\n> > b\n\n---\n\nc  \nd")
    assert [s.kind for s in made.spans] == ["quote", "quote", "rule"]
    assert texts(made.document)[-1] == "c\u2028d"


def test_tables_are_tables() -> None:
    made = rendered("x\n\n| a | b |\n|:--|--:|\n| 1 | **2** |\n\ny")
    (table,) = tables(made.document)
    assert (table.rows(), table.columns()) == (2, 2)
    cell = table.cellAt(1, 1).firstCursorPosition()
    assert cell.block().text() == "2"
    assert texts(made.document)[-1] == "y"


def test_links_are_anchors_and_pictures_are_links() -> None:
    made = rendered("[a](https://x.org/1) ![b](https://x.org/2.png) ![](https://x.org/3.png) <https://x.org/4>")
    links = {p[0]: p[4] for p in pieces(made.document) if p[4]}
    assert links["a"] == "https://x.org/1"
    assert links["Image: b"] == "https://x.org/2.png"
    assert links["Image"] == "https://x.org/3.png"
    assert links["https://x.org/4"] == "https://x.org/4"
    assert "\ufffc" not in made.document.toPlainText()  # no picture object in the document


def test_a_picture_is_named_by_the_words_of_its_description() -> None:
    made = rendered("![a *b* ![c](x)](https://x.org/p.png)")
    assert texts(made.document) == ["Image: a b c"]


def test_bare_addresses_are_not_turned_into_links() -> None:
    assert not [p for p in pieces(rendered("see http://evil.example now").document) if p[4]]


def test_code_is_kept_exactly() -> None:
    code = "def f():\n\n\treturn '<b>'  # *x*\n\n"
    made = rendered(f"before\n\n```python title=x\n{code}```\nafter")
    (block,) = made.codes
    assert (block.language, block.code) == ("python", code[:-1])
    assert "\treturn '<b>'  # *x*" in texts(made.document)


def test_verbatim_keeps_what_was_typed() -> None:
    made = MarkdownDocument(QTextDocument(), verbatim=True)
    made.set_source("# not a heading\n  * x\n```py\na = 1\n```\nend")
    assert texts(made.document) == ["# not a heading", "  * x", "py", "a = 1", "end"]
    assert made.codes[0].code == "a = 1"


def test_an_open_fence_of_the_user_is_text() -> None:
    made = MarkdownDocument(QTextDocument(), verbatim=True)
    made.set_source("```\n" * 2001)
    assert len(made.codes) == 1000


# no way in for HTML


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=https://x.org/a.png onerror=alert(1)>",
        "a <b>bold</b> word",
        "<!-- comment -->",
        "<div>\n\n*x*\n\n</div>",
    ],
)
def test_html_is_text(text: str) -> None:
    shown = rendered(text).document.toPlainText()
    assert "<" in shown
    assert ">" in shown


@pytest.mark.parametrize("href", ["javascript:alert(1)", "vbscript:x", "file:///etc/passwd", "data:text/html,x"])
def test_dangerous_addresses_do_not_become_links(href: str) -> None:
    made = rendered(f"[click]({href}) and ![p]({href}) and <{href}>")
    assert not [p[4] for p in pieces(made.document) if p[4]]


def test_direction_tricks_are_made_visible() -> None:
    made = rendered("evil \u202egpj.exe\n\n```\nif a: \u2066x\u2069\n```")
    plain = made.document.toPlainText()
    assert "\u202e" not in plain
    assert "\u2066" not in plain
    assert plain.count("\ufffd") == 3
    assert made.codes[0].code == "if a: \u2066x\u2069"  # copied as it is


def test_marks_that_qt_keeps_for_itself_do_no_harm() -> None:
    made = rendered("a\ufdd0b\ufdd1c\ufffcd\u2029e\x00f\ud800g")
    assert len(texts(made.document)) == 1


# streaming

PIECES = [
    "# Head\n", "word ", "more words here ", "**bold** ", "*it*", "`code`", "\n", "\n\n", "- item ", "\n- item two",
    "\n  - nested", "\n1. one", "\n2. two", "\n\n> quote\n> more", "\n```py\n", "x = 1\n", "def f(): pass\n", "```\n",
    "\n```", "~~~\n", "[link](http://a.b/c)", "![img](http://x/y.png)", "| a | b |\n|---|---|\n| 1 | 2 |\n",
    "| 3 | 4 |\n", "---\n", "\n***\n", "<b>raw</b>", "&amp;", "\\*", "émoji 😀 ", "שלום ", "    indented\n", "#",
    "==\n", "1", "2.", "10) ten\n", "_u_", "~~s~~", "  \nbr", "a", "\t", "- ", "-", "`", "*", "\n\n\n",
    "\n[foo]: http://x/y\n", "[foo]",
]  # fmt: skip


def random_stream(seed: int) -> list[str]:
    chance = random.Random(seed)
    text = "".join(chance.choice(PIECES) for _ in range(chance.randint(1, 25)))
    chunks = []
    while text:
        size = chance.choice([1, 1, 2, 3, 5, 8, 20])
        chunks.append(text[:size])
        text = text[size:]
    return chunks


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_a_streamed_answer_ends_as_if_it_had_come_at_once(start: int) -> None:
    for seed in range(start, start + 100):
        chunks = random_stream(seed)
        assert state(streamed(chunks)) == state(rendered("".join(chunks))), (seed, chunks)


def test_seeds_that_once_failed() -> None:
    for seed in (11, 298, 396, 1785, 2862, 4343):
        chunks = random_stream(seed)
        assert state(streamed(chunks)) == state(rendered("".join(chunks))), (seed, chunks)


def test_what_is_stable_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ui.chat.markdown.document as module

    seen: list[int] = []
    parse = module.parse_blocks
    monkeypatch.setattr(module, "parse_blocks", lambda text, env: (seen.append(len(text)), parse(text, env))[1])
    made = MarkdownDocument(QTextDocument())
    for number in range(200):
        made.append(f"Paragraph {number} with *some* words in it.\n\n")
    assert max(seen) < 200  # never more than about two paragraphs
    assert len(texts(made.document)) == 200


def test_an_open_fence_is_code_at_once_and_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ui.chat.markdown.document as module

    made = MarkdownDocument(QTextDocument())
    made.append("Look:\n\n```py")
    assert [c.language for c in made.codes] == ["py"]
    made.append("thon\n")
    monkeypatch.setattr(module, "parse_blocks", lambda text, env: pytest.fail("parsed again"))
    for number in range(50):
        made.append(f"x{number} = {number}\n")
    assert made.codes[0].code.count("\n") == 49
    assert texts(made.document)[-1] == "x49 = 49"


def test_the_closing_fence_never_shows_as_code() -> None:
    made = MarkdownDocument(QTextDocument())
    made.append("```\ncode\n")
    for mark in "```":
        made.append(mark)
        assert "`" not in made.document.toPlainText()
    made.append("\nafter")
    assert texts(made.document) == ["code", "code", "after"]


def test_a_reference_that_comes_late_is_found_in_the_end() -> None:
    made = streamed(["see [foo] ", "here\n\n", "next\n\n", "[foo]: https://x.org/1\n"])
    assert [p[4] for p in pieces(made.document) if p[4]] == ["https://x.org/1"]


def test_line_ends_of_other_systems() -> None:
    assert state(streamed(["a\r", "\nb\r\n\r\n", "c"])) == state(rendered("a\nb\n\nc"))


def test_an_answer_can_be_continued() -> None:
    made = rendered("First part of a sente")
    made.append("nce that goes on.\n\nAnd *more*.")
    made.finish()
    assert state(made) == state(rendered("First part of a sentence that goes on.\n\nAnd *more*."))


# themes


def test_a_change_of_theme_writes_the_same_text_in_other_colours(qapp: QApplication) -> None:
    made = rendered("a [b](http://c.d)\n\n```py\nx = 1\n```")
    before = state(made)
    assert made.document.begin().begin().fragment().charFormat().foreground().color().name().upper() == LIGHT.text
    apply_theme(qapp, "dark")
    made.restyle()
    assert state(made) == before
    assert made.document.begin().begin().fragment().charFormat().foreground().color().name().upper() == DARK.text


def test_a_change_of_theme_in_mid_stream_loses_nothing(qapp: QApplication) -> None:
    made = MarkdownDocument(QTextDocument())
    made.append("a\n\n```py\nx = 1\ny")
    apply_theme(qapp, "dark")
    made.restyle()
    made.append(" = 2\n```\n\nend")
    made.finish()
    assert state(made) == state(rendered("a\n\n```py\nx = 1\ny = 2\n```\n\nend"))


# code colours


def colours_of(made: MarkdownDocument, text: str) -> dict[str, str]:
    """What each coloured stretch of the line `text` looks like."""
    block = made.document.begin()
    while block.isValid() and block.text() != text:
        block = block.next()
    units = text.encode("utf-16-le")
    return {
        units[r.start * 2 : (r.start + r.length) * 2].decode("utf-16-le"): r.format.foreground().color().name().upper()
        for r in block.layout().formats()
    }


def test_code_is_coloured_by_role() -> None:
    made = rendered("```python\ndef f(): # hi\n    return 'x' + 1\n```")
    assert made.highlight(5.0, wait=True)
    first = colours_of(made, "def f(): # hi")
    assert first["def"] == LIGHT.syntax_keyword
    assert first["f"] == LIGHT.syntax_name
    assert first["# hi"] == LIGHT.syntax_comment
    assert colours_of(made, "    return 'x' + 1")["1"] == LIGHT.syntax_number


def test_colours_count_as_qt_does_behind_an_emoji() -> None:
    made = rendered("```python\nx = '😀' + 1\n```")
    assert made.highlight(5.0, wait=True)
    assert colours_of(made, "x = '😀' + 1")["1"] == LIGHT.syntax_number


@pytest.mark.parametrize("language", ["", "no-such-language", "../../etc", "a" * 5000])
def test_other_languages_stay_plain(language: str) -> None:
    made = rendered(f"```{language}\nx = 1\n```")
    assert made.highlight(5.0, wait=True)
    assert colours_of(made, "x = 1") == {}
