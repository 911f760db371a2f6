"""What every test of the window needs: the theme in force, an event loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from tests.ui.shell.support import Loop, qt_loop
from ui.bridge.garbage import collect_in_gui_thread


@pytest.fixture(autouse=True)
def light_theme(qapp: QApplication) -> Iterator[None]:
    """Light, at 100 %, without motion, and garbage collected where the program has it collected."""
    collector = collect_in_gui_thread()
    yield
    collector.collect_if_due()


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[Loop]:
    with qt_loop(qapp) as made:
        yield made
