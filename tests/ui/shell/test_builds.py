"""The slider over all builds of a model that are on this machine: what it says, takes, and gives back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from msgspec import structs
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from backend.api.plan_schemas import ModelLadder
from backend.api.schemas import ErrorInfo, Job, JobChanged, LoadModel
from tests.fakes.client import FakeClient, fake_loaded, fake_sliding
from tests.ui.shell.ladders import build, three_builds
from tests.ui.shell.support import Loop, shown_window
from ui.inspector.position import PositionPanel
from ui.library.download_page import DownloadPage
from ui.main_window import MainWindow
from ui.viewmodels.track import track_of
from ui.wizard.wizard_page import WizardPage


@pytest.fixture
def window(loop: Loop) -> Iterator[MainWindow]:
    with shown_window(loop, 1180, 780) as made:
        yield made


@pytest.fixture
def panel(loop: Loop, window: MainWindow, fake: FakeClient) -> PositionPanel:
    _small, middle, _large = three_builds(fake)
    fake.loaded = fake_loaded(middle)
    window.link.attach(fake)
    loop.until(lambda: fake.following.is_set() and window.inspector.position.isVisible())
    return window.inspector.position


def test_the_loaded_build_stands_between_a_faster_and_one_that_does_not_fit(panel: PositionPanel) -> None:
    assert [stop.place for stop in panel.track.stops] == [0.0, 0.5, 1.0]
    assert (panel.track.here, panel.track.limit, panel.handle.value()) == (1, 0.5, 500)
    assert panel.takes.text() == "1.12 GB · about 21 tok/s (17 to 26)"
    assert panel.gives.text() == "Hardly a difference · perplexity +1.9 % (expected)"
    assert "Q4_K_M" in panel.build.text()
    assert panel.handle.isEnabled()


def test_a_stop_says_what_moves_together(panel: PositionPanel) -> None:
    panel.handle.setValue(40)
    assert panel.takes.text() == "480 MB · about 65 tok/s (52 to 78)"
    assert panel.gives.text() == "Noticeably weaker · perplexity +39 % (measured)"
    assert panel.holds.text().startswith("780 MB")
    assert "AQLM 2x8 · 8,192 tokens of context · half the conversation memory" in panel.build.text()
    assert "the chat stays" in panel.note.text()
    assert "AQLM 2x8" in panel.handle.accessibleDescription()


def test_a_stop_says_who_guesses(loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel) -> None:
    last = fake.entries[-1]
    told = build(last, "spqr-4", 2.9, 3.1, 0.01, budget=1_000_000_000, draft="qwen2.5-coder-0.5b-instruct")
    fake.stops[-1] = told
    window.models.look_for_builds()
    loop.until(lambda: panel.track.stops[-1].draft != "")
    panel.handle.setValue(1000)
    assert panel.build.text().endswith("the rest read from the disk · qwen2.5-coder-0.5b-instruct guesses ahead")


def test_a_build_is_loaded_with_its_settings_when_the_handle_rests(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel
) -> None:
    window.open_conversation(next(iter(fake.details)))
    loop.until(lambda: window.chat_screen.view.message_ids())
    shown = window.chat_screen.view.message_ids()
    small = fake.entries[-2]
    panel.handle.setValue(0)
    assert not fake.called("load_model"), "it waits for the handle to rest"
    loop.until(lambda: fake.called("load_model"))
    assert fake.called("load_model") == [LoadModel(id=small.id, path=small.path, kv="q8")]
    loop.until(lambda: window.models.loading)
    assert panel.note.text() == "Changing…"
    fake.publish_model(None)
    loop.turn(4)
    assert panel.isVisible(), "it stays while the old build has gone and the new one is not there"
    assert panel.handle.value() == 0
    fake.loading_ended(fake_loaded(small))
    loop.until(lambda: not window.models.moving)
    assert (panel.track.here, panel.handle.value()) == (0, 0)
    assert window.chat_screen.view.message_ids() == shown


def test_a_build_that_fails_gives_way_to_the_one_before(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel
) -> None:
    said: list[object] = []
    window.models.problem.connect(said.append)
    middle = fake.entries[1]
    panel.handle.setValue(0)
    loop.until(lambda: fake.called("load_model"))
    loop.until(lambda: window.models.loading)
    fake.publish_model(None)
    error = ErrorInfo(code="out_of_memory", what="There is no room.", remedy="Close other programs.")
    fake.loading_ended(None, error)
    loop.until(lambda: len(fake.called("load_model")) == 2)
    assert said == [error]
    assert not fake.called("plan_load"), "there is no other way to ask for: it goes back"
    back = fake.called("load_model")[-1]
    assert (back.path, back.n_ctx, back.kv) == (middle.path, 8192, fake_loaded(middle).kv)
    fake.loading_ended(fake_loaded(middle))
    loop.until(lambda: not window.models.loading)
    assert (panel.track.here, panel.handle.value()) == (1, 500)


def test_of_two_builds_chosen_quickly_the_second_counts(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, middle = fake.entries[-2], fake.entries[1]
    third = structs.replace(small, id="3" * 16, path="builds/qwen-spqr.nutshell")
    fake.entries.append(third)
    panel.handle.setValue(0)
    loop.until(lambda: window.models.loading and fake.loading)
    first = fake.loading
    fake.publish_model(None)
    loop.turn(4)
    gate, real = asyncio.Event(), fake.load_model

    async def slow(request: LoadModel) -> Job:
        await gate.wait()
        return await real(request)

    monkeypatch.setattr(fake, "load_model", slow)
    window.models.take(LoadModel(id=third.id, path=third.path), "third")
    # the first one ends as given up before the second one is known to have begun
    fake.publish(JobChanged(job=Job(id=first or "", kind="load_model", title="", state="cancelled")))
    loop.turn(6)
    assert window.models.moving
    gate.set()
    loop.until(lambda: len(fake.called("load_model")) == 2)
    assert fake.called("load_model")[-1].path == third.path
    loop.until(lambda: window.models.progress is not None)
    fake.loading_ended(None, ErrorInfo(code="invalid_model_file", what="It is damaged.", remedy="Copy it again."))
    loop.until(lambda: len(fake.called("load_model")) == 3)
    assert fake.called("load_model")[-1].path == middle.path, "what answered before both comes back"


def test_another_model_that_was_chosen_meanwhile_is_not_taken_back(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel
) -> None:
    panel.handle.setValue(0)
    loop.until(lambda: fake.called("load_model"))
    loop.until(lambda: window.models.loading)
    window.models.load(fake.entries[0])
    loop.until(lambda: len(fake.called("load_model")) == 2)
    loop.until(lambda: not window.models.moving)
    fake.publish_model(None)
    fake.loading_ended(None, ErrorInfo(code="invalid_model_file", what="It is damaged.", remedy="Copy it again."))
    loop.until(lambda: not window.models.loading)
    loop.turn(6)
    assert len(fake.called("load_model")) == 2


def test_a_build_that_fails_beside_the_one_before_changes_nothing(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel
) -> None:
    panel.handle.setValue(0)
    loop.until(lambda: fake.called("load_model"))
    loop.until(lambda: window.models.loading)
    fake.loading_ended(None, ErrorInfo(code="invalid_model_file", what="It is damaged.", remedy="Copy it again."))
    loop.until(lambda: not window.models.moving)
    assert panel.handle.value() == 500
    assert len(fake.called("load_model")) == 1


def test_what_does_not_fit_says_why_and_lets_the_handle_go_back(
    loop: Loop, fake: FakeClient, panel: PositionPanel
) -> None:
    panel.handle.setValue(1000)
    assert panel.note.text() == "It does not fit now. Close programs that hold 1.2 GB."
    loop.until(lambda: panel.handle.value() == 500)
    assert "Close programs" in panel.note.text(), "the reason can still be read"
    assert not fake.called("load_model")
    panel.handle.setValue(520)
    assert "Close programs" not in panel.note.text()


def test_what_fits_by_now_can_be_taken(loop: Loop, fake: FakeClient, panel: PositionPanel) -> None:
    large = fake.entries[-1]
    panel.handle.setValue(1000)
    fake.stops[-1] = build(large, "F16", 3.1, 9.0, 0.0, measured=False)  # other programs were closed
    loop.until(lambda: panel.handle.value() == 500)
    loop.until(lambda: panel.track.limit == 1.0)
    assert panel.note.isHidden(), "the old reason is gone"
    panel.handle.setValue(1000)
    loop.until(lambda: fake.called("load_model"))
    assert fake.called("load_model")[0].path == large.path


def test_the_keyboard_is_enough(loop: Loop, fake: FakeClient, panel: PositionPanel) -> None:
    panel.handle.setFocus()
    QTest.keyClick(panel.handle, Qt.Key.Key_Home)
    loop.until(lambda: fake.called("load_model"))


def test_settings_of_ones_own_are_said(loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel) -> None:
    assert panel.note.isHidden()
    fake.publish_model(structs.replace(fake_loaded(fake.entries[1]), n_ctx=2048))
    loop.until(lambda: "settings of your own" in panel.note.text())
    assert "2,048 tokens of context" in panel.build.text()
    assert panel.note.text().endswith("Planned: 8,192 tokens of context.")


def test_a_slider_lies_between_the_other_builds(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    small, middle, large = three_builds(fake)
    sliding = fake_sliding(0.5)
    fake.entries.append(sliding.entry)
    own = build(sliding.entry, "slider", 0.85, 38, 0.06, position=0.5)
    fake.stops = [fake.stops[0], own, build(middle, "Q4_K_M", 1.12, 21.3, 0.0)]
    fake.loaded = sliding
    window.link.attach(fake)
    panel = window.inspector.position
    loop.until(lambda: len(panel.track.stops) == 103)
    places = [stop.place for stop in panel.track.stops]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert places[1] == pytest.approx(1 / 6)
    assert panel.track.stops[panel.track.here].position == 0.5
    panel.handle.setValue(round(1000 * places[26]))
    loop.until(lambda: fake.called("move_model"))
    assert fake.called("move_model") == [0.25]
    assert not fake.called("load_model")
    loop.until(lambda: not window.models.moving)
    panel.handle.setValue(1000)
    loop.until(lambda: fake.called("load_model"))
    assert fake.called("load_model")[0].path == middle.path
    del small, large


def test_a_place_that_was_asked_for_counts_more_than_where_it_was_left(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    _small, middle, _large = three_builds(fake)
    sliding = fake_sliding(1.0)
    fake.entries.append(sliding.entry)
    fake.stops = [build(sliding.entry, "slider", 1.1, 28, 0.03, position=1.0), fake.stops[1]]
    fake.loaded = fake_loaded(middle)
    window.models.positions[sliding.entry.path] = 0.2
    window.link.attach(fake)
    panel = window.inspector.position
    loop.until(panel.isVisible)
    panel.handle.setValue(0)
    loop.until(lambda: fake.called("load_model"))
    fake.loading_ended(sliding)
    loop.until(lambda: not window.models.moving)
    loop.turn(6)
    assert not fake.called("move_model")
    assert window.models.positions[sliding.entry.path] == 1.0


def test_a_new_build_comes_onto_the_track(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    _small, middle, _large = three_builds(fake)
    extra, fake.stops = fake.stops, [fake.stops[1]]
    fake.loaded = fake_loaded(middle)
    listed, fake.entries = fake.entries, fake.entries[:2]
    window.link.attach(fake)
    loop.until(lambda: fake.called("ladder") and window.models.ladder is not None)
    panel = window.inspector.position
    loop.until(panel.isVisible)
    assert not panel.handle.isVisible(), "one build is no choice"
    assert panel.note.text() == "It is the only build of this model on this machine."
    assert panel.takes.text().startswith("1.12 GB")
    fake.stops, fake.entries = extra, listed
    window.models.refresh()
    loop.until(panel.handle.isVisible)
    assert not panel.note.text()


def test_other_builds_are_found_or_made_from_here(
    loop: Loop, window: MainWindow, fake: FakeClient, panel: PositionPanel
) -> None:
    QTest.mouseClick(panel.others, Qt.MouseButton.LeftButton)
    page = window.pages.currentWidget()
    assert isinstance(page, DownloadPage)
    assert page.field.text() == "Qwen2.5-Coder-1.5B"
    loop.turn(4)
    assert not fake.called("search"), "nothing is asked before Search is pressed"
    window.show_chat()
    QTest.mouseClick(panel.smaller, Qt.MouseButton.LeftButton)
    assert isinstance(window.pages.currentWidget(), WizardPage)
    loop.until(lambda: fake.called("plan_compression"))
    assert fake.called("plan_compression")[-1].path == fake.entries[1].path


def test_a_streamed_slider_has_one_place_beside_other_builds(fake: FakeClient) -> None:
    _small, middle, _large = three_builds(fake)
    streamed = structs.replace(fake_sliding(0.5), streamed_bytes=10)
    stops = [build(streamed.entry, "slider", 0.85, 3, 0.06, position=0.5), fake.stops[1]]
    track = track_of(streamed, ModelLadder(path=streamed.entry.path, stops=stops, own=0))
    assert [(one.place, one.position) for one in track.stops] == [(0.0, 0.5), (1.0, None)]
    assert track_of(streamed, ModelLadder(path=middle.path, stops=stops, own=0)).stops[0].place == 0.0
    assert len(track_of(streamed, None).stops) == 101
    assert not track_of(None, None).chooses
