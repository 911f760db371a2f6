from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop, qt_loop
from ui.bridge.engine_link import EngineLink
from ui.main_window import MainWindow


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[Loop]:
    with qt_loop(qapp) as made:
        yield made


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient(
        [
            fake_conversation("Merge lists", [("How do I merge two lists?", "With `a + b`.")]),
            fake_conversation("Über Birnen", [("Birnen?", "Birnen.")], age_s=86_400),
        ],
        loaded=fake_loaded(),
    )


@pytest.fixture
def window(loop: Loop, fake: FakeClient) -> Iterator[MainWindow]:
    link = EngineLink(frame_ms=5)
    made = MainWindow(link)
    made.resize(1000, 700)
    made.show()
    link.attach(fake)
    loop.until(lambda: len(made.chat.list) == len(fake.details) and made.models.list.rowCount())
    yield made
    made.close()
    loop.run(link.close())
    made.deleteLater()
    loop.turn()
