from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.models import scripted
from tests.fakes.server import RunningServer, running_server

ANSWER = "Hello there, friend."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The window's private server, with a model that always says `ANSWER`."""
    with running_server(tmp_path_factory.mktemp("data"), lambda: scripted(ANSWER)) as running:
        yield running


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a server's data."""
    return tmp_path_factory.mktemp("data")
