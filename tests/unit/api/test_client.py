"""The native routes through the client that the window uses."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from backend.api.client import Client
from backend.api.downloads import Purpose
from backend.api.errors import (
    ConflictError,
    EngineUnavailableError,
    InvalidRequestError,
    ModelLoadError,
    NotFoundError,
    NutshellError,
    UnauthorizedError,
)
from backend.api.schemas import (
    AnyEvent,
    ConversationChanged,
    ConversationUpdate,
    ErrorInfo,
    FolderUpdate,
    JobChanged,
    LoadedModel,
    LoadModel,
    MemoryReport,
    ModelChanged,
    ModelEntry,
    NewConversation,
    NewFolder,
    NewPreset,
    Notice,
    PresetUpdate,
    Sampling,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
)
from backend.engine.model import Model
from backend.jobs.pressure import MemoryWatch
from tests.fakes.models import fake_entry, loader_of, scripted
from tests.fakes.server import RunningServer, running_server
from tests.unit.api.conftest import ANSWER
from tests.unit.api.raw import ask

DEADLINE_S = 15.0


def run(server: RunningServer, test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(DEADLINE_S), Client(server.base_url, server.token) as client:
            await test(client)

    asyncio.run(main())


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path, lambda: scripted("x" * 3000, delay_s=0.02)) as running:
        yield running


def test_importing_the_client_is_cheap() -> None:
    code = (
        "import sys, backend.api.client\n"
        "heavy = {'httpx', 'starlette', 'uvicorn', 'numpy', 'sqlite3', 'llama_cpp'} & set(sys.modules)\n"
        "ours = {name for name in sys.modules if name.startswith('backend.')}\n"
        "print(sorted(heavy), sorted(ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    ours = [
        "backend.api",
        *(
            f"backend.api.{name}"
            for name in (
                "client",
                "compression",
                "downloads",
                "errors",
                "event_reader",
                "hub_client",
                "hub_schemas",
                "plan_schemas",
                "schemas",
                "speculation_schemas",
            )
        ),
    ]
    assert done.stdout.strip() == f"[] {ours}"


def test_status_hardware_models(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        status = await client.status()
        assert status.model is not None
        assert status.model.entry.name == "echo"
        assert (status.loading, status.busy) == (None, False)
        assert status.data_dir == str(server.services.data_dir)
        hardware = await client.hardware()
        assert "llama" in hardware.engine_build
        assert hardware.model is not None
        assert hardware.memory.rate > 1e8
        again = await client.measure_hardware()
        assert again.memory.measured > hardware.memory.measured
        assert [entry.name for entry in await client.models()] == ["echo"]

    run(server, test)


def test_conversations(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        made = await client.create_conversation(NewConversation(title="Lists", system_prompt="Be brief."))
        assert made.title == "Lists"
        assert made.id in [c.id for c in await client.conversations()]
        changed = await client.update_conversation(made.id, ConversationUpdate(title="Merging"))
        assert (changed.title, changed.system_prompt) == ("Merging", "Be brief.")
        changed = await client.update_conversation(made.id, ConversationUpdate(sampling=Sampling(temperature=0)))
        assert changed.sampling is not None
        assert (await client.update_conversation(made.id, ConversationUpdate(sampling=None))).sampling is None
        assert (await client.delete_conversation(made.id)).deleted_at is not None
        assert made.id not in [c.id for c in await client.conversations()]
        assert made.id in [c.id for c in await client.conversations(deleted=True)]
        assert (await client.restore_conversation(made.id)).deleted_at is None
        detail = await client.conversation(made.id)
        assert (detail.conversation.title, detail.messages) == ("Merging", [])

    run(server, test)


def test_folders_and_presets(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        folder = await client.create_folder(NewFolder(name="Work"))
        inner = await client.create_folder(NewFolder(name="Inner", parent_id=folder.id))
        assert (await client.update_folder(folder.id, FolderUpdate(name="Play"))).name == "Play"
        assert (await client.update_folder(inner.id, FolderUpdate(parent_id=None))).parent_id is None
        assert {f.name for f in await client.folders()} == {"Play", "Inner"}
        with pytest.raises(InvalidRequestError):
            await client.update_folder(folder.id, FolderUpdate(parent_id=folder.id))
        await client.delete_folder(folder.id)
        await client.delete_folder(inner.id)
        assert await client.folders() == []
        preset = await client.create_preset(NewPreset(name="Poet", system_prompt="Rhyme."))
        assert (await client.update_preset(preset.id, PresetUpdate(name="Bard"))).system_prompt == "Rhyme."
        assert [p.name for p in await client.presets()] == ["Bard"]
        await client.delete_preset(preset.id)
        assert await client.presets() == []

    run(server, test)


def test_errors_are_raised_as_what_they_were(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(NotFoundError) as missing:
            await client.conversation("0" * 32)
        assert missing.value.what
        with pytest.raises(InvalidRequestError):
            await client.load_model(LoadModel())
        with pytest.raises(NotFoundError):
            await client.job("nope")
        with pytest.raises(NotFoundError):
            await client.conversation("a/../../status?x=1")
        with pytest.raises(UnauthorizedError):
            await Client(server.base_url, "wrong").status()
        with pytest.raises(UnauthorizedError):
            await anext(aiter(Client(server.base_url, "wrong").events()))

    run(server, test)


@pytest.mark.parametrize(
    ("body", "words"), [(b'{"title": 3}', "title"), (b"{", "JSON"), (b'{"context_policy": "x"}', "context_policy")]
)
def test_wrong_bodies_of_native_routes(server: RunningServer, body: bytes, words: str) -> None:
    headers = [("Content-Type", "application/json")]
    path = f"/api/conversations/{'0' * 32}"
    answer = ask(server.port, "PATCH", path, token=server.token, headers=headers, body=body)
    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_request"
    assert words in answer.json["error"]["what"]


def test_an_unforeseen_failure_is_a_sentence_and_goes_to_the_log(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("xyzzy")

    monkeypatch.setattr(server.services.store, "list_folders", broken)

    async def test(client: Client) -> None:
        with pytest.raises(NutshellError, match="Something went wrong") as caught:
            await client.folders()
        assert "xyzzy" not in str(caught.value)
        assert "xyzzy" in caught.value.details

    run(server, test)
    server.until(lambda: "xyzzy" in caplog.text)  # it is written after the answer has gone out


def test_unknown_codes_and_foreign_answers() -> None:
    error = ErrorInfo(code="from_the_future", what="New.").to_error()
    assert type(error) is NutshellError
    assert error.what == "New."


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def main() -> None:
        async with Client(f"http://127.0.0.1:{port}", "token") as client:
            with pytest.raises(EngineUnavailableError):
                await client.status()
            with pytest.raises(EngineUnavailableError):
                await anext(aiter(client.events()))

    asyncio.run(main())


def test_proxies_of_the_environment_never_see_us(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def test(client: Client) -> None:
        assert (await client.status()).pid

    run(server, test)


# -- events ------------------------------------------------------------------------------------------------------------


def test_whatever_is_published_after_the_stream_is_open_arrives(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        for index in range(20):
            async with client.open_events() as events:
                server.call(lambda index=index: server.services.hub.publish(Notice(level="info", text=str(index))))
                event = await anext(events)
                assert isinstance(event, Notice)
                assert event.text == str(index)

    run(server, test)
    server.until(lambda: server.services.hub.subscribers == 0)


def test_changes_are_events(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        async with client.open_events() as events:
            made = await client.create_conversation(NewConversation(title="x"))
            await client.update_conversation(made.id, ConversationUpdate(title="y"))
            await client.delete_conversation(made.id)
            await client.restore_conversation(made.id)
            seen = [await anext(events) for _ in range(4)]
        changed = [event.conversation for event in seen if isinstance(event, ConversationChanged)]
        assert [(c.title, c.deleted_at is not None) for c in changed] == [
            ("x", False),
            ("y", False),
            ("y", True),
            ("y", False),
        ]

    run(server, test)


def test_the_stream_ends_when_the_server_stops(tmp_path: Path) -> None:
    with running_server(tmp_path, lambda: scripted("x")) as server:

        async def test(client: Client) -> None:
            async with client.open_events() as events:
                await client.shutdown()
                assert [event async for event in events] == []
            await asyncio.to_thread(server.thread.join, DEADLINE_S)
            with pytest.raises(EngineUnavailableError):
                await client.status()

        run(server, test)


def test_an_event_of_a_newer_engine_is_skipped(server: RunningServer) -> None:
    class Newer(Notice, tag="newer"):
        pass

    async def test(client: Client) -> None:
        async with client.open_events() as events:
            server.call(lambda: server.services.hub.publish(Newer(level="info", text="?")))
            server.call(lambda: server.services.hub.publish(Notice(level="info", text="known")))
            event = await anext(events)
            assert isinstance(event, Notice)
            assert event.text == "known"

    run(server, test)


def test_a_reader_that_does_not_read_gets_all_text_in_the_end(server: RunningServer) -> None:
    """Through a real socket whose buffers are full: the text waits merged, and nothing of it is lost."""
    slices, pieces, size = 10, 20, 20_000

    async def test(client: Client) -> None:
        async with client.open_events() as events:

            def publish(first: int) -> None:
                for index in range(first, first + pieces):
                    server.services.hub.publish(
                        TurnDelta(
                            conversation_id="c",
                            message_id="m",
                            offset=index * size,
                            text=chr(97 + index % 26) * size,
                            tokens=index,
                            tok_s=1,
                        )
                    )

            # In slices, so that the server's writer runs in between and fills the socket.
            for number in range(slices):
                await asyncio.to_thread(server.call, lambda number=number: publish(number * pieces))
            server.call(lambda: server.services.hub.publish(Notice(level="info", text="end")))
            text, count = "", 0
            async for event in events:
                if isinstance(event, Notice):
                    break
                assert isinstance(event, TurnDelta)
                assert event.offset == len(text)
                text += event.text
                count += 1
        assert len(text) == slices * pieces * size
        assert all(text[index * size] == chr(97 + index % 26) for index in range(slices * pieces))
        assert count <= slices * 2

    run(server, test)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_a_turn(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        events = [event async for event in client.chat_stream(conversation.id, StartTurn(text="Hi"))]
        started, ended = events[0], events[-1]
        assert isinstance(started, TurnStarted)
        assert started.user is not None
        assert (started.user.content, started.assistant.content) == ("Hi", "")
        assert isinstance(ended, TurnEnded)
        assert (ended.message.content, ended.message.status) == (ANSWER, "complete")
        assert ended.message.stats is not None
        text = ""
        for event in events[1:-1]:
            assert isinstance(event, TurnDelta | TurnProgress)
            if isinstance(event, TurnDelta):
                assert event.offset == len(text)
                text += event.text
        assert text == ANSWER
        detail = await client.conversation(conversation.id)
        assert [(m.role, m.content) for m in detail.messages] == [("user", "Hi"), ("assistant", ANSWER)]
        hits = await client.search("friend")
        assert conversation.id in [hit.conversation_id for hit in hits]
        assert await client.search("  ") == []
        assert await client.search('"unbalanced & odd?# query') == []

    run(server, test)


def test_stopping_an_answer(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        async with client.open_events() as events:
            ticket = await client.start_turn(conversation.id, StartTurn(text="Hi"))
            async for event in events:
                if isinstance(event, TurnDelta):
                    break
            assert (await client.status()).busy
            assert await client.cancel_message(ticket.assistant.id)
            async for event in events:
                if isinstance(event, TurnEnded):
                    assert event.message.status == "stopped"
                    assert event.message.content
                    break
        assert not await client.cancel_message(ticket.assistant.id)

    run(slow, test)


def test_leaving_a_chat_stream_stops_the_answer(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        stream = client.chat_stream(conversation.id, StartTurn(text="Hi"))
        async for event in stream:
            if isinstance(event, TurnDelta):
                break
        await stream.aclose()
        await asyncio.to_thread(slow.until, lambda: not slow.services.engine.busy)
        messages = (await client.conversation(conversation.id)).messages
        assert messages[-1].status == "stopped"

    run(slow, test)


def test_where_memory_runs_out_the_answer_is_stopped_and_the_model_goes(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        await client.start_turn(conversation.id, StartTurn(text="Hi"))
        services = slow.services
        await asyncio.to_thread(slow.until, lambda: services.engine.busy)
        watch = MemoryWatch(services, services.hub.publish, lambda: MemoryReport(total=10**10, available=10**7))

        async def twice() -> None:
            await watch.look()
            await watch.look()

        async with client.open_events() as events:
            await asyncio.to_thread(slow.do, twice())
            async for event in events:
                if isinstance(event, Notice):
                    break
        assert "10 MB were left" in event.text
        assert "what there is of it is kept" in event.text
        assert (await client.status()).model is None
        assert (await client.conversation(conversation.id)).messages[-1].status == "stopped"

    run(slow, test)


def test_deleting_a_conversation_stops_its_answer(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        await client.start_turn(conversation.id, StartTurn(text="Hi"))
        await client.delete_conversation(conversation.id)
        await asyncio.to_thread(slow.until, lambda: not slow.services.engine.busy)

    run(slow, test)


def test_nothing_is_measured_while_a_model_writes(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        ticket = await client.start_turn(conversation.id, StartTurn(text="Hi"))
        await asyncio.to_thread(slow.until, lambda: slow.services.engine.busy)
        with pytest.raises(ConflictError, match="while a model writes") as refused:
            await client.measure_hardware()
        assert "measure again" in refused.value.remedy
        assert (await client.hardware()).memory.total > 0
        await client.cancel_message(ticket.assistant.id)
        await asyncio.to_thread(slow.until, lambda: not slow.services.engine.busy)
        assert (await client.measure_hardware()).memory.rate > 0

    run(slow, test)


def test_a_second_turn_in_a_busy_conversation_is_refused(slow: RunningServer) -> None:
    async def test(client: Client) -> None:
        conversation = await client.create_conversation(NewConversation())
        ticket = await client.start_turn(conversation.id, StartTurn(text="Hi"))
        with pytest.raises(ConflictError):
            await client.start_turn(conversation.id, StartTurn(text="And?"))
        await client.cancel_message(ticket.assistant.id)

    run(slow, test)


# -- loading -----------------------------------------------------------------------------------------------------------


class Held:
    """A loader that waits until it is told to go on, or is cancelled; and fails for entries named "bad"."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()

    def __call__(
        self, what: ModelEntry, options: LoadModel, progress: Callable[[float], bool]
    ) -> tuple[Model, LoadedModel]:
        self.entered.set()
        while not self.go.wait(0.005):
            if not progress(0.25):
                raise ConflictError("Loading was cancelled.")
        if what.name == "bad":
            raise ModelLoadError("It is bad.", why="It was made so.")
        return loader_of(lambda: scripted("x"))(what, options, progress)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[RunningServer, Held]]:
    loader = Held()
    bad = ModelEntry(id="b" * 16, name="bad", path="/models/bad.gguf", source="file", bytes=1)
    with running_server(tmp_path, loader=loader, entries=[fake_entry(), bad], load=False) as running:
        yield running, loader
        loader.go.set()


def test_a_load_is_planned(tiny_gguf: Path, tmp_path: Path) -> None:
    entry = ModelEntry(id="c" * 16, name="Tiny", path=str(tiny_gguf), source="file", bytes=1)
    with running_server(tmp_path, entries=[entry], load=False) as running:

        async def test(client: Client) -> None:
            found = await client.plan_load(LoadModel(id=entry.id))
            assert (found.name, found.verdict, found.change) == ("Tiny", "fits", None)
            assert found.tokens > 0
            with pytest.raises(NotFoundError):
                await client.plan_load(LoadModel(id="nothing"))

        run(running, test)


def test_models_are_recommended_for_a_purpose(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        found = await client.recommended("code")
        assert found.purpose == "code"
        assert all("code" in one.offer.uses for one in found.models)
        with pytest.raises(InvalidRequestError, match="purpose"):
            await client.recommended(cast("Purpose", "cooking"))

    run(server, test)


def test_the_loaded_model_is_tried(server: RunningServer) -> None:
    async def test(client: Client) -> None:
        found = await client.try_model()
        assert found.name
        assert found.text
        assert 0 < found.tokens <= 10
        assert found.ttft_s > 0
        assert (await client.status()).busy is False

    run(server, test)


def test_no_model_is_tried_while_one_answers_or_none_is_loaded(slow: RunningServer, tmp_path: Path) -> None:
    async def answering(client: Client) -> None:
        made = await client.create_conversation(NewConversation())
        stream = client.chat_stream(made.id, StartTurn(text="Go on"))
        async for event in stream:
            if isinstance(event, TurnDelta):
                with pytest.raises(ConflictError, match="answering"):
                    await client.try_model()
                break
        await stream.aclose()

    run(slow, answering)
    with running_server(tmp_path / "empty", load=False) as running:

        async def empty(client: Client) -> None:
            with pytest.raises(NutshellError, match="No model is loaded"):
                await client.try_model()

        run(running, empty)


def test_the_trial_has_the_planners_figures(tiny_gguf: Path, tmp_path: Path) -> None:
    entry = ModelEntry(id="c" * 16, name="Tiny", path=str(tiny_gguf), source="file", bytes=1)
    with running_server(tmp_path, loader=loader_of(lambda: scripted("Friday")), entries=[entry], load=False) as running:

        async def test(client: Client) -> None:
            await client.wait_for_job(await client.load_model(LoadModel(id=entry.id)))
            found = await client.try_model()
            assert found.low <= found.expected <= found.high
            assert found.expected > 0

        run(running, test)


def test_loading_and_unloading_a_model(held: tuple[RunningServer, Held]) -> None:
    server, loader = held

    async def test(client: Client) -> None:
        async with client.open_events() as events:
            job = await client.load_model(LoadModel(id=fake_entry().id))
            assert (job.kind, job.state) == ("load_model", "started")
            assert (await client.status()).loading == job.id
            loader.go.set()
            seen: list[AnyEvent] = []
            async for event in events:
                seen.append(event)
                if isinstance(event, JobChanged) and event.job.ended_at is not None:
                    break
        states = [event.job.state for event in seen if isinstance(event, JobChanged)]
        assert states[0] == "started"
        assert states[-1] == "finished"
        assert [e.model.entry.name for e in seen if isinstance(e, ModelChanged) and e.model] == ["echo"]
        status = await client.status()
        assert status.model is not None
        assert status.loading is None
        assert [known.id for known in await client.jobs()] == [job.id]
        assert (await client.wait_for_job(job)).state == "finished"
        await client.unload_model()
        assert (await client.status()).model is None
        conversation = await client.create_conversation(NewConversation())
        with pytest.raises(ConflictError):
            await client.start_turn(conversation.id, StartTurn(text="Hi"))

    run(server, test)


def test_a_load_can_be_cancelled(held: tuple[RunningServer, Held]) -> None:
    server, loader = held

    async def test(client: Client) -> None:
        job = await client.load_model(LoadModel(id=fake_entry().id))
        assert await asyncio.to_thread(loader.entered.wait, DEADLINE_S)
        await client.cancel_job(job.id)
        assert (await client.wait_for_job(job)).state == "cancelled"
        assert (await client.status()).model is None

    run(server, test)


def test_a_load_that_fails_raises_for_who_waits(held: tuple[RunningServer, Held]) -> None:
    server, loader = held
    loader.go.set()

    async def test(client: Client) -> None:
        job = await client.load_model(LoadModel(id="b" * 16))
        with pytest.raises(ModelLoadError, match="It is bad") as caught:
            await client.wait_for_job(job)
        assert caught.value.why == "It was made so."

    run(server, test)


def test_the_model_of_the_command_line(held: tuple[RunningServer, Held]) -> None:
    server, loader = held
    loader.go.set()
    server.do(server.services.open_model(LoadModel(id="ECHO")))
    server.until(lambda: server.services.engine.loaded is not None)
    server.do(server.services.open_model(LoadModel(id="no such model")))

    async def test(client: Client) -> None:
        job = (await client.jobs())[0]
        with pytest.raises(NotFoundError):
            await client.wait_for_job(job)

    run(server, test)


def test_conversations_are_mended_exported_imported_and_purged(server: RunningServer, tmp_path: Path) -> None:
    async def test(client: Client) -> None:
        made = await client.create_conversation(NewConversation(title="Trip"))
        await client.update_conversation(made.id, ConversationUpdate(pinned=True, archived=True))
        store = server.services.store
        question = store.add_message(made.id, None, "user", "Where to?")
        answer = store.add_message(made.id, question.id, "assistant", "Coast.")
        version = await client.add_version(answer.id, "Hills.")
        assert (version.parent_id, version.content) == (question.id, "Hills.")
        with pytest.raises(InvalidRequestError):
            await client.add_version(answer.id, "  ")
        assert (await client.export_conversation(made.id, "markdown")).startswith("# Trip")
        assert "<h1>Trip</h1>" in await client.export_conversation(made.id, "html")
        path = tmp_path / "trip.json"
        path.write_text(await client.export_conversation(made.id, "json"), encoding="utf-8")
        (taken,) = await client.import_file(str(path))
        assert (taken.title, taken.pinned, taken.archived) == ("Trip", True, True)
        assert len((await client.conversation(taken.id)).messages) == 3
        with pytest.raises(InvalidRequestError):
            await client.import_file(str(tmp_path / "none.json"))
        assert (await client.delete_turn(version.id)).head_id == answer.id
        await client.delete_turn(answer.id)
        assert (await client.conversation(made.id)).messages == []
        await client.delete_conversation(made.id)
        assert await client.empty_trash() >= 1
        assert made.id not in [c.id for c in await client.conversations(deleted=True)]

    run(server, test)


def test_the_ladder_is_of_the_loaded_model(tiny_gguf: Path, tmp_path: Path) -> None:
    entry = ModelEntry(id="c" * 16, name="Tiny", path=str(tiny_gguf), source="file", bytes=1, layers=2)
    with running_server(tmp_path, loader=loader_of(lambda: scripted("Friday")), entries=[entry], load=False) as running:

        async def test(client: Client) -> None:
            with pytest.raises(NutshellError, match="No model is loaded"):
                await client.ladder()
            await client.wait_for_job(await client.load_model(LoadModel(id=entry.id)))
            found = await client.ladder()
            assert (found.path, found.own, len(found.stops)) == (entry.path, 0, 1)
            assert found.stops[0].plan.tokens > 0

        run(running, test)
