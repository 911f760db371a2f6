"""What every test of the window needs: the theme in force, and the one warning that is the test platform's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from ui.bridge.garbage import collect_in_gui_thread


def pytest_configure(config: pytest.Config) -> None:
    # The offscreen platform says this of every window and every popup; no other has the words.
    config.addinivalue_line("qt_log_ignore", "This plugin does not support")


@pytest.fixture(autouse=True)
def light_theme(qapp: QApplication) -> Iterator[None]:
    """Light, at 100 %, without motion, and garbage collected where the program has it collected."""
    collector = collect_in_gui_thread()
    yield
    collector.collect_if_due()
