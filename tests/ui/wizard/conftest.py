from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.api.schemas import ModelEntry
from tests.fakes.client import FakeClient, fake_conversation, fake_loaded
from tests.ui.shell.support import Loop
from ui.bridge.engine_link import EngineLink

ORIGINAL = ModelEntry(
    id="f" * 16, name="Qwen2.5-Coder-1.5B-Instruct", path="models/Qwen2.5-Coder-1.5B-Instruct", source="file",
    bytes=3_090_000_000, architecture="qwen2", parameters=1_540_000_000, quantization="BF16", layers=28,
)  # fmt: skip


@pytest.fixture
def fake() -> FakeClient:
    made = FakeClient([fake_conversation("Merge lists", [("How?", "So.")])], loaded=fake_loaded())
    made.entries.append(ORIGINAL)
    return made


@pytest.fixture
def link(loop: Loop) -> Iterator[EngineLink]:
    made = EngineLink(frame_ms=5)
    yield made
    loop.run(made.close())
    made.deleteLater()
