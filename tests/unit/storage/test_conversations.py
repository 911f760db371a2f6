import time

import pytest

from backend.api.errors import ConflictError, InvalidRequestError, NotFoundError
from backend.api.schemas import ConversationUpdate, NewConversation, Sampling
from backend.storage.attachments import MAX_ATTACHMENT
from backend.storage.store import Store

NO_SUCH = "0" * 32


def test_a_new_conversation_is_empty_and_stays_after_a_restart(path):
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation(title="Grüße", system_prompt="Be brief."))
        assert made.head_id is None
        assert made.context_policy == "drop_middle"
    with Store.open(path) as store:
        assert store.notices == []
        assert store.conversation(made.id) == made
        assert store.detail(made.id).messages == []


def test_the_list_has_the_last_written_first(store):
    first, second, third = (store.create_conversation(NewConversation(title=str(n))) for n in range(3))
    assert [c.id for c in store.conversations()] == [third.id, second.id, first.id]
    store.add_message(first.id, None, "user", "hello")
    assert [c.id for c in store.conversations()] == [first.id, third.id, second.id]
    store.update_conversation(second.id, ConversationUpdate(title="renamed"))
    assert [c.title for c in store.conversations()] == ["0", "2", "renamed"]


def test_an_update_changes_only_what_it_gives(store, conversation):
    sampling = Sampling(temperature=0.1, stop=["\n"])
    store.update_conversation(
        conversation.id, ConversationUpdate(sampling=sampling, system_prompt="p", context_policy="stop")
    )
    changed = store.update_conversation(conversation.id, ConversationUpdate(title="Second"))
    assert (changed.title, changed.sampling, changed.system_prompt) == ("Second", sampling, "p")
    assert changed.context_policy == "stop"
    assert store.update_conversation(conversation.id, ConversationUpdate(sampling=None)).sampling is None


def test_delete_can_be_undone_with_everything_in_it(store, conversation):
    message = store.add_message(conversation.id, None, "user", "keep me")
    deleted = store.delete_conversation(conversation.id)
    assert deleted.deleted_at == pytest.approx(time.time(), abs=5)
    assert store.conversations() == []
    assert [c.id for c in store.conversations(deleted=True)] == [conversation.id]
    assert store.search("keep") == []
    with pytest.raises(ConflictError):
        store.add_message(conversation.id, message.id, "user", "into the trash")
    assert store.delete_conversation(conversation.id).deleted_at == deleted.deleted_at
    restored = store.restore_conversation(conversation.id)
    assert restored.deleted_at is None
    assert store.detail(conversation.id).messages == [message]
    assert len(store.search("keep")) == 1


def test_purge_removes_the_old_trash_only_and_its_text_from_the_file(path):
    secret = "xylophone quartz"
    with Store.open(path) as store:
        gone = store.create_conversation(NewConversation(title="gone"))
        kept = store.create_conversation(NewConversation(title="kept"))
        parent = None
        for number in range(1500):  # deeper than SQLite's limit of 1,000 nested deletions
            parent = store.add_message(gone.id, parent, "user", f"{secret} {number} " * 5).id
        store.add_attachment(parent, "a.txt", "text/plain", secret.encode())
        store.delete_conversation(gone.id)
        assert store.purge_deleted(time.time() - 60) == 0
        assert store.purge_deleted(time.time() + 1) == 1
        with pytest.raises(NotFoundError):
            store.conversation(gone.id)
        assert [c.id for c in store.conversations()] == [kept.id]
        assert store.search("xylophone") == []
        everything = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
        assert secret.encode() not in everything
    with Store.open(path) as store:
        assert store.notices == []


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.conversation(NO_SUCH),
        lambda s: s.detail(NO_SUCH),
        lambda s: s.update_conversation(NO_SUCH, ConversationUpdate(title="x")),
        lambda s: s.delete_conversation(NO_SUCH),
        lambda s: s.restore_conversation(NO_SUCH),
        lambda s: s.create_conversation(NewConversation(folder_id=NO_SUCH)),
        lambda s: s.create_conversation(NewConversation(preset_id=NO_SUCH)),
        lambda s: s.message(NO_SUCH),
        lambda s: s.branch(NO_SUCH),
        lambda s: s.siblings(NO_SUCH),
        lambda s: s.newest_leaf(NO_SUCH),
        lambda s: s.add_message(NO_SUCH, None, "user", "x"),
        lambda s: s.append_text(NO_SUCH, "x"),
        lambda s: s.finish_message(NO_SUCH, status="complete"),
        lambda s: s.reopen_message(NO_SUCH),
        lambda s: s.update_folder(NO_SUCH, name="x"),
        lambda s: s.delete_folder(NO_SUCH),
        lambda s: s.create_folder("x", NO_SUCH),
        lambda s: s.update_preset(NO_SUCH, name="x"),
        lambda s: s.delete_preset(NO_SUCH),
        lambda s: s.add_attachment(NO_SUCH, "a", "text/plain", b""),
        lambda s: s.attachment(NO_SUCH),
        lambda s: s.attachment_content(NO_SUCH),
        lambda s: s.delete_attachment(NO_SUCH),
    ],
)
def test_what_does_not_exist_is_not_found(store, call):
    with pytest.raises(NotFoundError) as caught:
        call(store)
    assert caught.value.what.endswith(".")


def test_folders_nest_and_what_is_in_a_deleted_one_moves_up(store):
    top = store.create_folder("Work")
    inner = store.create_folder("Reports", top.id)
    innermost = store.create_folder("2026", inner.id)
    made = store.create_conversation(NewConversation(folder_id=inner.id))
    assert [f.name for f in store.list_folders()] == ["2026", "Reports", "Work"]
    with pytest.raises(InvalidRequestError):
        store.update_folder(top.id, parent_id=innermost.id)
    with pytest.raises(InvalidRequestError):
        store.update_folder(top.id, parent_id=top.id)
    assert store.update_folder(inner.id, name="Papers").name == "Papers"
    store.delete_folder(inner.id)
    assert store.conversation(made.id).folder_id == top.id
    assert {f.id: f.parent_id for f in store.list_folders()} == {top.id: None, innermost.id: top.id}
    store.delete_folder(top.id)
    assert store.conversation(made.id).folder_id is None
    assert store.update_folder(innermost.id, parent_id=None).parent_id is None


def test_presets_give_prompt_and_sampling(store):
    preset = store.create_preset("Pirate", "Talk like a pirate.", Sampling(temperature=1.2))
    made = store.create_conversation(NewConversation(preset_id=preset.id))
    assert (made.system_prompt, made.sampling) == ("Talk like a pirate.", Sampling(temperature=1.2))
    own = store.create_conversation(NewConversation(preset_id=preset.id, system_prompt="Mine."))
    assert own.system_prompt == "Mine."
    store.update_preset(preset.id, name="Sailor", sampling=None)
    assert store.list_presets() == [type(preset)(id=preset.id, name="Sailor", system_prompt="Talk like a pirate.")]
    store.delete_preset(preset.id)
    assert store.conversation(made.id).preset_id is None
    assert store.conversation(made.id).system_prompt == "Talk like a pirate."


def test_attachments_come_back_byte_by_byte(store, conversation):
    message = store.add_message(conversation.id, None, "user", "see this")
    content = bytes(range(256)) * 300
    first = store.add_attachment(message.id, "plan.pdf", "application/pdf", content, text="the plan")
    second = store.add_attachment(message.id, "empty", "application/octet-stream", b"")
    assert store.attachments(message.id) == [first, second]
    assert (first.size, first.text) == (len(content), "the plan")
    assert store.attachment(first.id) == first
    assert store.attachment_content(first.id) == content
    assert store.attachment_content(second.id) == b""
    store.delete_attachment(first.id)
    assert store.attachments(message.id) == [second]


def test_an_attachment_has_a_largest_size(store, conversation):
    message = store.add_message(conversation.id, None, "user", "see this")
    with pytest.raises(InvalidRequestError) as caught:
        store.add_attachment(message.id, "film.mkv", "video/x-matroska", bytes(MAX_ATTACHMENT + 1))
    assert "67 MB" in caught.value.why
    assert store.attachments(message.id) == []


def test_pinned_and_archived_are_kept_beside_what_a_newer_version_wrote(store):
    made = store.create_conversation(NewConversation(title="a"))
    store._db.run("UPDATE conversations SET extra = ? WHERE id = ?", ('{"colour": "red"}', made.id))
    assert not made.pinned
    assert not made.archived
    assert store.update_conversation(made.id, ConversationUpdate(pinned=True)).pinned
    after = store.update_conversation(made.id, ConversationUpdate(archived=True, title="b"))
    assert (after.pinned, after.archived, after.title) == (True, True, "b")
    assert not store.update_conversation(made.id, ConversationUpdate(pinned=False)).pinned
    with store._db.reading() as connection:
        assert '"colour":"red"' in connection.execute("SELECT extra FROM conversations").fetchone()[0]
    store._db.run("UPDATE conversations SET extra = ? WHERE id = ?", ("not JSON", made.id))
    assert not store.conversation(made.id).archived
    assert store.update_conversation(made.id, ConversationUpdate(archived=True)).archived
    assert [one.archived for one in store.conversations()] == [True]


def test_a_draft_is_kept_with_its_conversation(store):
    made = store.create_conversation(NewConversation(title="a"))
    text = 'half "a"\n\\thought \ud83d 日本'
    assert store.update_conversation(made.id, ConversationUpdate(draft=text, pinned=True)).draft == text.replace(
        "\ud83d", "\ufffd"
    )
    assert store.conversations()[0].pinned
    assert store.update_conversation(made.id, ConversationUpdate(draft="")).draft == ""


def test_presets_keep_their_icon_and_model(store):
    made = store.create_preset("Pirate", icon="moon", model="m" * 16)
    assert (made.icon, made.model) == ("moon", "m" * 16)
    changed = store.update_preset(made.id, model="")
    assert (changed.icon, changed.model) == ("moon", "")
    assert store.list_presets() == [changed]
