"""What the window may cost while the engine wants the processor.

The bounds are several times what an idle two-core machine measures (the figures beside them), because tests share it.
"""

from __future__ import annotations

import statistics
import time

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from tests.ui.chat.support import message
from ui.chat.conversation_view import ConversationView
from ui.chat.markdown.highlight import lexer_for

TOKEN = 4  # characters
RATE = 300  # tokens a second


def answer(tokens: int) -> str:
    """Prose with marks, lists, code and tables."""
    prose = "The quick brown fox jumps over the lazy dog while the engine writes a **long** answer with `code` in it. "
    text, number = "", 0
    while len(text) < tokens * TOKEN:
        number += 1
        text += prose * 2 + "\n\n"
        if number % 4 == 0:
            text += "```python\n" + "def f(x):\n    # comment\n    return x + 'abc'\n\n" * 4 + "```\n\n"
        if number % 5 == 0:
            text += "".join(f"- item {k} with some words and **bold**\n" for k in range(6)) + "\n"
        if number % 7 == 0:
            text += "| a | b |\n|---|---|\n" + "".join(f"| {k} | value {k} |\n" for k in range(5)) + "\n"
    return text[: tokens * TOKEN]


@pytest.fixture
def view(qtbot: QtBot) -> ConversationView:
    made = ConversationView()
    qtbot.addWidget(made)
    made.resize(900, 800)
    made.show()
    with qtbot.waitExposed(made):
        pass
    return made


def test_streaming_2000_tokens_costs_little_and_never_stalls(
    view: ConversationView, qapp: QApplication, qtbot: QtBot
) -> None:
    lexer_for("python")
    text = answer(2000)
    view.append_message(message("u", "user", "hi"))
    view.append_message(message("a", "assistant", "", status="streaming"))
    view.item("a")
    costs: list[float] = []
    step = RATE * TOKEN // 25  # what arrives in 40 ms
    for i in range(0, len(text), step):
        view.append_text("a", i, text[i : i + step], i // TOKEN, float(RATE))
        start = time.thread_time()
        view._flush_timer.stop()
        view.flush()
        qapp.processEvents()  # layout and painting
        costs.append(time.thread_time() - start)  # other programs do not count
    mean, worst = statistics.mean(costs), max(costs)
    tenth = len(costs) // 10
    first, last = statistics.median(costs[:tenth]), statistics.median(costs[-tenth:])
    print(f"per update: mean {mean * 1e3:.2f} ms, worst {worst * 1e3:.2f} ms, {first * 1e3:.2f} -> {last * 1e3:.2f} ms")
    shown = view.item("a")
    assert shown is not None
    assert shown.body.markdown_source() == text
    assert mean < 0.012  # 2.0 ms measured
    assert worst < 0.15  # 15 ms measured
    assert last < 6 * first  # the cost does not grow with the length of the answer


def test_the_event_loop_turns_while_an_answer_streams(view: ConversationView, qtbot: QtBot) -> None:
    text = answer(400)
    view.append_message(message("a", "assistant", "", status="streaming"))
    gaps: list[float] = []
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

    heart = QTimer()
    heart.setInterval(2)
    heart.timeout.connect(tick)
    heart.start()
    place = 0

    def feed() -> None:
        nonlocal place
        view.append_text("a", place, text[place : place + 40], place // TOKEN, float(RATE))
        place += 40

    feeder = QTimer()
    feeder.setInterval(33)
    feeder.timeout.connect(feed)
    feeder.start()
    qtbot.waitUntil(lambda: place >= len(text), timeout=10_000)
    feeder.stop()
    heart.stop()
    assert max(gaps) < 0.25  # 15 ms measured; loading a lexer does not stop the loop either


@pytest.mark.parametrize(("count", "bound"), [(200, 1.0), (2000, 1.5)])  # 20 ms and 40 ms measured
def test_long_conversations_open_at_once(view: ConversationView, qapp: QApplication, count: int, bound: float) -> None:
    text = answer(400)
    messages = [
        message(str(i), "assistant" if i % 2 else "user", text if i % 2 else f"Question {i}?") for i in range(count)
    ]
    start = time.perf_counter()
    view.set_branch(messages)
    qapp.processEvents()
    took = time.perf_counter() - start
    print(f"{count} messages: {took * 1e3:.0f} ms")
    assert took < bound
    bar = view.scroll_area().verticalScrollBar()
    frames = []
    for _ in range(60):
        start = time.perf_counter()
        bar.setValue(bar.value() - 120)
        qapp.processEvents()
        frames.append(time.perf_counter() - start)
    print(f"frame while scrolling: mean {statistics.mean(frames) * 1e3:.1f} ms, worst {max(frames) * 1e3:.1f} ms")
    assert statistics.mean(frames) < 0.05  # 2 ms measured
