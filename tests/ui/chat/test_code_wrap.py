"""Lines of code that are too long are broken, or go on and are moved sideways: by a bar, the wheel, the cursor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QTextCursor, QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from ui.chat.body import MessageBody
from ui.theme import apply_theme, metrics

_LONG = "x = [" + ", ".join(str(number) for number in range(100, 180)) + "]"
_TEXT = f"before\n\n```py\nshort = 1\n{_LONG}\n```\n\nbehind"


@pytest.fixture
def unwrapped(qapp: QApplication) -> Iterator[None]:
    apply_theme(qapp, "light", wrap_code=False)
    yield
    apply_theme(qapp, "light", wrap_code=True)


@pytest.fixture
def body(qtbot: QtBot, unwrapped: None) -> MessageBody:
    made = MessageBody(width=400)
    qtbot.addWidget(made)
    made.set_source(_TEXT)
    made.fit(400)
    made.show()
    return made


def _line(body: MessageBody, number: int) -> float:
    """Where a line of code begins, after painting."""
    body.grab()
    block = body.document().findBlock(body.markdown.codes[0].first)
    for _ in range(number):
        block = block.next()
    assert block.layout().lineCount() == 1
    return block.layout().lineAt(0).x()


def _wheel(x: int, y: int, at: QPointF, keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> QWheelEvent:
    return QWheelEvent(
        at, at, QPoint(), QPoint(x, y), Qt.MouseButton.NoButton, keys, Qt.ScrollPhase.NoScrollPhase, False
    )


def _in_code(body: MessageBody) -> QPointF:
    place = QTextCursor(body.document())
    place.setPosition(body.markdown.codes[0].first + 2)
    return QPointF(100, body.cursorRect(place).center().y())


def test_a_long_line_is_one_line_and_lower_than_a_wrapped_one(body: MessageBody, qapp: QApplication) -> None:
    height = body.fit(400)
    apply_theme(qapp, "light", wrap_code=True)
    body.restyle()
    assert body.fit(400) > height
    assert body.code_scroll_bars() == []
    block = body.document().findBlock(body.markdown.codes[0].first).next()
    assert block.layout().lineCount() > 1


def test_the_bar_moves_every_line_of_its_block_and_nothing_else(body: MessageBody) -> None:
    (bar,) = body.code_scroll_bars()
    assert bar.maximum() > 0
    rest = _line(body, 0)
    outside = body.document().firstBlock().layout().lineAt(0).x()
    bar.setValue(120)
    assert (_line(body, 0), _line(body, 1)) == (rest - 120, rest - 120)
    assert body.document().firstBlock().layout().lineAt(0).x() == outside
    bar.setValue(bar.maximum())
    end = body.document().findBlock(body.markdown.codes[0].first).next().layout().lineAt(0)
    body.grab()
    assert 400 - 2 * metrics.m <= end.x() + end.naturalTextWidth() <= 400


def test_lines_stay_moved_when_colours_come_and_the_width_changes(body: MessageBody) -> None:
    (bar,) = body.code_scroll_bars()
    rest = _line(body, 1)
    bar.setValue(80)
    body.finish_colours()
    body.fit(380)
    assert _line(body, 1) == rest - 80


def test_what_is_moved_does_not_show_beside_its_block(body: MessageBody) -> None:
    (bar,) = body.code_scroll_bars()
    bar.setValue(60)
    image = body.grab().toImage()
    y = int(_in_code(body).y() + metrics.px(19))  # the long line
    background = image.pixelColor(6, y)
    assert all(image.pixelColor(x, y) == background for x in range(2, metrics.m))
    assert any(image.pixelColor(x, y) != background for x in range(metrics.m, 200))


def test_a_short_block_has_no_bar(body: MessageBody) -> None:
    body.set_source("```\na\n```\n\ntext\n\n```\n" + "b" * 300 + "\n```")
    body.fit(400)
    assert len(body.code_scroll_bars()) == 1
    body.set_source("only words")
    body.fit(400)
    assert body.code_scroll_bars() == []


def test_a_bar_comes_while_the_line_is_being_written(body: MessageBody) -> None:
    body.set_source("")
    body.append("```py\nx = 1\n")
    assert body.code_scroll_bars() == []
    for _ in range(30):
        body.append("word = 12345; ")
    (bar,) = body.code_scroll_bars()
    before = bar.maximum()
    body.append("and_more = 1\nnext")
    assert bar.maximum() > before
    body.append("\n```\n\nbehind")
    body.finish()
    body.fit(400)
    assert [one.maximum() for one in body.code_scroll_bars()] == [bar.maximum()]


@pytest.mark.parametrize(
    ("x", "y", "keys"),
    [(-60, 0, Qt.KeyboardModifier.NoModifier), (0, -60, Qt.KeyboardModifier.ShiftModifier)],
    ids=["sideways", "shift"],
)
def test_the_wheel_moves_code_sideways(body: MessageBody, x: int, y: int, keys: Qt.KeyboardModifier) -> None:
    (bar,) = body.code_scroll_bars()
    event = _wheel(x, y, _in_code(body), keys)
    body.wheelEvent(event)
    assert (event.isAccepted(), bar.value()) == (True, 60)
    down = _wheel(0, -120, _in_code(body))
    body.wheelEvent(down)
    elsewhere = _wheel(-60, 0, QPointF(5, 2))
    body.wheelEvent(elsewhere)
    assert (down.isAccepted(), elsewhere.isAccepted(), bar.value()) == (False, False, 60)


def test_the_cursor_takes_the_code_with_it_and_the_message_stays(body: MessageBody, qtbot: QtBot) -> None:
    with qtbot.waitExposed(body):
        pass
    body.activateWindow()
    body.setFocus()
    qtbot.waitUntil(body.hasFocus)
    (bar,) = body.code_scroll_bars()
    cursor = body.textCursor()
    cursor.setPosition(body.document().findBlock(body.markdown.codes[0].first).next().position())
    body.setTextCursor(cursor)
    qtbot.keyClick(body, Qt.Key.Key_End, Qt.KeyboardModifier.ShiftModifier)
    assert body.textCursor().selectedText() == _LONG
    assert bar.value() >= bar.maximum() - metrics.m
    assert body.horizontalScrollBar().value() == 0
    qtbot.keyClick(body, Qt.Key.Key_Home, Qt.KeyboardModifier.ShiftModifier)
    assert bar.value() == 0


def test_the_bar_is_reached_by_tab_and_has_a_name(body: MessageBody) -> None:
    (bar,) = body.code_scroll_bars()
    assert body.code_focus_order()[-1] is bar
    assert bar.accessibleName() == "Move the code sideways"
    assert bar.focusPolicy() & Qt.FocusPolicy.TabFocus


def test_the_button_asks_for_the_other_way(body: MessageBody, qtbot: QtBot) -> None:
    button = next(one for one in body.code_focus_order() if one.accessibleName() == "Wrap long lines")
    assert not button.isChecked()  # type: ignore[attr-defined]
    with qtbot.waitSignal(body.wrap_requested) as asked:
        button.click()  # type: ignore[attr-defined]
    assert asked.args == [True]
