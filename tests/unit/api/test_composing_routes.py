"""Files and prompts through the client that the window uses, over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.api.client import Client
from backend.api.errors import InvalidRequestError, NotFoundError
from backend.api.schemas import NewConversation, NewFile, NewPrompt, PromptUpdate, StartTurn, TurnEnded
from tests.fakes.server import RunningServer
from tests.unit.api.test_client import run

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def test_a_file_is_read_sent_shown_and_exported(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("# Notes\n\nBuy milk.\n")

    async def test(client: Client) -> None:
        notes = await client.add_file(NewFile(path=str(path)))
        picture = await client.add_file(NewFile(name="cat.png", data=PNG))
        dropped = await client.add_file(NewFile(name="x.txt", text="gone"))
        await client.drop_file(dropped.id)
        assert [(one.name, one.mime) for one in await client.held_files()] == [
            ("notes.md", "text/markdown"), ("cat.png", "image/png"),
        ]  # fmt: skip
        made = await client.create_conversation(NewConversation(title="Shopping"))
        turn = StartTurn(text="What to buy?", files=[notes.id, picture.id])
        events = [event async for event in client.chat_stream(made.id, turn)]
        assert isinstance(events[-1], TurnEnded)
        assert await client.held_files() == []
        asked = (await client.conversation(made.id)).messages[0]
        first, second = asked.attachments
        assert (first.name, first.text, second.size) == ("notes.md", "", len(PNG))
        assert (await client.attachment(first.id)).text == "# Notes\n\nBuy milk.\n"
        assert await client.attachment_content(second.id) == PNG
        text = await client.export_conversation(made.id, "json")
        (tmp_path / "out.json").write_text(text)
        (copy,) = await client.import_file(str(tmp_path / "out.json"))
        again = (await client.conversation(copy.id)).messages[0].attachments
        assert await client.attachment_content(again[1].id) == PNG
        with pytest.raises(NotFoundError):
            await client.attachment("0" * 32)
        with pytest.raises(InvalidRequestError, match="is not text"):
            await client.add_file(NewFile(name="a.bin", data=bytes(range(256)) * 9))

    run(server, test)


def test_prompts(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        made = await client.create_prompt(NewPrompt(name="Translate", text="Into {{language}}"))
        changed = await client.update_prompt(made.id, PromptUpdate(text="To {{language}}"))
        assert (changed.name, changed.text) == ("Translate", "To {{language}}")
        assert await client.prompts() == [changed]
        await client.delete_prompt(made.id)
        assert await client.prompts() == []

    run(server, test)
