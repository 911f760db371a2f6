from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink

DAY = 86_400.0


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient(
        [
            fake_conversation("Merge lists", [("How do I merge two lists?", "With `a + b`.")]),
            fake_conversation("Dinner ideas", [("What can I cook?", "Lentils."), ("And then?", "Pears.")], age_s=DAY),
            fake_conversation("Old plans", [("Plan", "Planned.")], age_s=40 * DAY),
        ],
        loaded=fake_loaded(),
    )


@pytest.fixture
def link(loop: Loop) -> Iterator[EngineLink]:
    made = EngineLink(frame_ms=5)
    yield made
    loop.run(made.close())
    made.deleteLater()
