from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtWidgets import QApplication

from tests.ui.shell.support import Loop, qt_loop


@pytest.fixture
def loop(qapp: QApplication) -> Iterator[Loop]:
    with qt_loop(qapp) as made:
        yield made
