from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QDesktopServices, QTextCursor, QWheelEvent
from PySide6.QtWidgets import QApplication, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from ui.chat.body import MessageBody
from ui.chat.code_buttons import file_name, write_file
from ui.theme import DARK, apply_theme
from ui.widgets import LinkDialog, Toast


@pytest.fixture
def body(qtbot: QtBot) -> MessageBody:
    made = MessageBody(width=400)
    qtbot.addWidget(made)
    return made


def select_all(body: MessageBody) -> str:
    cursor = body.textCursor()
    cursor.select(QTextCursor.SelectionType.Document)
    body.setTextCursor(cursor)
    data = body.createMimeDataFromSelection()
    assert data.formats() == ["text/plain"]
    return data.text()


def test_height_follows_content_and_width(body: MessageBody) -> None:
    body.set_source("word " * 100)
    tall, wide = body.fit(200), body.fit(600)
    assert tall > wide > 20
    assert body.height() == wide
    assert body.verticalScrollBar().maximum() == 0
    body.set_source("word")
    assert body.fit(600) < 40


def test_growing_tells_that_the_height_changed(body: MessageBody, qtbot: QtBot) -> None:
    body.fit(200)
    with qtbot.waitSignal(body.height_changed):
        body.append("word " * 50)


def test_selected_text_is_plain_with_its_list_marks_and_without_the_language(body: MessageBody) -> None:
    body.set_source("# T\n\n1. a\n2. b\n   - c\n\n```py\nx = '😀'\n\ny\n```\n\n---\n\nend")
    assert select_all(body) == "T\n1. a\n2. b\n- c\nx = '😀'\n\ny\n---\nend"


def test_a_part_of_a_line_is_selected_to_the_character(body: MessageBody) -> None:
    body.set_source("😀 one two")
    cursor = body.textCursor()
    cursor.setPosition(3)
    cursor.setPosition(6, QTextCursor.MoveMode.KeepAnchor)
    body.setTextCursor(cursor)
    assert body.createMimeDataFromSelection().text() == "one"


def test_code_is_copied_exactly(body: MessageBody, qtbot: QtBot) -> None:
    code = "if a:\n\tb = '<&>'  \n\n    c"
    body.set_source(f"x\n\n```py\n{code}\n```\n\n```\nsecond\n```")
    body.fit(400)
    body.show()
    first, second = body.code_buttons()
    assert isinstance(first, QWidget)
    assert first.accessibleName() == "Copy code"
    first.click()  # type: ignore[attr-defined]
    assert QApplication.clipboard().text() == code
    assert first.accessibleName() == "Copied"
    second.click()  # type: ignore[attr-defined]
    assert QApplication.clipboard().text() == "second"


def test_copy_buttons_stand_on_their_blocks(body: MessageBody) -> None:
    body.set_source("one\n\n```py\na\n```\n\ntext\n\n- item\n\n  ```\n  b\n  ```")
    body.fit(400)
    tops = [button.y() for button in body.code_buttons()]
    assert tops == sorted(tops)
    assert all(0 < button.x() < 400 and 0 < button.y() < body.height() for button in body.code_buttons())


def test_the_wheel_is_left_to_the_conversation(body: MessageBody) -> None:
    body.set_source("word " * 1000)
    event = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, -120), QPoint(0, -120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    event.accept()
    body.wheelEvent(event)
    assert not event.isAccepted()


def test_links_ask_and_others_are_refused(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda u: opened.append(u.toString()))
    host = QWidget()
    qtbot.addWidget(host)
    body = MessageBody(host, width=400)
    body.set_source("[a](https://x.org/a) [b](ftp://x.org/b)")
    host.show()
    body.anchorClicked.emit("https://x.org/a")
    (dialog,) = host.findChildren(LinkDialog)
    assert "https://x.org/a" in dialog.address.toPlainText()
    dialog.reject()
    body.anchorClicked.emit("ftp://x.org/b")
    assert [t.isVisible() for t in host.findChildren(Toast)] == [True]
    assert opened == []


def test_tab_goes_through_links_and_on(qtbot: QtBot) -> None:
    host = QWidget()
    qtbot.addWidget(host)
    column = QVBoxLayout(host)
    body = MessageBody(host, width=400)
    body.set_source("[a](https://x.org/a) and [b](https://x.org/b)")
    after = QPushButton("after")
    column.addWidget(body)
    column.addWidget(after)
    host.show()
    with qtbot.waitExposed(host):
        pass
    body.setFocus(Qt.FocusReason.TabFocusReason)
    seen = []
    for _ in range(4):
        if after.hasFocus():
            break
        seen.append(body.textCursor().selectedText())
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    assert after.hasFocus()
    assert {"a", "b"} <= set(seen)


def test_the_caret_is_drawn_while_streaming(body: MessageBody) -> None:
    body.set_source("some words")
    body.fit(400)
    without = body.grab().toImage()
    body.set_caret(True)
    assert body.grab().toImage() != without
    body.finish()
    assert body.grab().toImage() == without


def test_a_change_of_theme_repaints_text_and_code(body: MessageBody, qapp: QApplication) -> None:
    body.set_source("text\n\n```py\nx = 1\n```")
    body.finish_colours()
    body.fit(400)
    apply_theme(qapp, "dark")
    body.restyle()
    body.finish_colours()
    body.fit(400)
    image = body.grab().toImage()
    code = body.code_buttons()[0]
    assert image.pixelColor(200, code.y() + 35).name().upper() == DARK.code


@pytest.mark.parametrize(
    ("language", "name"),
    [("py", "code.py"), ("", "code.txt"), ("c++", "code.cpp"), ("makefile", "Makefile"), ("???", "code.txt")],
)
def test_code_is_saved_exactly_under_a_fitting_name(qtbot: QtBot, tmp_path: Path, language: str, name: str) -> None:
    shown = MessageBody(width=500)
    qtbot.addWidget(shown)
    shown.set_source(f"```{language}\nläuft\t1\n```\n")
    assert file_name(shown.markdown.codes[0].language) == name
    path = tmp_path / name
    shown._buttons[0].save_to(str(path))
    assert path.read_bytes() == "läuft\t1\n".encode()
    assert write_file(tmp_path / "no" / "folder.txt", "x")
