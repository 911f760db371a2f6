"""Presets: made, changed, copied, shared, started, and what a chat changed of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from backend.api.schemas import ErrorInfo, NewPreset, Preset, Sampling
from tests.fakes.client import FakeClient
from tests.ui.shell.support import Loop
from ui.main_window import MainWindow
from ui.presets.page import PresetsPage
from ui.presets.session import differences
from ui.presets.sharing import from_file, to_text

POET = Preset(
    id="p1", name="Poet", system_prompt="Rhyme.", sampling=Sampling(temperature=1.5), icon="moon", model="a" * 16
)


@pytest.fixture
def page(window: MainWindow, fake: FakeClient, loop: Loop) -> PresetsPage:
    fake.preset_list.append(replace(POET))
    window.presets.refresh()
    loop.until(lambda: window.presets.presets)
    window.commands["view.presets"].trigger()
    shown = window.pages.currentWidget()
    assert isinstance(shown, PresetsPage)
    return shown


def test_the_page_shows_what_a_preset_is(page: PresetsPage) -> None:
    assert page.name.text() == "Poet"
    assert page.prompt.toPlainText() == "Rhyme."
    assert page.picture.currentData() == "moon"
    assert page.model.currentData() == "a" * 16
    assert page.sampling.value == POET.sampling


def test_without_any_it_says_what_they_are(window: MainWindow) -> None:
    window.commands["view.presets"].trigger()
    page = window.pages.currentWidget()
    assert isinstance(page, PresetsPage)
    assert page.empty.isVisible()
    assert not page.form.isVisible()


def test_changes_are_kept_together_when_typing_pauses(page: PresetsPage, fake: FakeClient, loop: Loop) -> None:
    page.prompt.setPlainText("Rhyme")
    page.prompt.setPlainText("Rhyme well.")
    page.name.setText("  A   bard ")
    page.name.editingFinished.emit()
    loop.until(lambda: fake.called("update_preset"))
    assert len(fake.called("update_preset")) == 1
    kept = fake.preset_list[0]
    assert (kept.name, kept.system_prompt, kept.icon, kept.sampling) == ("A bard", "Rhyme well.", "moon", POET.sampling)


def test_new_duplicate_delete(page: PresetsPage, window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page.copy.click()
    loop.until(lambda: page.name.text() == "Poet (copy)")
    assert replace(fake.preset_list[1], id="p1", name="Poet") == POET
    page.new.click()
    loop.until(lambda: page.name.text() == "New preset")
    assert page.rows.rowCount() == 3
    window.presets.delete(page.chosen_id())
    loop.until(lambda: page.rows.rowCount() == 2)


def test_a_chat_with_a_preset(page: PresetsPage, window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    page.start.click()
    assert window.pages.currentWidget() is window.chat_screen
    assert window.inspector.prompt.toPlainText() == "Rhyme."
    assert window.inspector.preset.name.text() == "Poet"
    assert not window.chat.open_id
    window.chat.send("Hello")
    loop.until(lambda: window.chat.streaming_id)
    conversation = fake.details[window.chat.open_id].conversation
    assert (conversation.preset_id, conversation.system_prompt) == ("p1", "Rhyme.")
    assert conversation.sampling == POET.sampling
    fake.finish(window.chat.streaming_id or "")
    loop.until(lambda: not window.chat.busy)


def test_its_model_is_loaded_when_it_is_another(page: PresetsPage, fake: FakeClient, loop: Loop) -> None:
    page.start.click()
    assert not fake.called("load_model")
    page.model.setCurrentIndex(page.model.findData("b" * 16))
    page.model.activated.emit(page.model.currentIndex())
    page.start.click()
    loop.until(lambda: fake.called("load_model"))


def test_what_a_chat_changed_is_shown_and_taken_back(
    page: PresetsPage, window: MainWindow, fake: FakeClient, loop: Loop
) -> None:
    page.start.click()
    panel = window.inspector.preset
    assert panel.isVisible()
    assert panel.state.text() == "Answers as this preset says."
    window.inspector.prompt.setPlainText("No rhymes.")
    window.inspector.sampling.slider.setValue(1)
    window.inspector.flush()
    assert panel.state.text() == "Changed in this chat: system prompt and word choice."
    panel.buttons["system_prompt"].click()
    assert window.inspector.prompt.toPlainText() == "Rhyme."
    assert panel.state.text() == "Changed in this chat: word choice."
    assert not panel.buttons["system_prompt"].isVisible()
    window.inspector.prompt.setPlainText("No rhymes.")
    window.inspector.flush()
    panel.buttons[""].click()
    assert differences(POET, window.chat.conversation) == []
    window.chat.new_chat()
    assert not panel.isVisible()


def test_the_default_is_what_new_chats_begin_with(page: PresetsPage, window: MainWindow) -> None:
    page.default.click()
    assert window.setting("default_preset") == "p1"
    window.commands["chat.new"].trigger()
    assert window.chat.conversation.preset_id == "p1"
    assert window.inspector.prompt.toPlainText() == "Rhyme."
    page.default.click()
    window.commands["chat.new"].trigger()
    assert window.chat.conversation.preset_id is None
    assert window.inspector.prompt.toPlainText() == ""


def test_save_as_a_preset(window: MainWindow, fake: FakeClient, loop: Loop) -> None:
    window.inspector.prompt.setPlainText("Be brief.")
    window.commands["preset.save"].trigger()
    loop.until(lambda: fake.preset_list)
    assert (fake.preset_list[0].system_prompt, fake.preset_list[0].model) == ("Be brief.", "a" * 16)
    assert isinstance(window.pages.currentWidget(), PresetsPage)


def test_a_file_brings_everything_back_and_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    text = to_text(POET, "SmolLM2")
    assert POET.model not in text
    path = tmp_path / "poet.json"
    path.write_text(text, encoding="utf-8")
    expected = NewPreset(name="Poet", system_prompt="Rhyme.", sampling=POET.sampling, icon="moon", model="xyz")
    assert from_file(path, {"SmolLM2": "xyz"}) == expected
    assert from_file(path, {}) == replace(expected, model="")


GOOD = {"kind": "nutshell-preset", "version": 1, "name": "x"}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe\x00", b"[]", b"null", b"{", b"[" * 200_000, b"1e999",
        json.dumps({**GOOD, "kind": "other"}).encode(),
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "name": ""}).encode(),
        json.dumps({**GOOD, "name": "  \n"}).encode(),
        json.dumps({**GOOD, "name": "x" * 201}).encode(),
        json.dumps({**GOOD, "name": 7}).encode(),
        json.dumps({**GOOD, "sampling": {"temperature": 99}}).encode(),
        json.dumps({**GOOD, "sampling": {"temperature": "hot"}}).encode(),
        b'{"kind":"nutshell-preset","version":1,"name":"x","sampling":{"top_p":NaN}}',
        json.dumps({**GOOD, "system_prompt": "x" * 1_000_001}).encode(),
    ],
    ids=range(17),
)  # fmt: skip
def test_hostile_files_are_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    found = from_file(path, {})
    assert isinstance(found, ErrorInfo)
    assert found.what == "bad.json could not be taken in."
    assert found.why.endswith(".")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    found = from_file(tmp_path / "gone.json", {})
    assert isinstance(found, ErrorInfo)
    assert found.why


def test_sharing_through_the_page(page: PresetsPage, window: MainWindow, tmp_path: Path, loop: Loop) -> None:
    path = tmp_path / "Poet.preset.json"
    window.presets.export(POET, path)
    assert page.notice.text() == "Saved as Poet.preset.json."
    window.presets.import_file(path)
    loop.until(lambda: page.rows.rowCount() == 2)
    window.presets.import_file(tmp_path / "gone.json")
    assert page.notice.text().startswith("gone.json could not be taken in.")
    window.presets.export(POET, tmp_path / "no" / "x.json")
    assert "could not be written" in page.notice.text()
