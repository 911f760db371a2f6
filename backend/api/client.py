"""The engine process, as seen from the window or a terminal.

One method per native route. Errors of the engine are raised as the classes that they were there. Importing this
module is cheap: httpx takes 85 ms to import and is loaded with the first request.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from backend.api.compression import (
    ComparePrompts,
    Compression,
    CompressionPlan,
    CompressionSource,
    CompressionStatus,
    ExportBuild,
    NewCompression,
    PlanCompression,
)
from backend.api.downloads import (
    Deleted,
    Download,
    DownloadLimit,
    NetworkState,
    NewDownload,
    Offer,
    Purpose,
    Recommendations,
    RemoteRepository,
    SearchResult,
)
from backend.api.errors import NutshellError
from backend.api.event_reader import CONNECT_S, READ_S, open_events, refusal, unavailable
from backend.api.hub_client import HubCalls
from backend.api.plan_schemas import ModelLadder, ModelPlan, ModelTrial
from backend.api.schemas import (
    AnyEvent,
    Attachment,
    AttachmentContent,
    BackendStatus,
    Cancelled,
    Conversation,
    ConversationDetail,
    ConversationUpdate,
    ExportedText,
    ExportFormat,
    Folder,
    FolderUpdate,
    HardwareReport,
    HeldFile,
    ImportedFile,
    ImportFile,
    Job,
    JobChanged,
    LoadedModel,
    LoadModel,
    Message,
    ModelEntry,
    MoveModel,
    NewConversation,
    NewFile,
    NewFolder,
    NewPreset,
    NewPrompt,
    NewVersion,
    Preset,
    PresetUpdate,
    Prompt,
    PromptUpdate,
    Purged,
    SearchHit,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
    TurnTicket,
)
from backend.api.speculation_schemas import DraftSuggestion, PassReport, Speculate

if TYPE_CHECKING:
    import httpx

__all__ = ["Client"]

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
#: Seconds for a plan: torch is loaded for it, which took 50 on a machine whose cores were all busy.
_PLAN_S = 300.0
#: Seconds for a question that the engine has to ask the hub.
_HUB_S = 60.0
#: A file is read for 30 s at most, and its tokens are counted.
_FILE_S = 120.0
#: For ten tokens: a model that is read from a slow disk takes some seconds for each.
_TRIAL_S = 300.0
#: For another position of a slider: it waits for the answer that is being written, and reads from the disk.
_MOVE_S = 600.0


class Client(HubCalls):
    """Talks to one engine process; belongs to the event loop that first uses it.

    Every method may raise a NutshellError: what the engine refused, or EngineUnavailableError where it is gone.
    """

    def __init__(self, base_url: str, token: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._token = token
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Closes the connections. The client can be used again afterwards."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- the process -----------------------------------------------------------------------------------------------

    async def status(self) -> BackendStatus:
        """What the engine process is doing."""
        return await self._ask("GET", "/api/status", BackendStatus)

    async def hardware(self) -> HardwareReport:
        """The machine, and what the loaded model uses of it."""
        return await self._ask("GET", "/api/hardware", HardwareReport)

    async def measure_hardware(self) -> HardwareReport:
        """The same, with the speeds of memory and disks measured now. ConflictError while a model answers."""
        return await self._ask("POST", "/api/hardware/measure", HardwareReport)

    async def shutdown(self) -> None:
        """Asks the process to end; it does so within two seconds."""
        await self._send("POST", "/api/shutdown")

    # -- models and jobs -------------------------------------------------------------------------------------------

    async def models(self) -> list[ModelEntry]:
        """The model files that were found on this machine."""
        return await self._ask("GET", "/api/models", list[ModelEntry])

    async def load_model(self, request: LoadModel) -> Job:
        """Starts loading; the job's events say how it goes."""
        return await self._ask("POST", "/api/models/load", Job, request)

    async def plan_load(self, request: LoadModel) -> ModelPlan:
        """Whether a model fits as it is to be loaded."""
        return await self._ask("POST", "/api/models/plan", ModelPlan, request)

    async def ladder(self) -> ModelLadder:
        """The builds of the loaded model on this machine, from fast to best."""
        return await self._ask("GET", "/api/models/ladder", ModelLadder)

    async def try_model(self) -> ModelTrial:
        """A few tokens of the model that is loaded, with their speed."""
        return await self._ask("POST", "/api/models/trial", ModelTrial, read_s=_TRIAL_S)

    async def speculate(self, choice: Speculate) -> LoadedModel:
        """Guesses otherwise from the next answer on."""
        return await self._ask("POST", "/api/models/speculation", LoadedModel, choice, read_s=_MOVE_S)

    async def passes(self) -> PassReport:
        """What is known of the passes of the loaded model."""
        return await self._ask("GET", "/api/models/speculation", PassReport)

    async def drafts(self) -> list[DraftSuggestion]:
        """The installed models that are small enough to draft for the loaded one."""
        return await self._ask("GET", "/api/models/drafts", list[DraftSuggestion], read_s=_MOVE_S)

    async def move_model(self, position: float) -> LoadedModel:
        """Moves the loaded model's slider, 0 (fastest) to 1 (best), when the answers before it are written."""
        return await self._ask(
            "POST", "/api/models/position", LoadedModel, MoveModel(position=position), read_s=_MOVE_S
        )

    async def unload_model(self) -> None:
        """Frees the model."""
        await self._send("POST", "/api/models/unload")

    async def jobs(self) -> list[Job]:
        """Running and recent jobs, newest first."""
        return await self._ask("GET", "/api/jobs", list[Job])

    async def job(self, job_id: str) -> Job:
        """One job."""
        return await self._ask("GET", f"/api/jobs/{quote(job_id, safe='')}", Job)

    async def cancel_job(self, job_id: str) -> None:
        """Asks a job to stop."""
        await self._send("POST", f"/api/jobs/{quote(job_id, safe='')}/cancel")

    async def wait_for_job(self, job: Job) -> Job:
        """The job once it has ended. Raises its error if it failed."""
        async with self.open_events() as events:
            job = await self.job(job.id)  # it may have ended before the events were open
            while job.ended_at is None:
                event = await anext(events, None)
                if event is None:
                    raise unavailable(ConnectionError("the event stream ended"))
                if isinstance(event, JobChanged) and event.job.id == job.id:
                    job = event.job
        if job.error is not None:
            raise job.error.to_error()
        return job

    # -- making models smaller -------------------------------------------------------------------------------------

    async def compression(self) -> CompressionStatus:
        """Whether models can be made smaller here, and every compression that is known."""
        return await self._ask("GET", "/api/compression", CompressionStatus)

    async def compression_sources(self) -> list[CompressionSource]:
        """The models of this machine, and which of them can be made smaller."""
        return await self._ask("GET", "/api/compression/sources", list[CompressionSource])

    async def plan_compression(self, request: PlanCompression) -> CompressionPlan:
        """What this machine can hold of a model; takes some seconds."""
        return await self._ask("POST", "/api/compression/plan", CompressionPlan, request, read_s=_PLAN_S)

    async def start_compression(self, request: NewCompression) -> Job:
        """Begins one; the job's events say how it goes."""
        return await self._ask("POST", "/api/compression", Job, request)

    async def resume_compression(self, compression_id: str) -> Job:
        """Goes on with one."""
        return await self._ask("POST", f"{_compression(compression_id)}/resume", Job)

    async def pause_compression(self, compression_id: str) -> Compression:
        """Stops the work and keeps what is done."""
        return await self._ask("POST", f"{_compression(compression_id)}/pause", Compression)

    async def compare_compression(self, compression_id: str, request: ComparePrompts) -> Job:
        """Asks source and build the same questions; the answers are the job's result."""
        return await self._ask("POST", f"{_compression(compression_id)}/compare", Job, request)

    async def export_build(self, request: ExportBuild) -> Job:
        """Writes a build as a folder for other programs; what was written is the job's result."""
        return await self._ask("POST", "/api/compression/export", Job, request)

    async def delete_compression(self, compression_id: str) -> None:
        """Stops the work and deletes what is done; a finished build stays."""
        await self._send("DELETE", _compression(compression_id))

    # -- downloads -------------------------------------------------------------------------------------------------

    async def search_hub(self, text: str) -> list[SearchResult]:
        """Repositories of the hub by name."""
        return await self._ask("GET", f"/api/hub/search?q={quote(text, safe='')}", list[SearchResult], read_s=_HUB_S)

    async def repository(self, name: str, revision: str = "main") -> RemoteRepository:
        """What a repository of the hub offers."""
        route = f"/api/hub/repositories/{quote(name)}?revision={quote(revision, safe='')}"
        return await self._ask("GET", route, RemoteRepository, read_s=_HUB_S)

    async def offers(self) -> list[Offer]:
        """The catalogue, planned for this machine."""
        return await self._ask("GET", "/api/catalogue", list[Offer])

    async def recommended(self, purpose: Purpose) -> Recommendations:
        """Three models of the catalogue for a purpose, on this machine."""
        return await self._ask("GET", f"/api/catalogue/recommended?purpose={purpose}", Recommendations)

    async def downloads(self) -> list[Download]:
        """Every download that is known, newest first."""
        return await self._ask("GET", "/api/downloads", list[Download])

    async def start_download(self, request: NewDownload) -> Job:
        """Begins one, or queues it; the job's events say how it goes."""
        return await self._ask("POST", "/api/downloads", Job, request, read_s=_HUB_S)

    async def resume_download(self, download_id: str) -> Job:
        """Goes on with one."""
        return await self._ask("POST", f"{_download(download_id)}/resume", Job)

    async def pause_download(self, download_id: str) -> Download:
        """Stops one and keeps what has arrived."""
        return await self._ask("POST", f"{_download(download_id)}/pause", Download, read_s=_HUB_S)

    async def delete_download(self, download_id: str) -> None:
        """Stops one and deletes what has arrived; a finished model stays."""
        await self._send("DELETE", _download(download_id))

    async def limit_downloads(self, limit: DownloadLimit) -> None:
        """Holds all downloads together to so many bytes a second."""
        await self._send("PATCH", "/api/downloads/limit", limit)

    async def delete_model(self, model_id: str) -> Deleted:
        """Deletes a model from the disk; says what that freed."""
        return await self._ask("DELETE", f"/api/models/{quote(model_id, safe='')}", Deleted)

    async def network(self) -> NetworkState:
        """The switches of the network, and what was asked of other machines."""
        return await self._ask("GET", "/api/network", NetworkState)

    async def set_network(self, state: NetworkState) -> NetworkState:
        """Sets the switches."""
        return await self._ask("PATCH", "/api/network", NetworkState, state)

    # -- conversations ---------------------------------------------------------------------------------------------

    async def conversations(self, *, deleted: bool = False) -> list[Conversation]:
        """All conversations, newest first; or those in the trash."""
        return await self._ask("GET", f"/api/conversations{'?deleted=true' if deleted else ''}", list[Conversation])

    async def conversation(self, conversation_id: str) -> ConversationDetail:
        """One conversation with its messages."""
        return await self._ask("GET", _conversation(conversation_id), ConversationDetail)

    async def create_conversation(self, new: NewConversation) -> Conversation:
        """A new conversation."""
        return await self._ask("POST", "/api/conversations", Conversation, new)

    async def update_conversation(self, conversation_id: str, update: ConversationUpdate) -> Conversation:
        """Changes what is given."""
        return await self._ask("PATCH", _conversation(conversation_id), Conversation, update)

    async def delete_conversation(self, conversation_id: str) -> Conversation:
        """Moves it to the trash; an answer that is being written there is stopped."""
        return await self._ask("DELETE", _conversation(conversation_id), Conversation)

    async def restore_conversation(self, conversation_id: str) -> Conversation:
        """Takes it out of the trash."""
        return await self._ask("POST", f"{_conversation(conversation_id)}/restore", Conversation)

    async def empty_trash(self) -> int:
        """Removes for good what is in the trash; how many conversations that were."""
        return (await self._ask("DELETE", "/api/trash", Purged)).purged

    async def export_conversation(self, conversation_id: str, file_format: ExportFormat) -> str:
        """A conversation as the text of a file."""
        path = f"{_conversation(conversation_id)}/export?format={file_format}"
        return (await self._ask("GET", path, ExportedText)).text

    async def import_file(self, path: str) -> list[Conversation]:
        """Takes in the conversations of a file of ours or of another program; the engine reads it."""
        return (await self._ask("POST", "/api/import", ImportedFile, ImportFile(path=path), read_s=300.0)).conversations

    async def start_turn(self, conversation_id: str, turn: StartTurn) -> TurnTicket:
        """Stores the messages and queues the answer, which comes as events."""
        return await self._ask("POST", f"{_conversation(conversation_id)}/turns", TurnTicket, turn)

    async def follow_ups(self, conversation_id: str) -> list[str]:
        """What could be asked next; takes seconds, and comes back empty where anything else was wanted meanwhile."""
        route = f"/api/conversations/{quote(conversation_id, safe='')}/follow-ups"
        return await self._ask("POST", route, list[str], read_s=_HUB_S)

    async def end_follow_ups(self, conversation_id: str) -> None:
        """They are no longer wanted."""
        await self._send("DELETE", f"/api/conversations/{quote(conversation_id, safe='')}/follow-ups")

    async def cancel_message(self, message_id: str) -> bool:
        """Stops an answer; False if it was not being written."""
        path = f"/api/messages/{quote(message_id, safe='')}/cancel"
        return (await self._ask("POST", path, Cancelled)).cancelled

    async def add_version(self, message_id: str, text: str) -> Message:
        """The same message in other words, beside it."""
        path = f"/api/messages/{quote(message_id, safe='')}/versions"
        return await self._ask("POST", path, Message, NewVersion(text=text))

    async def delete_turn(self, message_id: str) -> Conversation:
        """Takes a question and its answers out, or one of several answers."""
        return await self._ask("DELETE", f"/api/messages/{quote(message_id, safe='')}", Conversation)

    async def search(self, query: str, limit: int = 50) -> list[SearchHit]:
        """Full-text search in titles and messages."""
        return await self._ask("GET", f"/api/search?q={quote(query, safe='')}&limit={limit}", list[SearchHit])

    # -- folders and presets ---------------------------------------------------------------------------------------

    async def folders(self) -> list[Folder]:
        """All folders."""
        return await self._ask("GET", "/api/folders", list[Folder])

    async def create_folder(self, new: NewFolder) -> Folder:
        """A new folder."""
        return await self._ask("POST", "/api/folders", Folder, new)

    async def update_folder(self, folder_id: str, update: FolderUpdate) -> Folder:
        """Renames or moves a folder."""
        return await self._ask("PATCH", f"/api/folders/{quote(folder_id, safe='')}", Folder, update)

    async def delete_folder(self, folder_id: str) -> None:
        """Removes a folder; what is in it moves one level up."""
        await self._send("DELETE", f"/api/folders/{quote(folder_id, safe='')}")

    async def presets(self) -> list[Preset]:
        """All presets."""
        return await self._ask("GET", "/api/presets", list[Preset])

    async def create_preset(self, new: NewPreset) -> Preset:
        """A new preset."""
        return await self._ask("POST", "/api/presets", Preset, new)

    async def update_preset(self, preset_id: str, update: PresetUpdate) -> Preset:
        """Changes what is given."""
        return await self._ask("PATCH", f"/api/presets/{quote(preset_id, safe='')}", Preset, update)

    async def delete_preset(self, preset_id: str) -> None:
        """Removes a preset."""
        await self._send("DELETE", f"/api/presets/{quote(preset_id, safe='')}")

    # -- files and prompts -----------------------------------------------------------------------------------------

    async def add_file(self, new: NewFile) -> HeldFile:
        """Reads a file for a message that is being written."""
        return await self._ask("POST", "/api/files", HeldFile, new, read_s=_FILE_S)

    async def held_files(self) -> list[HeldFile]:
        """The files that wait, with their tokens under the loaded model."""
        return await self._ask("GET", "/api/files", list[HeldFile], read_s=_FILE_S)

    async def drop_file(self, held_id: str) -> None:
        """Forgets a file that waits."""
        await self._send("DELETE", f"/api/files/{quote(held_id, safe='')}")

    async def attachment(self, attachment_id: str) -> Attachment:
        """A file that was sent, with the text that was read out of it."""
        return await self._ask("GET", f"/api/attachments/{quote(attachment_id, safe='')}", Attachment, read_s=_FILE_S)

    async def attachment_content(self, attachment_id: str) -> bytes:
        """The bytes of a file that was sent."""
        path = f"/api/attachments/{quote(attachment_id, safe='')}/content"
        return (await self._ask("GET", path, AttachmentContent, read_s=_FILE_S)).data

    async def prompts(self) -> list[Prompt]:
        """All prompts."""
        return await self._ask("GET", "/api/prompts", list[Prompt])

    async def create_prompt(self, new: NewPrompt) -> Prompt:
        """A new prompt."""
        return await self._ask("POST", "/api/prompts", Prompt, new)

    async def update_prompt(self, prompt_id: str, update: PromptUpdate) -> Prompt:
        """Changes what is given."""
        return await self._ask("PATCH", f"/api/prompts/{quote(prompt_id, safe='')}", Prompt, update)

    async def delete_prompt(self, prompt_id: str) -> None:
        """Removes a prompt."""
        await self._send("DELETE", f"/api/prompts/{quote(prompt_id, safe='')}")

    # -- events ----------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[AnyEvent]:
        """Everything that happens, from now until the engine ends the stream."""
        async with self.open_events() as events:
            async for event in events:
                yield event

    @asynccontextmanager
    async def open_events(self) -> AsyncGenerator[AsyncGenerator[AnyEvent, None], None]:
        """Like `events`, for those who must not miss anything: whatever happens after this is entered arrives."""
        async with open_events(self.base_url, self._token) as events:
            yield events

    async def chat_stream(
        self, conversation_id: str, turn: StartTurn
    ) -> AsyncGenerator[TurnStarted | TurnProgress | TurnDelta | TurnEnded, None]:
        """Runs one turn and yields its events: TurnStarted first, TurnEnded last.

        Closing the generator before its end stops the answer.
        """
        async with self.open_events() as events:
            ticket = await self.start_turn(conversation_id, turn)
            message_id = ticket.assistant.id
            ended = False
            try:
                yield TurnStarted(conversation_id=conversation_id, user=ticket.user, assistant=ticket.assistant)
                async for event in events:
                    match event:
                        case TurnProgress() | TurnDelta() if event.message_id == message_id:
                            yield event
                        case TurnEnded() if event.message.id == message_id:
                            ended = True
                            yield event
                            return
                        case _:
                            continue
                raise unavailable(ConnectionError("the event stream ended"))
            finally:
                if not ended:
                    with contextlib.suppress(NutshellError):
                        await self.cancel_message(message_id)

    # -- plumbing --------------------------------------------------------------------------------------------------

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            self._http = httpx.AsyncClient(
                base_url=self.base_url,
                headers={"authorization": f"Bearer {self._token}", "accept-encoding": "identity"},
                timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=4, keepalive_expiry=30.0),
                # Neither proxies nor .netrc from the environment: loopback is nobody else's business.
                trust_env=False,
                # http:// only: without this, reading the certificate store takes 20 ms of the first request.
                verify=False,
                follow_redirects=False,
            )
        return self._http

    async def _ask(
        self, method: str, path: str, kind: type[T], body: msgspec.Struct | None = None, *, read_s: float = READ_S
    ) -> T:
        return msgspec.json.decode(await self._send(method, path, body, read_s), type=kind)

    async def _send(self, method: str, path: str, body: msgspec.Struct | None = None, read_s: float = READ_S) -> bytes:
        import httpx

        content = None if body is None else _encoder.encode(body)
        headers = {"content-type": "application/json"} if content is not None else None
        timeout = httpx.Timeout(read_s, connect=CONNECT_S)
        try:
            response = await self._client().request(method, path, content=content, headers=headers, timeout=timeout)
        except httpx.TransportError as error:
            raise unavailable(error) from error
        if response.status_code >= 400:
            raise refusal(response.status_code, response.content)
        return response.content


def _conversation(conversation_id: str) -> str:
    return f"/api/conversations/{quote(conversation_id, safe='')}"


def _download(download_id: str) -> str:
    return f"/api/downloads/{quote(download_id, safe='')}"


def _compression(compression_id: str) -> str:
    return f"/api/compression/{quote(compression_id, safe='')}"
