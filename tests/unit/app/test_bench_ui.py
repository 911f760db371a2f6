"""What the measurements of the window are made of."""

from __future__ import annotations

import asyncio
from pathlib import Path

from app.benchmarks.echo import TOKEN, Echo, conversation_of, long_answer
from app.benchmarks.ui import fill_store
from backend.api.schemas import StartTurn, TurnDelta, TurnEnded
from backend.storage.store import Store


def test_the_answer_has_what_is_costly_to_show() -> None:
    text = long_answer(2000)
    assert len(text) == 2000 * TOKEN
    for part in ("```python\n", "|---|", "$$\n", "- item", "## Part"):
        assert part in text


def test_the_store_is_filled_with_what_is_searched_for(tmp_path: Path) -> None:
    with Store.open(tmp_path / "nutshell.db") as store:
        fill_store(store, 2000, 40)
        assert len(store.conversations()) == 40
        assert store.search("日本")
        assert store.search("->")
        assert not store.search("~>")


def test_the_echo_streams_its_answer_and_stops() -> None:
    async def play() -> None:
        echo = Echo(long_answer(200), 50_000.0)
        key = echo.keep(conversation_of(4))
        async with echo.open_events() as events:
            await echo.start_turn(key, StartTurn(text="go"))
            text = ""
            async for event in events:
                if isinstance(event, TurnDelta):
                    text += event.text
                elif isinstance(event, TurnEnded):
                    break
            assert text == echo.answer
            echo.tok_s = 100.0
            ticket = await echo.start_turn(key, StartTurn(text="again"))
            await echo.cancel_message(ticket.assistant.id)
            await asyncio.wait_for(echo.ended.wait(), 5)
            await echo.close()

    asyncio.run(play())
