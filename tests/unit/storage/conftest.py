from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.api.schemas import Conversation, NewConversation
from backend.storage.store import Store


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "data" / "nutshell.db"


@pytest.fixture
def store(path) -> Iterator[Store]:
    with Store.open(path) as opened:
        yield opened


@pytest.fixture
def conversation(store) -> Conversation:
    return store.create_conversation(NewConversation(title="First"))
