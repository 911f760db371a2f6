"""The window over a fake engine: commands, keys, notices, states, placement, what is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QItemSelectionModel, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDropEvent, QGuiApplication, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QMenu

from backend.api.errors import ConflictError, DiskFullError, EngineUnavailableError
from backend.api.plan_schemas import ModelPlan
from backend.api.schemas import (
    DiskReport,
    ErrorInfo,
    GpuReport,
    GpuUser,
    Job,
    JobChanged,
    LoadModel,
    Sampling,
    SearchHit,
)
from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop, shown_window
from ui.actions import command_table
from ui.bridge.engine_link import EngineLink
from ui.hardware.hardware_page import HardwarePage
from ui.main_window import MainWindow
from ui.shell.commands import Commands
from ui.shell.drops import model_files
from ui.sidebar.list_menu import ask_to_empty
from ui.theme import apply_theme, current, metrics
from ui.viewmodels.conversation_list import ConversationRole
from ui.widgets import Meter
from ui.widgets.toast import Toast

Key = Qt.Key
NO_KEYS = Qt.KeyboardModifier.NoModifier


class Saved(dict[str, object]):
    """What the window asked to remember."""

    def __call__(self, values: dict[str, object]) -> None:
        self.update(values)


@pytest.fixture
def saved() -> Saved:
    return Saved()


@pytest.fixture
def window(loop: Loop, saved: Saved, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    with shown_window(loop, 1180, 780, save=saved) as made:
        yield made
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def attach(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    window.link.attach(fake)
    loop.until(lambda: fake.following.is_set() and len(window.chat.list) == len(fake.details))


def open_first(loop: Loop, window: MainWindow, fake: FakeClient) -> str:
    key = next(iter(fake.details))
    window.open_conversation(key)
    loop.until(lambda: window.chat.open_id == key and window.chat_screen.view.message_ids())
    return key


def type_and_send(window: MainWindow, text: str) -> None:
    composer = window.chat_screen.composer
    composer.set_text(text)
    QTest.keyClick(composer.input, Key.Key_Return)


def press(window: MainWindow, keys: str) -> None:
    """A shortcut, as the window's own map of shortcuts resolves it."""
    found = [action for action in window.actions() if QKeySequence(keys) in action.shortcuts()]
    assert len(found) == 1, f"{keys} belongs to {len(found)} commands"
    assert found[0].isEnabled(), keys
    found[0].trigger()


def test_every_command_has_words_one_id_and_its_own_keys(window: MainWindow) -> None:
    commands = command_table(Commands(window))
    assert len({command.id for command in commands}) == len(commands)
    keys = [key for command in commands for key in command.shortcuts]
    assert len(set(keys)) == len(keys)
    assert all(not QKeySequence(key).isEmpty() for key in keys)
    assert all(command.text for command in commands)


def test_the_window_can_be_typed_into_before_the_engine_is_there(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    assert window.top_bar.model.button.full_text() == "Starting the engine…"
    type_and_send(window, "Hello there")
    assert window.chat_screen.composer.text() == ""
    assert window.notice_bar.text() == "Starting the engine… Your message is sent when it is ready."
    assert window.chat_screen.composer.is_busy()
    window.link.attach(fake)
    loop.until(lambda: window.chat.streaming_id)
    assert window.notice_bar.isHidden()
    assert window.top_bar.title.title() == "Hello there"
    assert len(window.chat_screen.view.message_ids()) == 2


def test_a_whole_turn_is_shown_and_enables_what_can_be_done_with_it(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    assert not window.commands["answer.copy"].isEnabled()
    fake.answer = "A hard cover."
    type_and_send(window, "What is a nutshell?")
    loop.until(lambda: fake.called("start_turn") and not window.chat.busy)
    view = window.chat_screen.view
    assert [window.chat.branch()[-1].id] == view.message_ids()[-1:]
    press(window, "Ctrl+Shift+C")
    assert QGuiApplication.clipboard().text().strip() == "A hard cover."
    press(window, "Ctrl+R")
    loop.until(lambda: len(fake.called("start_turn")) == 2 and not window.chat.busy)
    assert len(view.message_ids()) == 2


def test_escape_stops_at_once(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    type_and_send(window, "Count")
    loop.until(lambda: window.chat.streaming_id)
    window.commands["answer.stop"].trigger()
    loop.until(lambda: not window.chat.busy, timeout_s=0.2)
    assert fake.called("cancel_message")
    assert not window.chat_screen.composer.is_busy()


def test_refused_text_comes_back_into_the_composer(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    fake.failures["start_turn"] = DiskFullError("The disk is full.", remedy="Free some space.", details="errno 28")
    type_and_send(window, "Precious")
    loop.until(lambda: window.notice_bar.isVisible())
    assert window.chat_screen.composer.text() == "Precious"
    assert window.notice_bar.text() == "The disk is full. Free some space."


def test_drafts_stay_with_their_conversations(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    first, second, _ = fake.details
    composer = window.chat_screen.composer
    window.open_conversation(first)
    loop.until(lambda: window.chat.open_id == first)
    composer.set_text("half a thought")
    window.open_conversation(second)
    loop.until(lambda: window.chat.open_id == second)
    assert composer.text() == ""
    window.open_conversation(first)
    loop.until(lambda: window.chat.open_id == first)
    assert composer.text() == "half a thought"


# The engine's states


def test_death_while_answering_keeps_the_text_and_offers_to_go_on(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    type_and_send(window, "Count")
    loop.until(lambda: window.chat.streaming_id)
    answer = window.chat.streaming_id or ""
    fake.say(answer, "one two three")
    loop.until(lambda: window.chat.branch()[-1].content == "one two three")
    fake.die()
    window.link.detach("The engine stopped while answering. Your text is saved. It is starting again…")
    assert window.notice_bar.text().startswith("The engine stopped while answering.")
    assert window.chat.branch()[-1].content == "one two three"

    again = FakeClient(fake.details.values(), loaded=fake_loaded())
    next(m for d in again.details.values() for m in d.messages if m.id == answer).status = "interrupted"
    attach(loop, window, again)
    loop.until(lambda: window.notice_bar.text() == "Ready.")
    button = window.notice_bar.action_button()
    assert button.text() == "Continue the answer"
    button.click()
    loop.until(lambda: again.called("start_turn"))
    loop.until(window.notice_bar.isHidden)


def test_death_while_idle_ends_in_a_passing_word(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    fake.die()
    window.link.detach()
    assert window.notice_bar.isVisible()
    attach(loop, window, FakeClient(fake.details.values(), loaded=fake_loaded()))
    loop.until(window.notice_bar.isHidden)
    assert [toast.accessibleName() for toast in window.findChildren(Toast)] == ["Ready."]


def test_an_engine_that_does_not_start_gets_a_page_with_one_way_out(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    asked: list[bool] = []
    window.restart_requested.connect(lambda: asked.append(True))
    window.link.fail(EngineUnavailableError("The engine does not start.", why="A file is missing.", details="trace"))
    assert window.pages.currentWidget() is window.failed_page
    assert window.notice_bar.isHidden()
    window.failed_page.retry.click()
    assert asked == [True]
    window.link.starting()
    assert window.pages.currentWidget() is window.chat_screen
    attach(loop, window, fake)
    assert window.chat_screen.composer.text() == ""


def test_an_engine_that_is_given_up_leaves_the_open_chat_on_the_screen(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    asked: list[bool] = []
    window.restart_requested.connect(lambda: asked.append(True))
    window.link.fail(EngineUnavailableError("The engine does not start.", details="trace"))
    assert window.pages.currentWidget() is window.chat_screen
    assert window.notice_bar.text() == "The engine does not start."
    assert window.chat_screen.view.message_ids()
    window.notice_bar.action_button().click()
    assert asked == [True]


def test_notices_of_the_engine_are_said_once(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.notices = ["Some conversations were recovered from a damaged file."]
    attach(loop, window, fake)
    assert window.notice_bar.text() == fake.notices[0]
    window.notice_bar.dismissed.emit()
    assert window.notices.shown() == ""
    fake.die()
    loop.until(lambda: window.link.state == "restarting")
    fake.alive = True
    loop.until(lambda: window.link.state == "ready")
    assert not window.notice_bar.text().startswith("Some conversations")


def test_a_model_whose_template_cannot_be_used_is_named_until_another_comes(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    sentence = "This model file has no chat template. Nutshell uses its built-in ChatML template."
    odd = fake_loaded()
    odd.template_notice = sentence
    window.link.model_changed.emit(odd)
    assert window.notice_bar.text() == sentence
    window.link.model_changed.emit(fake_loaded())
    assert window.notices.shown() == ""


def test_without_a_model_the_composer_says_why(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.loaded = None
    attach(loop, window, fake)
    composer = window.chat_screen.composer
    assert composer.hint.text() == "No model is loaded. Choose one at the top."
    assert window.top_bar.model.button.full_text() == "Choose a model"


# Conversations


def test_delete_offers_undo_and_no_question(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    key = open_first(loop, window, fake)
    window.commands["chat.delete"].trigger()
    loop.until(lambda: window.findChildren(Toast))
    toast = window.findChildren(Toast)[0]
    assert toast.accessibleName() == "“Merge lists” was deleted."
    assert window.chat.list.get(key) is None
    assert toast.action_button is not None
    toast.action_button.click()
    loop.until(lambda: window.chat.open_id == key)


def test_rename_in_the_list_and_over_the_chat(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    key = open_first(loop, window, fake)
    press(window, "F2")
    editor = window.sidebar.list.findChild(QLineEdit)
    assert editor is not None
    editor.setText("Lists")
    QTest.keyClick(editor, Key.Key_Return)
    loop.until(lambda: fake.details[key].conversation.title == "Lists")
    title = window.top_bar.title
    loop.until(lambda: title.title() == "Lists")
    QTest.mouseDClick(title, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    assert title.editing
    field = title.findChild(QLineEdit)
    assert field is not None
    field.setText("More lists")
    QTest.keyClick(field, Key.Key_Return)
    loop.until(lambda: fake.details[key].conversation.title == "More lists")
    title.edit()
    field.setText("dropped")
    QTest.keyClick(field, Key.Key_Escape)
    loop.until(lambda: title.title() == "More lists")


def test_search_filters_the_list_and_says_when_nothing_is_found(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    other = list(fake.details)[1]
    press(window, "Ctrl+Shift+F")
    fake.hits = [SearchHit(conversation_id=other, message_id="m", title="x", snippet="two \u2068lists\u2069")]
    QTest.keyClicks(window.sidebar.search, "lists")
    loop.until(lambda: window.chat.list.shown == 2)
    fake.hits = []
    window.sidebar.search.setText("zebra")
    loop.until(lambda: window.sidebar.empty.isVisible())
    assert window.sidebar.empty.text() == "Nothing found. Try fewer or other words."
    QTest.keyClick(window.sidebar.search, Key.Key_Escape)
    assert window.chat.list.shown == 3


def test_keys_walk_through_the_conversations(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    first, second, _ = fake.details
    press(window, "Ctrl+Tab")
    loop.until(lambda: window.chat.open_id == first)
    press(window, "Ctrl+Tab")
    loop.until(lambda: window.chat.open_id == second)
    press(window, "Ctrl+Shift+Tab")
    loop.until(lambda: window.chat.open_id == first)
    press(window, "Ctrl+N")
    assert window.chat.open_id == ""
    assert window.top_bar.title.title() == "New chat"


# Inspector


def test_changes_in_the_inspector_count_for_the_next_turn(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    key = open_first(loop, window, fake)
    inspector = window.inspector
    assert inspector.sampling.slider.value() == 4  # the model's own 0.2
    inspector.prompt.setPlainText("Be brief.")
    inspector.sampling.slider.setValue(20)
    type_and_send(window, "Well?")
    loop.until(lambda: fake.called("start_turn"))
    names = [name for name, _ in fake.calls if name in ("update_conversation", "start_turn")]
    assert names[:2] == ["update_conversation", "start_turn"]
    stored = fake.details[key].conversation
    assert stored.system_prompt == "Be brief."
    assert stored.sampling == Sampling(temperature=1.0, top_p=0.9)


def test_more_about_word_choice_and_back_to_the_models_defaults(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    key = open_first(loop, window, fake)
    panel = window.inspector.sampling
    panel.fold.button.click()
    assert panel.top_p.value() == 0.9
    panel.top_k.setValue(5)
    panel.seed.setText("42")
    panel.seed.textEdited.emit("42")
    window.inspector.policies.button(2).click()
    loop.until(lambda: fake.details[key].conversation.sampling is not None)
    stored = fake.details[key].conversation
    assert stored.sampling is not None
    assert (stored.sampling.top_k, stored.sampling.seed, stored.sampling.temperature) == (5, 42, 0.2)
    assert stored.context_policy == "stop"
    panel.reset.click()
    loop.until(lambda: fake.details[key].conversation.sampling is None)
    assert panel.top_k.value() == 40


def test_the_size_of_the_conversation_memory_is_chosen_in_the_inspector(
    loop: Loop, window: MainWindow, fake: FakeClient, saved: Saved
) -> None:
    assert fake.loaded is not None
    fake.loaded.kv = ""
    attach(loop, window, fake)
    box = window.inspector.kv
    assert not box.isVisible(), "heads of 80 numbers in llama.cpp, say, have no choice"
    own = fake_loaded(fake.entries[0])
    fake.publish_model(own)
    loop.until(box.isVisible)
    assert window.inspector.kv_help.isVisible()
    assert not box.isChecked()
    box.click()
    loop.until(lambda: fake.loading)
    assert saved["kv"] == "q8"
    request = fake.called("load_model")[-1]
    assert isinstance(request, LoadModel)
    assert (request.path, request.kv) == (own.entry.path, "q8")
    loop.until(lambda: not box.isEnabled())
    half = fake_loaded(fake.entries[0])
    half.kv = "q8"
    fake.loading_ended(half)
    loop.until(box.isEnabled)
    assert box.isChecked()


def test_the_inspector_shows_the_chat_that_is_open_and_no_other(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    first, second, _ = fake.details
    fake.details[second].conversation.system_prompt = "Cook."
    open_first(loop, window, fake)
    window.inspector.prompt.setPlainText("Merge.")
    window.open_conversation(second)
    loop.until(lambda: window.inspector.prompt.toPlainText() == "Cook.")
    loop.until(lambda: fake.details[first].conversation.system_prompt == "Merge.")
    assert fake.details[second].conversation.system_prompt == "Cook."


def test_the_meters_count(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    assert window.inspector.context.words() == "49 of 8,192 tokens"
    loop.until(lambda: window.inspector.memory.words() == "287 MB of 16 GB")
    type_and_send(window, "And?")
    loop.until(lambda: window.chat.streaming_id)
    answer = window.chat.streaming_id or ""
    fake.read(answer, 512, 1024)
    loop.until(lambda: window.inspector.context.words() == "1,024 of 8,192 tokens")
    fake.finish(answer)
    loop.until(lambda: window.inspector.context.words() == "1,240 of 8,192 tokens")


# Models and hardware


def test_the_model_menu_loads_and_can_be_cancelled(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    loop.until(lambda: window.models.list.rowCount() == 9)
    press(window, "Ctrl+L")
    menu = window.findChild(type(window._model_menu))
    assert menu is not None
    assert menu.isVisible()
    menu.list.setCurrentIndex(window.models.list.index(window.models.list.row_of("b" * 16)))
    QTest.keyClick(menu.list, Key.Key_Return)
    assert menu.isHidden()
    loop.until(lambda: fake.loading)
    assert window.top_bar.model.button.full_text() == "Loading Qwen2.5-Coder-1.5B-Instruct…"
    assert window.top_bar.model.cancel.isVisible()
    window.top_bar.model.cancel.click()
    loop.until(lambda: not window.models.loading)
    press(window, "Ctrl+L")
    QTest.keyClick(menu.list, Key.Key_Escape)
    assert menu.isHidden()


SHORT = ErrorInfo(code="out_of_memory", what="There is not enough memory to load big.gguf.", why="9 GB are free.")


def fail_to_load(loop: Loop, window: MainWindow, fake: FakeClient, error: ErrorInfo) -> None:
    window.models.load(fake.entries[1])
    loop.until(lambda: fake.loading)
    assert fake.loading is not None
    job = Job(id=fake.loading, kind="load_model", title="", state="failed", error=error)
    fake.loading = None
    fake.publish(JobChanged(job=job))


def test_a_model_that_fits_otherwise_is_loaded_so_at_a_click(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    change = LoadModel(id=fake.entries[1].id, kv="q8", n_ctx=4096, memory_budget=7_000_000_000)
    fake.planned = ModelPlan(
        name="Big",
        verdict="fits if",
        remedies=["Keep 7.0 GB in memory.", "Close programs."],
        change=change,
        tokens=1.26,
    )
    fail_to_load(loop, window, fake, SHORT)
    loop.until(lambda: window.notice_bar.action_button().text() == "Load it so")
    assert window.notice_bar.text() == (
        "There is not enough memory to load big.gguf. 9 GB are free. Keep 7.0 GB in memory. About 1.3 tokens a second."
    )
    assert fake.called("plan_load") == fake.called("load_model")
    window.notice_bar.action_button().click()
    loop.until(lambda: len(fake.called("load_model")) == 2)
    assert fake.called("load_model")[-1] == change
    assert window.top_bar.model.button.full_text() == "Loading Big…"


@pytest.mark.parametrize("planned", [False, True])
def test_a_model_that_fits_in_no_way_is_an_error(
    loop: Loop, window: MainWindow, fake: FakeClient, planned: bool
) -> None:
    attach(loop, window, fake)
    error = SHORT if planned else ErrorInfo(code="invalid_model_file", what="It is damaged.")
    fail_to_load(loop, window, fake, error)
    loop.until(lambda: window.notice_bar.text().startswith(error.what))
    assert not window.notice_bar.action_button().isVisible()
    assert len(fake.called("plan_load")) == planned


def test_a_damaged_model_cannot_be_chosen(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    loop.until(lambda: window.models.list.rowCount() == 9)
    window.toggle_model_menu()
    menu = window._model_menu
    assert menu is not None
    menu.list.clicked.emit(window.models.list.index(window.models.list.row_of("d" * 16)))
    loop.turn()
    assert fake.called("load_model") == []
    menu.close_popover()


@pytest.mark.parametrize("name", ["new.gguf", "new.nutshell", "model.safetensors", "folder"])
def test_a_dropped_model_file_is_loaded_wherever_it_falls(
    loop: Loop, window: MainWindow, fake: FakeClient, tmp_path: Path, name: str
) -> None:
    attach(loop, window, fake)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").touch()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / name))])
    for target in (window, window.chat_screen.composer.input.viewport()):
        where, how = QPoint(5, 5), (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton, NO_KEYS)
        enter = QDragEnterEvent(where, *how)
        QApplication.sendEvent(target, enter)
        assert enter.isAccepted()
        QApplication.sendEvent(target, QDropEvent(QPointF(where), *how))
    loop.until(lambda: len(fake.called("load_model")) == 2)
    assert window.chat_screen.composer.text() == ""


def test_other_folders_are_no_models(tmp_path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path)), QUrl.fromLocalFile("/a/config.json"), QUrl("https://a.b/c.gguf")])
    assert model_files(data) == []


def test_the_hardware_page_reads_when_it_is_shown(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    asked = len(fake.called("hardware"))
    window.sidebar.hardware.click()
    loop.until(lambda: len(fake.called("hardware")) > asked)
    assert window.commands["view.hardware"].isChecked()
    press(window, "Ctrl+N")
    assert window.pages.currentWidget() is window.chat_screen
    assert not window.commands["view.hardware"].isChecked()


def test_the_hardware_page_measures_again(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    fake.core_kinds = {"performance_cores": 6, "efficiency_cores": 8}
    fake.disks = [DiskReport(path="/mnt/models", total=2 * 10**12, free=10**12)]
    fake.gpus = [
        GpuReport(
            name="Card", backend="", vram_total=8, vram_free=8, link="PCIe 3.0 x16", link_rate=15.76e9,
            users=[GpuUser(name="firefox", bytes=600_000_000), GpuUser(name="hidden", bytes=0)],
        )
    ]  # fmt: skip
    window.sidebar.hardware.click()
    page = window.pages.currentWidget()
    assert isinstance(page, HardwarePage)
    loop.until(lambda: page.measure_button.isEnabled() and "41 GB" in _words(page))
    shown = _words(page)
    for words in (
        "6 cores for performance, 8 for efficiency", "Read at 1.48 GB a second", "/mnt/models",
        "firefox (600 MB), hidden.",
        "Connected by PCIe 3.0 x16, 15.8 GB a second.", "built for the processor alone",
    ):  # fmt: skip
        assert words in shown
    assert shown.count("Read at") == 2, "of the second disk nothing is known"
    page.measure_button.click()
    assert not page.measure_button.isEnabled()
    assert "Measuring" in page.state.text()
    loop.until(page.measure_button.isEnabled)
    assert len(fake.called("measure_hardware")) == 1
    assert not page.state.isVisible()
    fake.failures["measure_hardware"] = ConflictError("Nothing can be measured.", remedy="Wait for the answer.")
    page.measure_button.click()
    loop.until(page.measure_button.isEnabled)
    assert "Wait for the answer." in page.state.text()
    assert "41 GB" in _words(page), "what was known is still shown"


def _words(page: HardwarePage) -> str:
    return "\n".join([one.text() for one in page.findChildren(QLabel)] + [m.words() for m in page.findChildren(Meter)])


# Placement and memory


def test_bars_become_drawers_in_a_narrow_window(loop: Loop, window: MainWindow) -> None:
    assert window.sidebar.isVisible()
    assert window.inspector.isVisible()
    window.resize(880, 700)
    assert window.sidebar.isVisible()
    assert not window.inspector.isVisible()
    press(window, "Ctrl+I")
    assert window.inspector.isVisible()
    assert window.panes.drawer == "right"
    window.commands["answer.stop"].trigger()  # Esc closes the drawer first
    assert not window.inspector.isVisible()
    window.resize(600, 700)
    assert not window.sidebar.isVisible()
    press(window, "Ctrl+B")
    assert window.sidebar.isVisible()
    window.resize(1180, 780)
    assert window.sidebar.isVisible()
    assert window.inspector.isVisible()
    assert window.panes.drawer == ""


def test_what_the_window_was_like_is_remembered(
    loop: Loop, link: EngineLink, fake: FakeClient, saved: Saved, qapp: QApplication
) -> None:
    first = MainWindow(link, {}, saved)
    first.resize(790, 700)
    first.show()
    attach(loop, first, fake)
    key = open_first(loop, first, fake)
    press(first, "Ctrl+B")
    first.commands["theme.dark"].trigger()
    press(first, "Ctrl++")
    first.close()
    assert current().dark
    assert metrics.zoom == pytest.approx(1.1)
    assert (saved["theme"], saved["zoom"], saved["sidebar_visible"]) == ("dark", 1.1, False)
    assert saved["last_conversation"] == key

    other = EngineLink(frame_ms=5)
    second = MainWindow(other, saved, Saved())
    assert (second.width(), second.height()) == (790, 700)
    second.show()
    assert not second.sidebar.isVisible()
    other.attach(fake)
    loop.until(lambda: second.chat.open_id == key)
    second.close()
    loop.run(other.close())
    apply_theme(qapp, "light", zoom=1.0)


def test_closing_while_an_answer_streams_is_quick_and_leaves_it_to_the_engine(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    type_and_send(window, "Count")
    loop.until(lambda: window.chat.streaming_id)
    window.commands["app.quit"].trigger()
    assert not window.isVisible()
    loop.run(window.link.close(), timeout_s=0.5)
    assert fake.streaming  # the engine ends it in its own time, with its text stored


def test_an_idle_window_has_no_running_timer(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    from PySide6.QtCore import QTimer

    attach(loop, window, fake)
    fake.answer = "word " * 20
    type_and_send(window, "Count")
    loop.until(lambda: fake.called("start_turn") and not window.chat.busy)

    def ticking() -> list[QTimer]:
        return [timer for timer in window.findChildren(QTimer) if timer.isActive() and not timer.isSingleShot()]

    loop.until(lambda: not ticking() and not window.link.findChildren(QTimer)[0].isActive())


def test_messages_wait_for_the_answer_and_are_sent_after_it(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    type_and_send(window, "One")
    loop.until(lambda: window.chat.streaming_id)
    type_and_send(window, "Two")
    type_and_send(window, "Three")
    type_and_send(window, "Four")
    screen = window.chat_screen
    assert screen.queue.texts() == ["Two", "Three", "Four"]
    assert screen.composer.text() == ""
    screen.queue.remove_requested.emit(1)
    screen.queue.edit_requested.emit(1)
    assert screen.queue.texts() == ["Two"]
    assert screen.composer.text() == "Four"
    fake.finish(window.chat.streaming_id or "")
    loop.until(lambda: window.chat.streaming_id and len(screen.view.message_ids()) == 4)
    assert screen.queue.isHidden()
    assert [one.content for one in window.chat.branch() if one.role == "user"] == ["One", "Two"]


def test_after_stop_the_queue_waits_to_be_looked_at(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    type_and_send(window, "One")
    loop.until(lambda: window.chat.streaming_id)
    type_and_send(window, "Two")
    window.chat.stop()
    loop.until(lambda: not window.chat.busy)
    loop.turn(10)
    assert window.chat_screen.queue.texts() == ["Two"]
    assert len(window.chat_screen.view.message_ids()) == 2


def test_a_found_message_is_shown_with_its_words_marked(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    detail = list(fake.details.values())[1]
    wanted = detail.messages[1]
    fake.hits = [
        SearchHit(
            conversation_id=detail.conversation.id, message_id=wanted.id, title="", snippet="\u2068Lentils\u2069."
        )
    ]
    window.sidebar.search.setText("lentils")
    loop.until(lambda: fake.called("search") and window.chat.list.shown == 1)
    window.sidebar.list.clicked.emit(window.chat.list.index_of(detail.conversation.id))
    loop.until(lambda: window.chat.open_id == detail.conversation.id and window.chat_screen.view.message_ids())
    item = window.chat_screen.view.item(wanted.id)
    assert item is not None
    loop.until(lambda: item.body.extraSelections())
    assert [one.cursor.selectedText() for one in item.body.extraSelections()] == ["Lentils"]
    window.sidebar.search.clear()
    loop.until(lambda: not item.body.extraSelections())


def entry(menu: QMenu, text: str) -> QAction:
    found = [one for one in menu.actions() if one.text() == text]
    assert found, [one.text() for one in menu.actions()]
    return found[0]


def test_conversations_are_pinned_archived_and_put_into_folders(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    attach(loop, window, fake)
    sidebar, listed = window.sidebar, window.chat.list
    keys = list(fake.details)
    menu = sidebar.menu_for(listed.index_of(keys[2]))
    assert menu is not None
    entry(menu, "Pin").trigger()
    loop.until(lambda: listed.index(1).data(ConversationRole.ID) == keys[2])
    menu = sidebar.menu_for(listed.index_of(keys[2]))
    assert menu is not None
    assert entry(menu, "Unpin")
    for key in keys[:2]:
        flags = QItemSelectionModel.SelectionFlag.Select
        sidebar.list.selectionModel().select(listed.index_of(key), flags)
    sidebar.list.selectionModel().select(listed.index_of(keys[2]), QItemSelectionModel.SelectionFlag.Deselect)
    window.chat.organiser.new_folder("  Both  ", sidebar.selection())
    loop.until(lambda: fake.folder_list and len([d for d in fake.details.values() if d.conversation.folder_id]) == 2)
    assert fake.folder_list[0].name == "Both"
    loop.until(lambda: listed.index(2).data() == "Both")
    window.chat.organiser.change([keys[0]], archived=True)
    loop.until(lambda: not listed.index_of(keys[0]).isValid())
    window.chat.organiser.delete_folder(fake.folder_list[0].id)
    loop.until(lambda: not listed.folders())
    assert listed.index_of(keys[1]).isValid()


def test_the_trash_gives_back_and_is_emptied(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    keys = list(fake.details)
    for key in keys[:2]:
        window.chat.delete(key)
    loop.until(lambda: len(window.chat.list) == 1)
    window.sidebar.go_to("trash")
    loop.until(lambda: window.chat.list.shown == 2)
    assert not window.sidebar.place_bar.isHidden()
    menu = window.sidebar.menu_for(window.chat.list.index_of(keys[0]))
    assert menu is not None
    entry(menu, "Restore").trigger()
    loop.until(lambda: window.chat.list.shown == 1)
    dialog = ask_to_empty(window.sidebar, window.chat)
    dialog.action_button.click()
    loop.until(lambda: fake.called("empty_trash") and window.chat.list.rowCount() == 0)
    assert window.sidebar.empty.text() == "The trash is empty."
    assert window.sidebar.place_bar.empty.isHidden()
    window.sidebar.place_bar.back.click()
    assert set(fake.details) == {keys[0], keys[2]}
    assert window.chat.list.shown == 2


def test_what_was_typed_is_there_again_after_a_restart(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    first, second = list(fake.details)[:2]
    window.open_conversation(first)
    loop.until(lambda: window.chat.open_id == first)
    window.chat_screen.composer.set_text("half a thought")
    loop.until(lambda: fake.details[first].conversation.draft == "half a thought")
    window.chat_screen.composer.set_text("half a thought more")
    window.open_conversation(second)  # leaving keeps it at once
    loop.until(lambda: fake.details[first].conversation.draft == "half a thought more")
    assert window.chat_screen.composer.text() == ""
    window.chat_screen._drafts.clear()  # as in a new process
    window.open_conversation(first)
    loop.until(lambda: window.chat_screen.composer.text() == "half a thought more")
    fake.answer = "Yes."
    QTest.keyClick(window.chat_screen.composer.input, Key.Key_Return)
    loop.until(lambda: fake.details[first].conversation.draft == "")


def test_renaming_twice_is_renaming_once(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    for _ in range(2):  # Qt says a warning where a row that is being edited is to be edited, and the test fails
        press(window, "F2")
    assert window.sidebar.list.findChild(QLineEdit) is not None


def test_the_model_menu_outlives_the_field_that_had_the_focus(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    attach(loop, window, fake)
    open_first(loop, window, fake)
    press(window, "F2")  # the list's own field, which Qt makes and deletes
    field = QApplication.focusWidget()
    window.toggle_model_menu()
    menu = window._model_menu
    assert menu is not None
    assert menu._before in (field, None)
    window.sidebar.list.setFocus()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    loop.until(lambda: window.sidebar.list.findChild(QLineEdit) is None)
    assert menu._before is None
    menu.close_popover()


def test_a_button_on_code_changes_it_everywhere_and_for_good(
    loop: Loop, window: MainWindow, saved: Saved, qapp: QApplication
) -> None:
    long = "x = " + " + ".join(["value"] * 80)
    fake = FakeClient([fake_conversation("Code", [("?", f"```py\n{long}\n```"), ("?", f"```py\n{long}\n```")])])
    attach(loop, window, fake)
    open_first(loop, window, fake)
    view = window.chat_screen.view
    bodies = [item.body for item in map(view.item, view.message_ids()) if item is not None and not item.is_user]
    heights = [body.height() for body in bodies]
    try:
        bodies[0].code_focus_order()[0].click()  # type: ignore[attr-defined]
        assert saved["wrap_code"] is False
        assert not window.commands["view.wrap_code"].isChecked()
        assert all(body.height() < before for body, before in zip(bodies, heights, strict=True))
        assert all(len(body.code_scroll_bars()) == 1 for body in bodies)
        window.adopt({"wrap_code": True})  # another window says so
        assert window.commands["view.wrap_code"].isChecked()
    finally:
        apply_theme(qapp, "light", wrap_code=True)
    assert [body.height() for body in bodies] == heights
