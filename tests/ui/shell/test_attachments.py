"""Files in the window: attached, shown, kept from being sent, sent, taken back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPlainTextEdit

from backend.api.errors import InvalidRequestError, StorageError
from backend.api.schemas import Attachment, Message, StartTurn
from tests.fakes.client import FakeClient, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.chat.composer import LONG_PASTE, LONG_PASTE_LINES
from ui.chat.file_viewer import FileViewer
from ui.chat.pictures import load_picture, to_png
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def window(loop: Loop, link: EngineLink, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    made = MainWindow(link, {}, None)
    made.resize(1180, 780)
    made.show()
    yield made
    for dialog in made.findChildren(FileViewer):
        dialog.close()
    made.close()
    made.deleteLater()
    loop.turn()
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


@pytest.fixture
def chat(loop: Loop, window: MainWindow, fake: FakeClient) -> MainWindow:
    """The window, the first conversation open."""
    window.link.attach(fake)
    loop.until(lambda: len(window.chat.list) == len(fake.details) and window.models.can_answer)
    window.open_conversation(next(iter(fake.details)))
    loop.until(lambda: window.chat.open_id)
    return window


def attach(loop: Loop, window: MainWindow, *paths: str) -> None:
    attaching = window.chat_screen.files.attaching
    attaching.add_paths(paths)
    loop.until(lambda: not attaching.reading)


def abouts(window: MainWindow) -> list[str]:
    return [chip.accessibleName() for chip in window.chat_screen.composer.chips.chips()]


def press(window: MainWindow) -> None:
    QTest.keyClick(window.chat_screen.composer.input, Qt.Key.Key_Return)


def turn_of(fake: FakeClient) -> StartTurn:
    turn = fake.called("start_turn")[-1][1]  # type: ignore[index]
    assert isinstance(turn, StartTurn)
    return turn


def picture() -> QImage:
    image = QImage(400, 200, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.darkGreen)
    return image


def test_files_are_shown_counted_and_sent_with_the_words(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    fake.sizes = {"report.pdf": 12_000, "notes.md": 800}
    composer = chat.chat_screen.composer
    attach(loop, chat, "/x/report.pdf", "/x/notes.md")
    assert abouts(chat) == ["report.pdf, 12 KB · 3,000 tokens", "notes.md, 800 bytes · 200 tokens"]
    composer.set_text("What do they say?")
    press(chat)
    loop.until(lambda: fake.called("start_turn"))
    assert turn_of(fake).text == "What do they say?"
    assert len(turn_of(fake).files) == 2
    assert abouts(chat) == []
    loop.until(lambda: chat.chat.streaming_id)
    item = chat.chat_screen.view.item(chat.chat_screen.view.message_ids()[-2])
    assert item is not None
    assert [chip.name for chip in item.file_chips()] == ["report.pdf", "notes.md"]


def test_a_file_alone_is_a_message_and_one_can_be_taken_away(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    attach(loop, chat, "/x/a.txt", "/x/b.txt")
    composer = chat.chat_screen.composer
    remove = composer.chips.chips()[0].remove
    assert remove is not None
    remove.click()
    loop.until(lambda: fake.called("drop_file"))
    assert [chip.name for chip in composer.chips.chips()] == ["b.txt"]
    assert composer.button.isEnabled()
    press(chat)
    loop.until(lambda: fake.called("start_turn"))
    assert (turn_of(fake).text, len(turn_of(fake).files)) == ("", 1)


def test_what_does_not_fit_is_said_and_not_sent(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    fake.sizes = {"war.txt": 4 * 7000, "long.txt": 4 * 6100}
    composer = chat.chat_screen.composer
    composer.set_text("Summarise")
    attach(loop, chat, "/x/war.txt")
    assert composer.chips.note().startswith("7,000 tokens are too many: 6,144 fit.")
    assert composer.input.accessibleDescription() == composer.chips.note()
    press(chat)
    assert not fake.called("start_turn")
    fake.publish_model(structs.replace(fake_loaded(fake.entries[1]), n_ctx=32768))
    loop.until(lambda: composer.button.isEnabled())
    fake.publish_model(fake_loaded())
    loop.until(lambda: not composer.button.isEnabled())
    chat.chat_screen.files.attaching.remove(chat.chat_screen.files.attaching.files()[0].key)
    attach(loop, chat, "/x/long.txt")
    assert "Earlier messages will be left out" in composer.chips.note()
    assert composer.button.isEnabled()


def test_a_file_that_cannot_be_read_is_a_sentence(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    said: list[str] = []
    chat.chat.problem.connect(lambda error: said.append(error.what))
    fake.failures["add_file"] = InvalidRequestError("scan.pdf has no text.", remedy="Copy it.")
    attach(loop, chat, "/x/scan.pdf")
    assert (said, abouts(chat)) == (["scan.pdf has no text."], [])


def test_a_message_takes_twenty_files(loop: Loop, chat: MainWindow) -> None:
    said: list[str] = []
    chat.chat.problem.connect(lambda error: said.append(error.what))
    attach(loop, chat, *(f"/x/{number}.txt" for number in range(21)))
    assert len(abouts(chat)) == 20
    assert said == ["20.txt is not attached."]


def test_a_message_that_cannot_be_sent_comes_back_with_its_files(
    loop: Loop, chat: MainWindow, fake: FakeClient
) -> None:
    attach(loop, chat, "/x/a.txt")
    fake.failures["start_turn"] = StorageError("The disk is full.")
    chat.chat_screen.composer.set_text("look")
    press(chat)
    loop.until(lambda: chat.chat_screen.composer.text() == "look")
    assert [chip.name for chip in chat.chat_screen.composer.chips.chips()] == ["a.txt"]
    press(chat)
    loop.until(lambda: len(fake.called("start_turn")) == 2)
    assert len(turn_of(fake).files) == 1


def test_another_engine_is_given_the_files_again(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    attach(loop, chat, "/x/a.txt")
    fake.held.clear()
    chat.link.detach()
    chat.link.attach(fake)
    attaching = chat.chat_screen.files.attaching
    loop.until(lambda: len(fake.called("add_file")) == 2 and not attaching.reading)
    (file,) = attaching.files()
    assert file.held is not None
    assert file.held.id in fake.held


def test_files_stay_with_their_chat_and_go_into_the_queue(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    first, second, _ = fake.details
    attach(loop, chat, "/x/a.txt")
    chat.open_conversation(second)
    loop.until(lambda: chat.chat.open_id == second)
    assert abouts(chat) == []
    chat.open_conversation(first)
    loop.until(lambda: chat.chat.open_id == first)
    assert len(abouts(chat)) == 1
    chat.chat_screen.files.attaching.take()
    answer = _ask(loop, chat, "first")
    attach(loop, chat, "/x/b.txt")
    chat.chat_screen.composer.set_text("next")
    press(chat)
    assert chat.chat_screen.queue.texts() == ["[b.txt] next"]
    chat.chat_screen.queue.edit_requested.emit(0)
    assert [chip.name for chip in chat.chat_screen.composer.chips.chips()] == ["b.txt"]
    press(chat)
    fake.say(answer, "done")
    fake.finish(answer)
    loop.until(lambda: len(fake.called("start_turn")) == 2)
    assert (turn_of(fake).text, len(turn_of(fake).files)) == ("next", 1)


def test_what_was_attached_and_not_sent_is_there_at_the_next_start(
    loop: Loop, link: EngineLink, chat: MainWindow, fake: FakeClient, tmp_path: Path
) -> None:
    first, second, _ = fake.details
    attach(loop, chat, str(tmp_path / "a.txt"))
    attaching = chat.chat_screen.files.attaching
    attaching.add_text("pasted " * 2000)
    attaching.add_image(to_png(picture()))
    loop.until(lambda: not attaching.reading)
    chat.open_conversation(second)
    loop.until(lambda: chat.chat.open_id == second)
    _ask(loop, chat, "go")
    attach(loop, chat, "/x/waits.txt")
    chat.chat_screen.composer.set_text("next")
    press(chat)
    kept: dict[str, object] = {}
    chat._save = kept.update
    chat.close()
    again = MainWindow(link, kept, kept.update)
    assert again.chat_screen.files.attaching.files() == []  # of the new chat
    link.look_again()
    loop.until(lambda: len(again.chat.list) == len(fake.details))
    again.open_conversation(first)
    loop.until(lambda: again.chat.open_id == first and not again.chat_screen.files.attaching.reading)
    files = again.chat_screen.files.attaching.files()
    assert [(file.name, file.pasted, file.is_image) for file in files] == [
        ("a.txt", False, False), ("Pasted text.txt", True, False), ("Pasted image.png", False, True)
    ]  # fmt: skip
    assert files[2].source.data == to_png(picture())
    again.open_conversation(second)
    loop.until(lambda: again.chat.open_id == second)
    assert [file.name for file in again.chat_screen.files.attaching.files()] == ["waits.txt"]
    assert again.chat_screen.composer.text() == "next"
    press(again)
    assert kept["unsent_files"] != ""
    again.open_conversation(first)
    loop.until(lambda: again.chat.open_id == first)
    for file in files:
        again.chat_screen.files.attaching.remove(file.key)
    again.close()
    again.deleteLater()
    loop.turn()


@pytest.mark.parametrize("kept", ["{", "[1]", '[{"chat": "x"}]', "null"])
def test_damaged_notes_of_unsent_files_harm_nothing(link: EngineLink, kept: str) -> None:
    window = MainWindow(link, {"unsent_files": kept})
    assert window.chat_screen.files.attaching.files() == []
    window.deleteLater()


def test_what_is_kept_of_pasted_texts_has_a_limit(loop: Loop, chat: MainWindow) -> None:
    attaching = chat.chat_screen.files.attaching
    attaching.add_text("a" * 600_000)
    one = attaching.kept()
    attaching.add_text("b" * 600_000)
    assert attaching.kept() == one


def _ask(loop: Loop, window: MainWindow, text: str) -> str:
    window.chat.send(text)
    loop.until(lambda: window.chat.streaming_id)
    return window.chat.streaming_id or ""


def test_an_edited_turn_keeps_its_files(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    attach(loop, chat, "/x/a.txt")
    chat.chat_screen.composer.set_text("one")
    press(chat)
    loop.until(lambda: chat.chat.streaming_id)
    answer = chat.chat.streaming_id or ""
    fake.say(answer, "x")
    fake.finish(answer)
    loop.until(lambda: not chat.chat.busy)
    asked = chat.chat.message("", "user")
    assert asked is not None
    chat.chat.edit(asked.id, "two")
    loop.until(lambda: len(fake.called("start_turn")) == 2)
    assert turn_of(fake).files_of == asked.id
    loop.until(lambda: chat.chat.streaming_id)
    edited = chat.chat.message("", "user")
    assert edited is not None
    assert [file.name for file in edited.attachments] == ["a.txt"]


@pytest.mark.parametrize("text", ["x" * (LONG_PASTE + 1), "a\n" * LONG_PASTE_LINES])
def test_a_long_paste_is_a_file_with_a_way_back(loop: Loop, chat: MainWindow, text: str) -> None:
    composer = chat.chat_screen.composer
    data = QMimeData()
    data.setText("short " * 10)
    composer.input.insertFromMimeData(data)
    assert composer.text() == "short " * 10
    data.setText(text)
    composer.input.insertFromMimeData(data)
    loop.until(lambda: not chat.chat_screen.files.attaching.reading)
    assert composer.text() == "short " * 10
    (chip,) = composer.chips.chips()
    assert chip.name == "Pasted text.txt"
    assert chip.text_button is not None
    chip.text_button.click()
    assert composer.text() == "short " * 10 + text
    assert composer.chips.chips() == []


def test_a_pasted_picture_and_a_cell_of_a_spreadsheet(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    composer = chat.chat_screen.composer
    data = QMimeData()
    data.setImageData(picture())
    assert composer.input.canInsertFromMimeData(data)
    composer.input.insertFromMimeData(data)
    loop.until(lambda: not chat.chat_screen.files.attaching.reading)
    assert "No model here sees pictures" in composer.chips.note()
    assert composer.chips.chips()[0].sign.pixmap().width() == 32
    data.setText("42")
    composer.input.insertFromMimeData(data)
    assert composer.text() == "42"


def test_files_are_taken_from_a_drop_and_a_paste(
    loop: Loop, chat: MainWindow, fake: FakeClient, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    screen = chat.chat_screen
    enter = QDragEnterEvent(
        QPoint(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    )
    screen.dragEnterEvent(enter)
    assert enter.isAccepted()
    screen.dropEvent(
        QDropEvent(
            QPointF(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        )
    )
    screen.composer.input.insertFromMimeData(data)
    loop.until(lambda: len(fake.held) == 2)
    assert [new.path for _, new in fake.held.values()] == [str(path)] * 2
    assert screen.composer.text() == ""


def test_a_picture_in_a_message_opens_large_and_a_file_shows_its_text(
    loop: Loop, chat: MainWindow, fake: FakeClient
) -> None:
    asked = next(iter(fake.details.values())).messages[0]
    asked.attachments = [
        Attachment(id="p", message_id=asked.id, name="cat.png", mime="image/png", size=9),
        Attachment(id="t", message_id=asked.id, name="a.md", mime="text/markdown", size=9),
    ]
    fake.contents["p"] = to_png(picture())
    fake.texts["t"] = Attachment(id="t", message_id=asked.id, name="a.md", mime="text/markdown", size=9, text="# A")
    chat.chat.new_chat()
    chat.open_conversation(asked.conversation_id)
    loop.until(lambda: chat.chat.open_id == asked.conversation_id and fake.called("attachment_content"))
    item = chat.chat_screen.view.item(asked.id)
    assert item is not None
    cat, text = item.file_chips()
    loop.until(lambda: cat.sign.pixmap().width() == 160)
    QTest.keyClick(cat, Qt.Key.Key_Return)
    loop.until(lambda: chat.findChildren(FileViewer))
    chat.findChildren(FileViewer)[0].close()
    loop.until(lambda: not chat.findChildren(FileViewer))
    QTest.mouseClick(text, Qt.MouseButton.LeftButton)
    loop.until(lambda: chat.findChildren(FileViewer))
    body = chat.findChildren(FileViewer)[0].body
    assert isinstance(body, QPlainTextEdit)
    assert body.toPlainText() == "# A"


def test_hostile_pictures_are_not_shown() -> None:
    assert load_picture(b"\x89PNG\r\n\x1a\n" + bytes(50), 100).isNull()
    assert load_picture(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", 100).isNull()
    wide = bytearray(to_png(picture()))
    wide[16:24] = (60_000).to_bytes(4, "big") * 2  # says that it has 3.6 thousand million pixels
    assert load_picture(bytes(wide), 100).isNull()
    assert load_picture(to_png(picture()), 100).width() == 100


def test_a_message_that_waits_for_the_model_keeps_its_files(loop: Loop, chat: MainWindow, fake: FakeClient) -> None:
    attach(loop, chat, "/x/a.txt")
    chat.models.load(fake.entries[1])
    loop.until(lambda: chat.models.loading)
    chat.chat_screen.composer.set_text("soon")
    press(chat)
    if not fake.called("start_turn"):
        waiting: Message = chat.chat.branch()[-1]
        assert [file.name for file in waiting.attachments] == ["a.txt"]
        fake.loading_ended(fake_loaded(fake.entries[1]))
    loop.until(lambda: fake.called("start_turn"))
    assert len(turn_of(fake).files) == 1
