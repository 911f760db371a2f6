from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop, qt_loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow
from ui.theme import apply_theme


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[Loop]:
    with qt_loop(qapp) as made:
        yield made


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient([fake_conversation("Merge lists", [("How?", "So.")])], loaded=fake_loaded())


@pytest.fixture
def window(loop: Loop, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    link = EngineLink(frame_ms=5)
    made = MainWindow(link, {})
    made.resize(1180, 860)
    made.show()
    yield made
    made.close()
    loop.run(link.close())
    made.deleteLater()
    loop.turn()
