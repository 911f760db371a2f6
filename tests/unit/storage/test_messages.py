import threading

import pytest

from backend.api.errors import ConflictError, NotFoundError, StorageError
from backend.api.schemas import ContextCut, ConversationUpdate, ErrorInfo, NewConversation, TurnStats
from backend.storage.store import Store


def test_a_message_becomes_the_head_and_names_the_model(store, conversation):
    asked = store.add_message(conversation.id, None, "user", "Hello")
    answer = store.add_message(conversation.id, asked.id, "assistant", "Hi", model="0123456789abcdef")
    found = store.conversation(conversation.id)
    assert (found.head_id, found.model) == (answer.id, "0123456789abcdef")
    assert store.message(answer.id) == answer
    assert answer.status == "complete"


def test_edits_make_branches(store, conversation):
    asked = store.add_message(conversation.id, None, "user", "Hello")
    first = store.add_message(conversation.id, asked.id, "assistant", "one")
    second = store.add_message(conversation.id, asked.id, "assistant", "two")
    below_first = store.add_message(conversation.id, first.id, "user", "more")
    edited = store.add_message(conversation.id, None, "user", "Hello, edited")
    assert [m.id for m in store.siblings(first.id)] == [first.id, second.id]
    assert [m.id for m in store.siblings(asked.id)] == [asked.id, edited.id]
    assert [m.id for m in store.branch(below_first.id)] == [asked.id, first.id, below_first.id]
    assert [m.id for m in store.branch(second.id)] == [asked.id, second.id]
    assert store.newest_leaf(first.id).id == below_first.id
    assert store.newest_leaf(asked.id).id == second.id
    assert store.conversation(conversation.id).head_id == edited.id
    store.update_conversation(conversation.id, ConversationUpdate(head_id=below_first.id))
    assert store.conversation(conversation.id).head_id == below_first.id
    assert [m.id for m in store.detail(conversation.id).messages] == [
        asked.id, first.id, second.id, below_first.id, edited.id
    ]  # fmt: skip


def test_roots_of_other_conversations_are_not_siblings(store, conversation):
    mine = store.add_message(conversation.id, None, "user", "mine")
    other = store.create_conversation(NewConversation())
    store.add_message(other.id, None, "user", "theirs")
    assert [m.id for m in store.siblings(mine.id)] == [mine.id]


def test_a_parent_or_head_of_another_conversation_is_not_found(store, conversation):
    other = store.create_conversation(NewConversation())
    theirs = store.add_message(other.id, None, "user", "theirs")
    with pytest.raises(NotFoundError):
        store.add_message(conversation.id, theirs.id, "user", "x")
    with pytest.raises(NotFoundError):
        store.update_conversation(conversation.id, ConversationUpdate(head_id=theirs.id))
    assert store.detail(conversation.id).messages == []
    assert store.update_conversation(other.id, ConversationUpdate(head_id=None)).head_id is None


def test_streamed_text_can_be_read_while_it_comes_and_is_folded_at_the_end(store, conversation):
    asked = store.add_message(conversation.id, None, "user", "Hello")
    answer = store.add_message(conversation.id, asked.id, "assistant", "", status="streaming")
    for piece in ("Once ", "", "upon ", "a \U0001f642 time\n\n"):
        store.append_text(answer.id, piece)
    text = "Once upon a \U0001f642 time\n\n"
    assert store.message(answer.id).content == text
    assert store.branch(answer.id)[-1].content == text
    assert store.detail(conversation.id).messages[-1].content == text
    assert store.search("upon") == []
    stats = TurnStats(
        tok_s=24.5,
        completion_tokens=9,
        finish_reason="length",
        cut=ContextCut(policy="drop_middle", dropped=[asked.id], first_kept=answer.id),
    )
    done = store.finish_message(answer.id, status="complete", stats=stats)
    assert (done.content, done.status, done.stats, done.error) == (text, "complete", stats, None)
    assert store.message(answer.id) == done
    assert [h.message_id for h in store.search("upon")] == [answer.id]


def test_an_answer_can_be_continued(store, conversation):
    answer = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    store.append_text(answer.id, "first ")
    error = ErrorInfo(code="internal_error", what="It stopped.")
    assert store.finish_message(answer.id, status="failed", error=error).error == error
    again = store.reopen_message(answer.id)
    assert (again.status, again.content, again.error) == ("streaming", "first ", None)
    store.append_text(answer.id, "second")
    assert store.finish_message(answer.id, status="stopped").content == "first second"
    assert [h.snippet for h in store.search("first second")] == ["\u2068first\u2069 \u2068second\u2069"]


def test_only_a_streaming_message_takes_text(store, conversation):
    asked = store.add_message(conversation.id, None, "user", "Hello")
    with pytest.raises(ConflictError):
        store.append_text(asked.id, "more")
    with pytest.raises(ConflictError):
        store.finish_message(asked.id, status="complete")
    answer = store.add_message(conversation.id, asked.id, "assistant", "", status="streaming")
    with pytest.raises(ConflictError):
        store.reopen_message(answer.id)
    store.finish_message(answer.id, status="complete")
    with pytest.raises(ConflictError):
        store.append_text(answer.id, "late")
    assert store.message(answer.id).content == ""


def test_an_answer_can_end_in_the_trash_and_text_after_a_purge_is_refused(store, conversation):
    first = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    second = store.add_message(conversation.id, None, "assistant", "", status="streaming")
    store.delete_conversation(conversation.id)
    store.append_text(first.id, "still saved")
    assert store.finish_message(first.id, status="stopped").content == "still saved"
    assert store.purge_deleted(float("inf")) == 1
    with pytest.raises(NotFoundError):
        store.append_text(second.id, "too late")
    with pytest.raises(NotFoundError):
        store.finish_message(second.id, status="stopped")


@pytest.mark.parametrize("text", ["a\0b", "\U0001f468‍\U0001f469‍\U0001f467", "\r\n\ttabs", "ﷺ", "x" * 300_000, ""])
def test_any_text_comes_back_as_it_was(store, conversation, text):
    message = store.add_message(conversation.id, None, "user", text)
    answer = store.add_message(conversation.id, message.id, "assistant", "", status="streaming")
    store.append_text(answer.id, text)
    store.append_text(answer.id, text)
    assert store.message(message.id).content == text
    assert store.finish_message(answer.id, status="complete").content == text * 2


def test_broken_surrogates_are_mended(store, conversation):
    message = store.add_message(conversation.id, None, "user", "pair \ud83d\ude42 half \ud83d end")
    assert message.content == "pair \U0001f642 half � end"


def test_closing_ends_what_was_streaming(path):
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation())
        answer = store.add_message(made.id, None, "assistant", "", status="streaming")
        store.append_text(answer.id, "half")
    with Store.open(path) as store:
        found = store.message(answer.id)
        assert (found.status, found.content) == ("interrupted", "half")
        assert store.search("half")
    with pytest.raises(StorageError):
        store.conversations()
    store.close()


def test_threads_share_a_store(store):
    conversations = [store.create_conversation(NewConversation(title=str(n))) for n in range(6)]
    failures: list[BaseException] = []
    texts: dict[str, str] = {}
    together = threading.Barrier(7)

    def talk(conversation_id: str) -> None:
        try:
            together.wait(10)
            parent = None
            for turn in range(8):
                asked = store.add_message(conversation_id, parent, "user", f"question {turn}")
                answer = store.add_message(conversation_id, asked.id, "assistant", "", status="streaming")
                for word in range(20):
                    store.append_text(answer.id, f"{turn}.{word} ")
                texts[answer.id] = store.finish_message(answer.id, status="complete").content
                parent = answer.id
        except BaseException as error:
            failures.append(error)

    def look() -> None:
        try:
            together.wait(10)
            for _ in range(60):
                store.conversations()
                store.search("question")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(c.id,)) for c in conversations] + [threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(texts) == 48
    for conversation in conversations:
        head = store.conversation(conversation.id).head_id
        branch = store.branch(head)
        assert [m.role for m in branch] == ["user", "assistant"] * 8
        for turn, message in enumerate(branch[1::2]):
            assert message.content == "".join(f"{turn}.{word} " for word in range(20))


def test_two_stores_share_a_file(store, path, conversation):
    with Store.open(path) as other:
        message = other.add_message(conversation.id, None, "user", "from the other")
        assert store.message(message.id) == message
        answer = store.add_message(conversation.id, message.id, "assistant", "", status="streaming")
        store.append_text(answer.id, "mine")
        assert other.message(answer.id).content == "mine"
        with pytest.raises(ConflictError):
            other.append_text(answer.id, "theirs")
        with pytest.raises(ConflictError):
            other.finish_message(answer.id, status="complete")
    assert store.finish_message(answer.id, status="complete").content == "mine"
