"""The slider of a model that was made at several sizes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from msgspec import structs
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from backend.api.errors import MemoryShortageError
from backend.api.schemas import LoadedModel
from tests.fakes.client import FakeClient, fake_loaded, fake_sliding
from tests.ui.shell.support import Loop, shown_window
from ui.inspector.position import PositionPanel
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def saved() -> dict[str, object]:
    return {}


@pytest.fixture
def window(loop: Loop, saved: dict[str, object], qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    with shown_window(
        loop, 1180, 780, settings={"slider_positions": '{"elsewhere": 0.2, "bad": "x"}'}, save=saved.update
    ) as made:
        yield made
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=False)


def attach(loop: Loop, window: MainWindow, fake: FakeClient) -> PositionPanel:
    window.link.attach(fake)
    loop.until(lambda: fake.following.is_set() and window.models.loaded is not None)
    return window.inspector.position


def test_only_models_that_have_one_show_it(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    panel = attach(loop, window, fake)
    assert not panel.isVisible()
    fake.publish_model(fake_sliding())
    loop.until(panel.isVisible)
    fake.publish_model(fake_loaded())
    loop.until(lambda: not panel.isVisible())


def test_the_handle_says_what_its_position_takes_and_gives(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    assert panel.handle.value() == 500
    assert panel.takes.text() == "850 MB · about 38 tok/s"
    assert panel.holds.text() == "1.04 GB of memory with the conversation"
    assert panel.gives.text() == "Very close to the original · perplexity +6.2 % (measured)"
    panel.handle.setValue(104)  # the nearest of its hundred
    assert panel.stop() is not None
    assert panel.takes.text().startswith("650 MB · about 46 tok/s")
    assert panel.gives.text() == "Noticeably weaker · perplexity +46 % (expected)"
    assert "650 MB" in panel.handle.accessibleDescription()
    assert len(panel.handle.marks) == 5
    panel.handle.setValue(1000)
    assert panel.takes.text().startswith("1.1 GB")


def test_a_handle_that_rests_moves_the_model(
    loop: Loop, window: MainWindow, fake: FakeClient, saved: dict[str, object]
) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    assert not fake.called("move_model")
    panel.handle.setValue(300)
    assert not fake.called("move_model"), "it waits for the handle to rest"
    loop.until(lambda: fake.called("move_model"))
    assert fake.called("move_model") == [0.3]
    loop.until(lambda: not window.models.moving)
    assert window.models.loaded is not None
    assert window.models.loaded.slider is not None
    assert window.models.loaded.slider.position == 0.3
    assert panel.handle.value() == 300
    loop.until(lambda: "slider_positions" in saved)
    assert json.loads(str(saved["slider_positions"])) == {"elsewhere": 0.2, fake_sliding().entry.path: 0.3}


def test_a_handle_that_is_let_go_moves_it_at_once(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.loaded = fake_sliding(0.0)
    panel = attach(loop, window, fake)
    start, end = QPoint(6, 10), QPoint(panel.handle.width() - 6, 10)
    QTest.mousePress(panel.handle, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, start)
    QTest.mouseMove(panel.handle, end)
    loop.turn()
    assert not fake.called("move_model")
    QTest.mouseRelease(panel.handle, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, end)
    assert window.models.moving
    loop.until(lambda: fake.called("move_model") == [1.0])


def test_of_several_moves_the_last_one_counts(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    gate, real = asyncio.Event(), fake.move_model

    async def slow(position: float) -> LoadedModel:
        await gate.wait()
        return await real(position)

    monkeypatch.setattr(fake, "move_model", slow)
    for position in (0.1, 0.2, 0.3):
        window.models.move(position)
    loop.turn()
    panel.handle.setValue(300)
    assert panel.note.text() == "Changing…"
    gate.set()
    loop.until(lambda: fake.called("move_model") == [0.1, 0.3])
    loop.until(lambda: not window.models.moving)
    assert panel.handle.value() == 300
    assert "measured" in panel.note.text()


def test_while_an_answer_is_written_the_next_one_is_meant(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    gate = asyncio.Event()

    async def slow(position: float) -> LoadedModel:
        await gate.wait()
        return fake_sliding(position)

    monkeypatch.setattr(fake, "move_model", slow)
    window.chat.send("Why?")
    loop.until(lambda: window.chat.busy)
    window.models.move(0.25)
    assert panel.note.text() == "From the next answer on."
    gate.set()
    loop.until(lambda: not window.models.moving)


def test_a_position_that_does_not_fit_is_said_and_the_handle_goes_back(
    loop: Loop, window: MainWindow, fake: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    said: list[object] = []
    window.models.problem.connect(said.append)

    async def full(position: float) -> LoadedModel:
        raise MemoryShortageError("There is no room.", remedy="Close other programs.")

    monkeypatch.setattr(fake, "move_model", full)
    panel.handle.setValue(900)
    loop.until(lambda: said)
    assert panel.handle.value() == 500
    assert not window.models.moving


def test_a_model_that_comes_back_stands_where_it_was_left(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    window.models.positions[fake_sliding().entry.path] = 0.25
    panel = attach(loop, window, fake)
    fake.publish_model(fake_sliding(0.5))
    loop.until(lambda: fake.called("move_model") == [0.25])
    loop.until(lambda: panel.handle.value() == 250)
    fake.publish_model(fake_loaded())
    loop.until(lambda: not panel.isVisible())
    fake.publish_model(fake_sliding(0.25))
    loop.until(panel.isVisible)
    loop.turn(6)
    assert fake.called("move_model") == [0.25]


def test_a_model_that_is_read_from_the_disk_stays_where_it_is_and_says_so(
    loop: Loop, window: MainWindow, fake: FakeClient
) -> None:
    panel = attach(loop, window, fake)
    sliding = fake_sliding(0.5)
    window.models.positions[sliding.entry.path] = 0.9  # where it was left: no move is asked for that would be refused
    fake.publish_model(structs.replace(sliding, streamed_bytes=400_000_000))
    loop.until(panel.isVisible)
    assert not panel.handle.isEnabled()
    assert panel.handle.value() == 500
    assert panel.note.text().startswith("Part of the model is read from the disk")
    assert not window.models.moving
    fake.publish_model(fake_loaded())
    loop.until(lambda: not panel.isVisible())
    fake.publish_model(fake_sliding(0.9))
    loop.until(panel.isVisible)
    assert panel.handle.isEnabled()
    assert "disk" not in panel.note.text()


def test_the_wheel_scrolls_the_page_behind_it(loop: Loop, window: MainWindow, fake: FakeClient) -> None:
    fake.loaded = fake_sliding(0.5)
    panel = attach(loop, window, fake)
    from PySide6.QtCore import QPointF
    from PySide6.QtGui import QWheelEvent

    event = QWheelEvent(
        QPointF(10, 10),
        QPointF(10, 10),
        QPoint(0, -120),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(panel.handle, event)
    assert panel.handle.value() == 500
