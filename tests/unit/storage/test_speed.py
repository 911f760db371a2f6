"""Costs that the window's promises rest on. The bounds are several times what a slow two-core machine measured."""

import statistics
import time

import pytest

from backend.api.schemas import NewConversation
from backend.storage.rows import new_id
from backend.storage.store import Store


def milliseconds(call, times: int = 5) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(taken)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """20,000 messages in 400 conversations."""
    path = tmp_path_factory.mktemp("large") / "nutshell.db"
    with Store.open(path) as store:

        def fill(connection):
            for number in range(400):
                conversation = new_id()
                connection.execute(
                    "INSERT INTO conversations (id, title, created_at, updated_at) VALUES (?, ?, ?, ?)",
                    (conversation, f"title {number}", number, number),
                )
                ids = [None, *(new_id() for _ in range(50))]
                connection.executemany(
                    "INSERT INTO messages (id, conversation_id, parent_id, role, status, created_at, content)"
                    " VALUES (?, ?, ?, 'user', 'complete', ?, ?)",
                    (
                        (ids[turn + 1], conversation, ids[turn], turn, f"the word{number} and word{turn} " * 8)
                        for turn in range(50)
                    ),
                )
                connection.execute("UPDATE conversations SET head_id = ? WHERE id = ?", (ids[-1], conversation))

        store._db.write(fill)
    return path


def test_opening_is_quick(path, large):
    Store.open(path).close()
    assert milliseconds(lambda: Store.open(path).close()) < 15
    assert milliseconds(lambda: Store.open(large).close()) < 30


def test_listing_and_searching_are_quick(large):
    with Store.open(large) as store:
        head = store.conversations()[0].head_id
        assert len(store.branch(head)) == 50
        assert milliseconds(store.conversations) < 50
        assert milliseconds(lambda: store.branch(head)) < 20
        for query in ("the", "w", "word7 word9", '"the word3"', "absent", "->"):
            assert milliseconds(lambda query=query: store.search(query), 3) < 50


def test_a_piece_stays_cheap_at_20000(store):
    made = store.create_conversation(NewConversation())
    answer = store.add_message(made.id, None, "assistant", "", status="streaming")
    taken = []
    for number in range(20_000):
        begun = time.perf_counter()
        store.append_text(answer.id, f"word{number} ")
        taken.append((time.perf_counter() - begun) * 1e6)
    early, late = statistics.median(taken[1000:3000]), statistics.median(taken[-2000:])
    assert late < 300
    assert late < 3 * early
    begun = time.perf_counter()
    assert len(store.finish_message(answer.id, status="complete").content.split()) == 20_000
    assert time.perf_counter() - begun < 0.5
