"""Text that is meant to hurt: it may look plain, it may be cut short, but it must come back soon and lose nothing.

The bounds are far above what an idle machine needs (see the figures beside them), because tests share the machine.
"""

from __future__ import annotations

import time

import pytest
from pytestqt.qtbot import QtBot

from ui.chat.body import MessageBody

WIDTH = 500

#: name -> (text, seconds to show it at once, seconds of the worst of 200 steps). An idle two-core machine needs a
#: tenth of them or less, but for those near a bound of ours (10,000 lines, 800 cells).
CASES: dict[str, tuple[str, float, float]] = {
    "one line of 1 MB in words": ("word " * 200_000, 3, 0.5),
    "one line of 1 MB without a space": ("x" * 1_000_000, 5, 0.5),
    "1 MB of line ends": ("\n" * 1_000_000, 3, 1.5),
    "100,000 short paragraphs": ("a\n\n" * 100_000, 3, 1.5),
    "5,000 quotes deep": (">" * 5000 + " deep", 1, 0.5),
    "3,000 lists deep": ("- " * 3000 + "deep", 1, 0.5),
    "lists that step in": ("".join("  " * i + "- x\n" for i in range(200)), 1, 0.5),
    "open brackets": ("[" * 50_000, 1, 0.5),
    "open emphasis": ("*a " * 30_000, 2, 1),
    "underscores": ("_a" * 30_000, 2, 1),
    "pictures": ("![a](data:image/png;base64,x) " * 3000, 2, 1),
    "links": ("[a](http://b.c) " * 5000, 2, 1),
    "20,000 rows of a table": ("| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 20_000, 4, 3),
    "800 columns": ("|" + " a |" * 800 + "\n|" + "---|" * 800 + "\n|" + " b |" * 800, 1, 1),
    "overrides of direction": ("\u202e evil \u2066" * 20_000, 2, 0.5),
    "script tags": ("<script>" * 20_000, 2, 0.5),
    "entities": ("&amp;" * 30_000, 2, 1),
    "1 MB of code": ("```py\n" + "x = 'abc'  # comment\n" * 50_000, 4, 3),
    "a line of 400 KB of code": ("```js\n" + "a=1;" * 100_000 + "\n```", 2, 0.5),
    "3,000 fences": ("```py\nx\n```\n" * 3000, 8, 1),
    "stacked accents": (("a" + "\u0301" * 50) * 3000, 2, 0.5),
    "references": ("".join(f"[r{i}]: http://x/{i}\n" for i in range(3000)) + "[r1]" * 300, 3, 1.5),
}


@pytest.mark.parametrize("name", CASES)
def test_it_comes_back_soon(name: str, qtbot: QtBot) -> None:
    text, at_once, per_step = CASES[name]
    body = MessageBody(width=WIDTH)
    qtbot.addWidget(body)
    start = time.perf_counter()
    body.set_source(text)
    body.fit(WIDTH)
    assert time.perf_counter() - start < at_once
    assert body.markdown_source() == text

    body = MessageBody(width=WIDTH)
    qtbot.addWidget(body)
    step = max(200, len(text) // 200)
    worst = 0.0
    for i in range(0, len(text), step):
        start = time.perf_counter()
        body.append(text[i : i + step])
        body.fit(WIDTH)
        worst = max(worst, time.perf_counter() - start)
    assert worst < per_step
    body.finish()
    assert body.markdown_source() == text


def test_what_is_too_deep_to_be_parsed_is_shown_as_it_is(qtbot: QtBot) -> None:
    body = MessageBody(width=WIDTH)
    qtbot.addWidget(body)
    body.set_source("> " * 100 + "the very end")
    assert "the very end" in body.toPlainText()
    body.set_source("- " * 100 + "the very end")
    assert "the very end" in body.toPlainText()


def test_a_message_that_is_cut_says_so(qtbot: QtBot) -> None:
    body = MessageBody(width=WIDTH)
    qtbot.addWidget(body)
    body.set_source("a\n" * 30_000)
    assert body.toPlainText().endswith("The rest of this very long message is not shown. Copy takes all of it.")
    assert body.document().blockCount() < 10_010


def test_nothing_is_ever_loaded(qtbot: QtBot) -> None:
    body = MessageBody(width=WIDTH)
    qtbot.addWidget(body)
    body.set_source("![a](https://x.org/a.png) ![b](file:///etc/passwd) ![c](qrc:/x)")
    body.show()
    body.grab()
    assert "\ufffc" not in body.toPlainText()
    for kind in range(1, 5):
        assert body.loadResource(kind, "file:///etc/passwd") is None
    body.close()
