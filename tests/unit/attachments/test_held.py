"""Files that wait for their message: read, counted, sent, copied, exported."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from backend.api.errors import InvalidRequestError, NotFoundError
from backend.api.schemas import Attachment, Conversation, NewConversation, NewFile, StartTurn
from backend.attachments import held
from backend.attachments.frame import framed
from backend.attachments.held import HeldFiles
from backend.chat.exchange.readers import read_file
from backend.chat.exchange.writers import to_html, to_json, to_markdown
from backend.storage.attachments import MAX_ATTACHMENT, StoredFile, copying
from backend.storage.store import Store
from tests.fakes.models import echo
from tests.unit.chat.test_service import Desk, at_a_desk


def test_the_frame_is_plain_lines_before_the_words() -> None:
    notes = Attachment(id="1", message_id="m", name="my\nnotes.md", mime="text/markdown", size=1, text="\n# One\n")
    picture = Attachment(id="2", message_id="m", name="cat.png", mime="image/png", size=1)
    assert framed([notes, picture], "What is this?") == (
        "--- Attached file: my notes.md ---\n# One\n--- End of my notes.md ---\n\n"
        "--- Attached image: cat.png (only its name is shown to you; you cannot see it) ---\n\nWhat is this?"
    )
    assert framed([notes], " ").endswith("--- End of my notes.md ---")


def test_a_file_is_counted_by_the_model_or_guessed_by_its_length(tmp_path: Path) -> None:
    model = ""
    asked: list[str] = []

    async def count(text: str) -> int:
        asked.append(text)
        return 77

    async def run() -> None:
        nonlocal model
        files = HeldFiles(count, lambda: model)
        path = tmp_path / "a.txt"
        path.write_text("four" * 100)
        first = await files.add(NewFile(path=str(path)))
        assert (first.name, first.size, first.counted) == ("a.txt", 400, False)
        assert 100 < first.tokens < 120
        model = "one"
        (told,) = await files.waiting()
        assert (told.tokens, told.counted) == (77, True)
        await files.waiting()
        assert len(asked) == 1
        assert "--- Attached file: a.txt ---" in asked[0]
        model = "two"
        await files.waiting()
        assert len(asked) == 2
        files.drop(first.id)
        files.drop(first.id)
        with pytest.raises(NotFoundError):
            files.take([first.id])

    asyncio.run(run())


def test_what_is_not_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(_: str) -> int:
        return 1

    async def run() -> None:
        files = HeldFiles(count, lambda: "")
        for path in (tmp_path, tmp_path / "nowhere.txt"):
            with pytest.raises(InvalidRequestError) as caught:
                await files.add(NewFile(path=str(path)))
            assert caught.value.what.startswith(path.name)
        monkeypatch.setattr(held, "MAX_ATTACHMENT", 10)
        (tmp_path / "large.txt").write_text("x" * 11)
        with pytest.raises(InvalidRequestError, match="too large"):
            await files.add(NewFile(path=str(tmp_path / "large.txt")))

    asyncio.run(run())


def test_a_turn_with_files_reaches_the_model_and_stays(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        file = await desk.chat.files.add(NewFile(name="list.txt", text="milk, eggs"))
        assert file.counted
        ticket = await desk.chat.start_turn(conversation.id, StartTurn(text="What to buy?", files=[file.id]))
        answer = await desk.ended(ticket.assistant.id)
        framed_text = "--- Attached file: list.txt ---\nmilk, eggs\n--- End of list.txt ---\n\nWhat to buy?"
        assert answer.content == framed_text  # the echo model says what it read
        assert ticket.user is not None
        assert ticket.user.content == "What to buy?"
        assert [(a.name, a.size, a.text) for a in ticket.user.attachments] == [("list.txt", 10, "")]
        assert await desk.chat.files.waiting() == []
        again = await desk.chat.start_turn(conversation.id, StartTurn(parent_id=ticket.user.id))
        assert (await desk.ended(again.assistant.id)).content == framed_text
        edited = await desk.chat.start_turn(conversation.id, StartTurn(text="How many?", files_of=ticket.user.id))
        assert (await desk.ended(edited.assistant.id)).content == framed_text.replace("What to buy?", "How many?")
        with pytest.raises(NotFoundError):
            await desk.chat.start_turn(conversation.id, StartTurn(text="x", files=["gone"]))

    at_a_desk(tmp_path, echo(), test)


def test_a_message_of_files_only_has_their_names_for_a_title(tmp_path: Path) -> None:
    async def test(desk: Desk, conversation: Conversation) -> None:
        file = await desk.chat.files.add(NewFile(name="list.txt", text="milk"))
        ticket = await desk.chat.start_turn(conversation.id, StartTurn(text="", files=[file.id]))
        await desk.ended(ticket.assistant.id)
        assert desk.store.conversation(conversation.id).title == "list.txt"
        with pytest.raises(InvalidRequestError):
            await desk.chat.start_turn(conversation.id, StartTurn(text=" "))

    at_a_desk(tmp_path, echo(), test)


def test_files_survive_a_restart_export_and_import(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3
    path = tmp_path / "chats.db"
    with Store.open(path) as store:
        made = store.create_conversation(NewConversation(title="T"))
        files = [StoredFile("a.bin", "image/png", "", content), StoredFile("b.md", "text/markdown", "# B", b"# B")]
        store.add_message(made.id, None, "user", "look", also=copying(files, None))
    with Store.open(path) as store:
        detail = store.detail(made.id)
        (message,) = detail.messages
        assert [(file.name, file.text) for file in message.attachments] == [("a.bin", ""), ("b.md", "")]
        kept = {message.id: [(f, store.attachment_content(f.id)) for f in store.attachments(message.id)]}
        target = tmp_path / "t.json"
        target.write_text(to_json(detail, kept))
        assert "Attached: a.bin, b.md" in to_markdown(detail)
        assert "Attached: a.bin, b.md" in to_html(detail)
        (incoming,) = read_file(target)
        (copy,) = store.detail(store.import_conversation(incoming).id).messages
        found = store.attachments(copy.id)
        assert [(f.name, f.mime, f.text) for f in found] == [
            ("a.bin", "image/png", ""), ("b.md", "text/markdown", "# B"),
        ]  # fmt: skip
        assert [store.attachment_content(f.id) for f in found] == [content, b"# B"]


def test_a_damaged_attachment_costs_itself_only(tmp_path: Path) -> None:
    target = tmp_path / "t.json"
    target.write_text(
        '{"format": "nutshell-conversation", "conversation": {}, "messages": [{"id": "1", "role": "user",'
        ' "content": "hi", "attachments": [{"name": "a", "data": "%%%"}, 7, {"data": ""},'
        ' {"name": "b", "data": "eA=="}]}]}'
    )
    (incoming,) = read_file(target)
    assert [(file.name, file.content) for file in incoming.messages[0].files] == [("b", b"x")]


def test_a_file_of_the_largest_size_fits() -> None:
    assert MAX_ATTACHMENT == 64 << 20
