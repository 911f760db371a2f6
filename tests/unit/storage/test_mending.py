"""A conversation that is changed afterwards stays a tree that every walk gets through."""

from __future__ import annotations

import pytest

from backend.api.errors import ConflictError, NotFoundError
from backend.api.schemas import NewConversation
from backend.storage.store import Store


def talk(store: Store, turns: int) -> tuple[str, list[str]]:
    """A conversation of so many turns, and the ids of its messages."""
    conversation = store.create_conversation(NewConversation(title="t"))
    ids: list[str] = []
    for number in range(turns * 2):
        role = "assistant" if number % 2 else "user"
        ids.append(store.add_message(conversation.id, ids[-1] if ids else None, role, f"{role} {number}").id)
    return conversation.id, ids


def shown(store: Store, conversation_id: str) -> list[str]:
    head = store.conversation(conversation_id).head_id
    return [one.content for one in store.branch(head)] if head else []


@pytest.mark.parametrize("by", ["question", "answer"])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_turn_goes_and_what_followed_stays(store: Store, turn: int, by: str) -> None:
    conversation_id, ids = talk(store, 3)
    before = shown(store, conversation_id)
    store.delete_turn(ids[2 * turn + (by == "answer")])
    assert shown(store, conversation_id) == before[: 2 * turn] + before[2 * turn + 2 :]
    assert len(store.detail(conversation_id).messages) == 4
    assert not store.search(f'"user {2 * turn}"')


def test_the_last_turn_leaves_an_empty_conversation(store: Store) -> None:
    conversation_id, ids = talk(store, 1)
    assert store.delete_turn(ids[1]).head_id is None
    assert store.detail(conversation_id).messages == []
    assert store.add_message(conversation_id, None, "user", "again").parent_id is None


def test_one_of_two_answers_goes_alone(store: Store) -> None:
    conversation_id, ids = talk(store, 1)
    second = store.add_version(ids[1], "better")
    assert shown(store, conversation_id) == ["user 0", "better"]
    store.delete_turn(second.id)
    assert shown(store, conversation_id) == ["user 0", "assistant 1"]


def test_a_version_stands_beside_its_original(store: Store) -> None:
    conversation_id, ids = talk(store, 2)
    made = store.add_version(ids[1], "in other \ud83d words")
    assert (made.role, made.parent_id, made.status) == ("assistant", ids[0], "complete")
    assert [one.id for one in store.siblings(ids[1])] == [ids[1], made.id]
    assert store.conversation(conversation_id).head_id == made.id
    assert store.search("words")[0].message_id == made.id


def test_nothing_is_changed_while_an_answer_is_written(store: Store) -> None:
    conversation_id, ids = talk(store, 1)
    answer = store.add_message(conversation_id, ids[1], "assistant", "", status="streaming")
    for call in (lambda: store.delete_turn(ids[0]), lambda: store.add_version(ids[1], "x")):
        with pytest.raises(ConflictError):
            call()
    store.finish_message(answer.id, status="complete")
    with pytest.raises(NotFoundError):
        store.delete_turn("0" * 32)
