"""Fixtures of a large window whose pages are looked at; the test attaches the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop, shown_window
from ui.main_window import MainWindow
from ui.theme import apply_theme

__all__ = ["fake", "window"]


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient([fake_conversation("Merge lists", [("How?", "So.")])], loaded=fake_loaded())


@pytest.fixture
def window(loop: Loop, qapp: QApplication) -> Iterator[MainWindow]:
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
    with shown_window(loop, 1180, 860) as made:
        yield made
