from __future__ import annotations

import pytest

from tests.formats.plain_packing import use_plain_packing


@pytest.fixture
def plain_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linears keep the numbers that the reader gave them, so that a test can look at those."""
    use_plain_packing(monkeypatch)
