"""LaTeX in Markdown: what is a formula and what is money, its place on the line, and LaTeX that cannot be read."""

from __future__ import annotations

import pytest
from PySide6.QtGui import QImage, QPainter, QTextDocument, QTextFormat
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.ui.chat.support import rendered, state, streamed, texts
from ui.chat.body import MessageBody
from ui.chat.markdown.formula_object import FORMULA, wanted_of
from ui.chat.markdown.formulas import Formula, Wanted, formulas

pytestmark = pytest.mark.usefixtures("qapp")


def found(document: QTextDocument) -> list[tuple[str, bool]]:
    """(LaTeX, on lines of its own) of each formula."""
    cursor, made = document.find("\ufffc", 0), []
    while not cursor.isNull():
        assert cursor.charFormat().objectType() == FORMULA
        wanted = wanted_of(cursor.charFormat())
        made.append((wanted.latex, wanted.display))
        cursor = document.find("\ufffc", cursor)
    return made


def draw_all(document: QTextDocument) -> None:
    cursor = document.find("\ufffc", 0)
    while not cursor.isNull():
        formulas().draw_now(wanted_of(cursor.charFormat()))
        cursor = document.find("\ufffc", cursor)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("so $x^2$ is", [("x^2", False)]),
        ("so \\(x^2\\) is", [("x^2", False)]),
        ("so $$x^2$$ is", [("x^2", True)]),
        ("$$\nx^2\n+ 1\n$$", [("x^2\n+ 1", True)]),
        ("$$ x^2 $$", [("x^2", True)]),
        ("\\[\nx^2\n\\]", [("x^2", True)]),
        ("text\n$$\nx\n$$\nmore", [("x", True)]),
        ("- item\n  $$\n  x\n  $$\n- b $y$", [("x", True), ("y", False)]),
        ("> $$\n> x\n> $$", [("x", True)]),
        ("| a |\n|---|\n| $x$ |", [("x", False)]),
        ("\\begin{align}\na &= b\n\\end{align}", [("\\begin{align}\na &= b\n\\end{align}", True)]),
        ("# Of $x$", [("x", False)]),
        ("**$x$, $y$**", [("x", False), ("y", False)]),
        ("$a_1$ and *b* and $c_1$", [("a_1", False), ("c_1", False)]),
    ],
)
def test_what_is_a_formula(text: str, wanted: list[tuple[str, bool]]) -> None:
    assert found(rendered(text).document) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "it costs $5 and $10", "US$100 and US$200", "from $100-$200", "a $ b $ c", "echo $HOME and $PATH", "\\$x\\$",
        "`$x$`", "$$\n\nx\n\n$$", "$$", "$", "$$\nnever closed", "100$ or 200$", "\\( open", "$x$2 or so",
        "```\n$x$\n```", "\\[\\]\\(\\)", "    $$\n    x\n    $$",
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert found(rendered(text).document) == []


TEXT = "The sum $\\sum_k k$ is \\(x\\), it costs $5.\n\n"
TEXT += "$$\n\\int_0^1 x\\,dx\n$$\n\n- a $b_1$ c\n- d\n\n\\[ y \\]\n\nend $z$."


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_streamed_formulas_are_those_of_the_whole_text(step: int) -> None:
    parts = [TEXT[i : i + step] for i in range(0, len(TEXT), step)]
    draw_all(rendered(TEXT).document)
    made, whole = streamed(parts), rendered(TEXT)
    assert state(made) == state(whole)
    assert found(made.document) == found(whole.document)


def test_a_formula_takes_its_place_when_it_is_drawn(qtbot: QtBot, qapp: QApplication) -> None:
    body = MessageBody(width=600)
    qtbot.addWidget(body)
    latex = "\\frac{q_1 q_2}{4 \\pi r^2}"
    with qtbot.waitSignal(formulas().ready, timeout=20_000):
        body.set_source(f"a\n\n$$\n{latex}\n$$\n\nb")
    qtbot.waitUntil(lambda: not body.markdown._writer.pending_formulas, timeout=5000)
    cursor = body.document().find("\ufffc", 0)
    formula = formulas().get(wanted_of(cursor.charFormat()))
    assert isinstance(formula, Formula)
    line = cursor.block().layout().lineAt(0)
    # the fraction's bar is on the text's axis: as much of it hangs below the line as the drawing says
    assert abs(line.descent() - formula.depth) < 1.5
    assert line.ascent() >= formula.ascent - 1.5
    picture = QImage(600, 200, QImage.Format.Format_RGB32)
    picture.fill(0xFFFFFFFF)
    painter = QPainter(picture)
    body.document().drawContents(painter)
    painter.end()
    top = int(cursor.block().layout().position().y())
    middle = range(200, 400)
    rows = [y for y in range(top, top + int(line.height())) if any(picture.pixel(x, y) != 0xFFFFFFFF for x in middle)]
    assert len(rows) > formula.ascent


@pytest.mark.parametrize("latex", ["\\frac{", "{" * 60 + "}" * 60, "\\text{日本}", "\\left( x", "x + " * 600])
def test_what_cannot_be_drawn_is_shown_as_it_was_written(latex: str) -> None:
    made = rendered(f"a ${latex}$ b")
    for wanted in list(made._writer.pending_formulas):
        if formulas().draw_now(wanted) is None:
            assert made.formula_ready(wanted) == 0
            assert texts(made.document) == [f"a ${latex}$ b"]
            assert not found(made.document)


@pytest.mark.parametrize("whole", [False, True], ids=["streamed", "whole"])
def test_a_drawn_formula_is_looked_for_only_where_it_can_stand(whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = "".join(f"So $a_{{{n}}}$ is.\n\n" for n in range(40))
    draw_all(rendered(before).document)
    # Seen first behind an open emphasis, which goes when it is closed: what follows moves towards the start.
    last = f"And **so $z_{{{whole:d}}}^9$ is** it, $z_{{{whole:d}}}^9$."
    made = rendered(before + last) if whole else streamed([before, *last])
    (wanted,) = made._writer.pending_formulas
    formulas().draw_now(wanted)
    looked: list[QTextFormat] = []

    def counted(form: QTextFormat) -> Wanted:
        looked.append(form)
        return wanted_of(form)

    monkeypatch.setattr("ui.chat.markdown.document.wanted_of", counted)
    since = made.formula_ready(wanted)
    assert since > len("So x is.") * 38
    assert len(looked) <= 3
    assert made.formula_ready(wanted) == -1
    drawn = rendered(before + last)
    assert not drawn._writer.pending_formulas
    assert state(made) == state(drawn)


def test_buttons_follow_the_code_behind_a_drawn_formula(qtbot: QtBot) -> None:
    body = MessageBody(width=600)
    qtbot.addWidget(body)
    code = "```python\nx\n```\n\n"
    with qtbot.waitSignal(formulas().ready, timeout=20_000):
        body.set_source(f"{code}So $\\frac{{\\frac{{a}}{{b}}}}{{\\frac{{c}}{{d_{{77}}}}}}$ is\n\n{code}{code}")
    qtbot.waitUntil(lambda: not body.markdown._writer.pending_formulas, timeout=5000)
    for block, button in zip(body.markdown.codes, body.code_buttons(), strict=True):
        header = body.document().findBlock(block.header).layout().position().y()
        assert abs(button.y() - header) < body.markdown.header_height


def test_a_wide_formula_is_made_to_fit() -> None:
    made = rendered("$$\n" + " + ".join(f"x_{{{n}}}" for n in range(24)) + "\n$$")
    draw_all(made.document)
    for wanted in list(made._writer.pending_formulas):
        made.formula_ready(wanted)
    for width in (500, 900):
        made.document.setTextWidth(width)
        assert 0.6 * width < made.document.begin().layout().lineAt(0).naturalTextWidth() <= width


def test_copying_gives_the_latex_back(qtbot: QtBot) -> None:
    body = MessageBody(width=600)
    qtbot.addWidget(body)
    body.set_source("so $x^2$ and $x^2$ is\n\n$$\ny\n$$")
    cursor = body.textCursor()
    cursor.select(cursor.SelectionType.Document)
    body.setTextCursor(cursor)
    assert body.createMimeDataFromSelection().text() == "so $x^2$ and $x^2$ is\n$$y$$"


def test_many_dollars_cost_little() -> None:
    import time

    begun = time.perf_counter()
    rendered("$a " * 20_000)
    rendered("$$ " * 20_000)
    rendered("\\( " * 20_000)
    assert time.perf_counter() - begun < 5  # 0.3 s measured


def test_draw_now_knows_the_measures() -> None:
    formula = formulas().draw_now(Wanted("x", False, 14, "#000000"))
    assert formula is not None
    assert 5 < formula.width < 20
    assert 5 < formula.ascent < 16
    assert formula.renderer().isValid()
