"""What the tests of the hub share."""

from __future__ import annotations

import pytest

from backend.hub.network import Network


@pytest.fixture
def network() -> Network:
    """Lines that are silent for a second are dead."""
    return Network(silence_s=1.0)
