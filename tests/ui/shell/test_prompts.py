"""The library of prompts: places, files, the popover of the composer, the dialog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from backend.api.schemas import NewPrompt, Prompt, PromptUpdate
from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.prompts.fill_dialog import FillDialog
from ui.prompts.library_dialog import LibraryDialog
from ui.prompts.prompt_popover import PromptPopover
from ui.theme import apply_theme
from ui.viewmodels.prompt_library import fill, places, read_prompts, write_prompts

TRANSLATE = Prompt(id="t" * 32, name="Translate", text="Into {{language}}, in a {{ tone }} tone: {{language}}")
REVIEW = Prompt(id="r" * 32, name="Review code", text="Review this code.")


@pytest.fixture
def window(loop: Loop, link: EngineLink, qapp: QApplication, fake: FakeClient) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    fake.prompt_list = [TRANSLATE, REVIEW]
    made = MainWindow(link, {}, None)
    made.resize(1180, 780)
    made.show()
    made.link.attach(fake)
    loop.until(lambda: len(made.chat.list) == len(fake.details) and made.models.can_answer)
    yield made
    for dialog in (*made.findChildren(FillDialog), *made.findChildren(LibraryDialog)):
        dialog.close()
    made.close()
    made.deleteLater()
    loop.turn()
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def opened(loop: Loop, window: MainWindow) -> PromptPopover:
    """The popover, after a slash in the empty field."""
    QTest.keyClicks(window.chat_screen.composer.input, "/")
    popover = window.chat_screen.prompts.popover
    assert popover is not None
    loop.until(lambda: popover.list.count() == 2)
    return popover


def test_places_are_found_once_and_filled_without_being_read_again() -> None:
    assert places(TRANSLATE.text) == ["language", "tone"]
    assert places("{{}} { {a} } {{b\nc}} {{{c}}} {{" + "d" * 61 + "}}") == ["c"]
    assert fill(TRANSLATE.text, {"language": "{{tone}}", "tone": "plain"}) == "Into {{tone}}, in a plain tone: {{tone}}"
    assert fill("{{a}} {{b}}", {"a": "1"}) == "1 {{b}}"


def test_a_slash_opens_them_and_enter_takes_one(loop: Loop, window: MainWindow) -> None:
    popover = opened(loop, window)
    assert window.chat_screen.composer.text() == ""
    assert [popover.list.item(row).text() for row in range(2)] == ["Review code", "Translate"]
    QTest.keyClicks(popover.filter, "code rev")
    assert popover.list.count() == 1
    QTest.keyClick(popover.filter, Qt.Key.Key_Return)
    assert not popover.isVisible()
    assert window.chat_screen.composer.text() == "Review this code."


def test_places_are_asked_for(loop: Loop, window: MainWindow) -> None:
    popover = opened(loop, window)
    QTest.keyClick(popover.filter, Qt.Key.Key_Down)
    QTest.keyClick(popover.filter, Qt.Key.Key_Return)
    (dialog,) = window.findChildren(FillDialog)
    assert list(dialog.fields) == ["language", "tone"]
    dialog.fields["language"].setPlainText("Welsh")
    QTest.keyClick(dialog.fields["tone"], Qt.Key.Key_Return)
    assert window.chat_screen.composer.text() == "Into Welsh, in a {{ tone }} tone: Welsh"


def test_esc_gives_the_slash_back_and_a_slash_within_a_text_is_a_slash(loop: Loop, window: MainWindow) -> None:
    popover = opened(loop, window)
    QTest.keyClicks(popover.filter, "usr/bin")
    QTest.keyClick(popover.filter, Qt.Key.Key_Escape)
    assert not popover.isVisible()
    composer = window.chat_screen.composer
    assert composer.text() == "/usr/bin"
    QTest.keyClicks(composer.input, "/x")
    assert composer.text() == "/usr/bin/x"
    composer.prompts_requested.emit()
    QTest.keyClick(popover.filter, Qt.Key.Key_Escape)
    assert composer.text() == "/usr/bin/x"


def test_prompts_are_written_changed_and_deleted(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    dialog = window.chat_screen.prompts.manage()
    loop.until(lambda: dialog.list.count() == 2)
    dialog.new.click()
    assert not dialog.save.isEnabled()
    dialog.name.setText("  Sum   up ")
    dialog.text.setPlainText("Sum up in {{number}} points.")
    dialog.save.click()
    loop.until(lambda: dialog.list.count() == 3)
    assert fake.called("create_prompt") == [NewPrompt(name="Sum up", text="Sum up in {{number}} points.")]
    assert dialog.list.currentItem().text() == "Sum up"
    assert not dialog.save.isEnabled()
    dialog.text.setPlainText("Sum up.")
    dialog.save.click()
    loop.until(lambda: fake.called("update_prompt"))
    (key, update) = fake.called("update_prompt")[0]  # type: ignore[misc]
    assert update == PromptUpdate(name="Sum up", text="Sum up.")
    loop.until(lambda: not dialog.save.isEnabled())
    dialog._delete(key)
    loop.until(lambda: dialog.list.count() == 2)
    assert dialog.name.text() == ""


def test_what_is_being_written_survives_a_change_of_the_list(loop: Loop, window: MainWindow) -> None:
    dialog = window.chat_screen.prompts.manage()
    loop.until(lambda: dialog.list.count() == 2)
    dialog.list.setCurrentRow(1)
    dialog.text.setPlainText("half a tho")
    window.chat_screen.prompts.library.changed.emit()
    assert dialog.text.toPlainText() == "half a tho"
    assert dialog.list.currentRow() == 1


def test_a_file_goes_out_and_comes_in(loop: Loop, window: MainWindow, fake: FakeClient, tmp_path: Path) -> None:
    library = window.chat_screen.prompts.library
    library.refresh()
    loop.until(lambda: len(library.prompts()) == 2)
    path = tmp_path / "p.json"
    library.export_file(str(path))
    assert [(one.name, one.text) for one in read_prompts(path.read_bytes())] == [
        (one.name, one.text) for one in (REVIEW, TRANSLATE)
    ]
    fake.prompt_list = [REVIEW]
    library.refresh()
    loop.until(lambda: len(library.prompts()) == 1)
    library.import_file(str(path))
    loop.until(lambda: len(library.prompts()) == 2)
    assert len(fake.called("create_prompt")) == 1  # what is there already is not taken in twice


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"prompts": 3}', b"[" * 100_000, b'[{"name": "a"}]', b"\xff"])
def test_a_file_without_prompts_is_a_sentence(loop: Loop, window: MainWindow, tmp_path: Path, raw: bytes) -> None:
    said: list[str] = []
    window.chat.problem.connect(lambda error: said.append(error.what))
    path = tmp_path / "p.json"
    path.write_bytes(raw)
    window.chat_screen.prompts.library.import_file(str(path))
    assert said == ["p.json holds no prompts that can be read."]


def test_lists_of_other_programs_are_read() -> None:
    raw = json.dumps([{"title": "A", "content": "aa"}, {"prompt": "b" * 90}, 7, {"name": "no text"}]).encode()
    assert read_prompts(raw) == [NewPrompt(name="A", text="aa"), NewPrompt(name="b" * 60, text="b" * 90)]
    assert json.loads(write_prompts([REVIEW]))["format"] == "nutshell-prompts"
