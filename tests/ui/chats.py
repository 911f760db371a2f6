"""Fixtures of a window that has an engine with two conversations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop, shown_window
from ui.main_window import MainWindow

__all__ = ["fake", "window"]


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
    with shown_window(loop, 1000, 700) as made:
        made.link.attach(fake)
        loop.until(lambda: len(made.chat.list) == len(fake.details) and made.models.list.rowCount())
        yield made
