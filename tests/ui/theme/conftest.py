from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication

from ui.theme import apply_theme


@pytest.fixture(autouse=True)
def light(qapp: QApplication) -> None:
    """Light, at 100 %, without motion, whatever the test before left."""
    apply_theme(qapp, "light", zoom=1.0, reduced_motion=True)
