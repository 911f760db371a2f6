"""An engine client without an engine: canned conversations, models and hardware, and answers that stream.

`FakeClient` has the methods of `backend.api.client.Client`. A test drives it by hand (`say`, `finish`, `die`), or sets
`answer` and lets it stream by itself, one word per turn of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager
from copy import deepcopy
from itertools import count

from msgspec import UNSET
from msgspec.structs import asdict, replace

from backend.api.errors import EngineUnavailableError, InvalidRequestError, NoModelError, NotFoundError, NutshellError
from backend.api.plan_schemas import LadderStop, ModelLadder, ModelPlan, ModelTrial
from backend.api.schemas import (
    AnyEvent,
    BackendStatus,
    Conversation,
    ConversationChanged,
    ConversationDetail,
    ConversationUpdate,
    CpuReport,
    DiskReport,
    ErrorInfo,
    ExportFormat,
    Folder,
    FolderUpdate,
    GpuReport,
    HardwareReport,
    Job,
    JobChanged,
    JobState,
    LoadedModel,
    LoadModel,
    MemoryReport,
    Message,
    MessageStatus,
    ModelChanged,
    ModelEntry,
    ModelSlider,
    NewConversation,
    NewFolder,
    NewPreset,
    Preset,
    PresetUpdate,
    Sampling,
    SearchHit,
    SliderPoint,
    StartTurn,
    TurnDelta,
    TurnEnded,
    TurnProgress,
    TurnStarted,
    TurnStats,
    TurnTicket,
)
from backend.api.speculation_schemas import DraftSuggestion, PassReport, Speculate
from tests.fakes.composing_client import FakeComposing
from tests.fakes.compression_client import FakeCompressions
from tests.fakes.download_client import FakeDownloads

__all__ = ["GB", "FakeClient", "fake_conversation", "fake_loaded", "fake_models", "fake_sliding"]

GB = 1_000_000_000
_ids = count(1)


def new_id() -> str:
    return f"{next(_ids):032x}"


def fake_models() -> list[ModelEntry]:
    """One model of each kind, a damaged one among them."""
    return [
        ModelEntry(
            id="a" * 16, name="SmolLM2-135M-Instruct", path="models/SmolLM2-135M-Instruct-Q4_1.gguf", source="builtin",
            bytes=98_000_000, architecture="llama", parameters=134_515_008, quantization="Q4_1",
            context_length=8192, layers=30, licence="Apache-2.0",
        ),
        ModelEntry(
            id="b" * 16, name="Qwen2.5-Coder-1.5B-Instruct", path="hub/qwen2.5-coder-1.5b.gguf", source="huggingface",
            bytes=1_120_000_000, architecture="qwen2", parameters=1_540_000_000, quantization="Q4_K_M",
            context_length=32768, layers=28, licence="Apache-2.0",
        ),
        ModelEntry(
            id="c" * 16, name="Llama-3.1-8B-Instruct", path="lms/llama-3.1-8b.gguf", source="lmstudio",
            bytes=4_920_000_000, architecture="llama", parameters=8_030_000_000, quantization="Q4_K_M",
            context_length=131072, layers=32,
        ),
        ModelEntry(
            id="d" * 16, name="mistral-nemo-half-copied", path="lms/mistral-nemo.gguf", source="lmstudio",
            bytes=310_000_000,
            error=ErrorInfo(
                code="invalid_model_file", what="The file is cut off: 310 MB of 7.1 GB are there.",
                remedy="Copy or download it again.",
            ),
        ),
        ModelEntry(
            id="e" * 16, name="gemma-2-2b-it", path="ollama/blobs/sha256-7462734796d6", source="ollama",
            bytes=1_630_000_000, architecture="gemma2", parameters=2_610_000_000, quantization="Q4_0",
            context_length=8192, layers=26,
        ),
    ]  # fmt: skip


def fake_loaded(entry: ModelEntry | None = None) -> LoadedModel:
    """A loaded model with round figures."""
    entry = entry or fake_models()[0]
    return LoadedModel(
        entry=entry, n_ctx=8192, n_threads=2, n_gpu_layers=0, n_vocab=49152, weight_bytes=entry.bytes,
        kv_bytes=188_743_680, kv="f16", load_s=0.2, sampling=Sampling(temperature=0.2, top_p=0.9),
    )  # fmt: skip


def fake_sliding(position: float = 0.5) -> LoadedModel:
    """A loaded model that was made at several sizes: a hundred positions, five of them measured."""
    entry = ModelEntry(
        id="f" * 16, name="Qwen2.5-Coder-1.5B slider", path="builds/qwen-slider.nutshell", source="file",
        bytes=1_450_000_000, architecture="qwen2", parameters=1_540_000_000, quantization="slider",
        context_length=32768, layers=28,
    )  # fmt: skip
    points = [
        SliderPoint(
            place=step / 100, bytes=600_000_000 + step * 5_000_000, kl=0.6 * 0.955**step,
            tok_s=48 - 0.2 * step, measured=step % 25 == 0,
        )
        for step in range(101)
    ]  # fmt: skip
    slider = ModelSlider(position=position, default=0.5, points=points)
    size = next(point.bytes for point in points if point.place >= position)
    return replace(fake_loaded(entry), weight_bytes=size, kv="f16", slider=slider)


def fake_conversation(
    title: str, turns: Iterable[tuple[str, str]] = (), *, age_s: float = 0.0, model: str = "a" * 16
) -> ConversationDetail:
    """A conversation without branches: pairs of question and answer, `age_s` seconds old."""
    conversation = Conversation(
        id=new_id(), title=title, created_at=time.time() - age_s - 60, updated_at=time.time() - age_s
    )
    messages: list[Message] = []
    used = 40
    for question, answer in turns:
        parent = messages[-1].id if messages else None
        asked = Message(
            id=new_id(), conversation_id=conversation.id, parent_id=parent, role="user", content=question,
            created_at=conversation.updated_at,
        )  # fmt: skip
        used += (len(question) + len(answer)) // 4
        stats = TurnStats(
            prompt_tokens=len(question) // 4, completion_tokens=len(answer) // 4, ttft_s=0.21, prefill_tok_s=410.0,
            tok_s=24.3, total_s=4.2, seed=7, context_used=used, context_length=8192,
        )  # fmt: skip
        reply = Message(
            id=new_id(), conversation_id=conversation.id, parent_id=asked.id, role="assistant", content=answer,
            created_at=conversation.updated_at, model=model, stats=stats,
        )  # fmt: skip
        messages += [asked, reply]
    conversation.head_id = messages[-1].id if messages else None
    return ConversationDetail(conversation=conversation, messages=messages)


class FakeClient(FakeComposing, FakeCompressions, FakeDownloads):
    """See the module. Structs that go out are copies, as they would be over HTTP.

    Attributes:
        calls: (method, argument) of every request, in order.
        failures: method name -> error that its next call raises.
        questions: what is suggested after an answer.
        answer: when set, every turn streams this text by itself and ends.
        alive: False after `die`; every request then fails as a dead engine's would.
    """

    def __init__(
        self,
        details: Iterable[ConversationDetail] = (),
        *,
        models: list[ModelEntry] | None = None,
        loaded: LoadedModel | None = None,
        loading: str | None = None,
        notices: Iterable[str] = (),
        answer: str = "",
    ) -> None:
        FakeComposing.__init__(self)
        FakeCompressions.__init__(self)
        FakeDownloads.__init__(self)
        self.details = {detail.conversation.id: detail for detail in details}
        self.planned = ModelPlan(name="", verdict="does not fit")
        self.stops: list[LadderStop] = []  # of the ladder
        self.trial = ModelTrial(
            name="A model", text="Friday, Saturday, Sunday.", tokens=10, tok_s=12.4, ttft_s=0.3, expected=12.0,
            low=10.0, high=14.0,
        )  # fmt: skip
        self.entries = fake_models() if models is None else models
        self.loaded = loaded
        self.pass_report = PassReport()
        self.draft_suggestions: list[DraftSuggestion] = []
        self.loading = loading
        self.notices = list(notices)
        self.answer = answer
        self.gpus: list[GpuReport] = []
        self.disks: list[DiskReport] = []
        self.core_kinds: dict[str, int] = {}
        self.measured = time.time() - 7200.0
        self.hits: list[SearchHit] = []
        self.folder_list: list[Folder] = []
        self.preset_list: list[Preset] = []
        self.calls: list[tuple[str, object]] = []
        self.questions: list[str] = []
        self.failures: dict[str, NutshellError] = {}
        self.alive = True
        self.following = asyncio.Event()
        self._queues: list[asyncio.Queue[AnyEvent | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # Driving it

    def publish(self, event: AnyEvent) -> None:
        """Send an event to every follower."""
        for queue in self._queues:
            queue.put_nowait(deepcopy(event))

    def say(
        self, message_id: str, text: str, *, passes: int = 0, drafted: int = 0, accepted: int = 0, speedup: float = 1.0
    ) -> None:
        """Stream a piece of an answer; it is stored at once."""
        message = self._message(message_id)
        offset = len(message.content)
        message.content += text
        self.publish(
            TurnDelta(
                conversation_id=message.conversation_id, message_id=message_id, offset=offset, text=text,
                tokens=len(message.content) // 4 + 1, tok_s=24.0, passes=passes, drafted=drafted, accepted=accepted,
                speedup=speedup,
            )
        )  # fmt: skip

    def read(self, message_id: str, done: int, total: int) -> None:
        """Report prompt processing."""
        message = self._message(message_id)
        self.publish(
            TurnProgress(conversation_id=message.conversation_id, message_id=message_id, done=done, total=total)
        )

    def finish(self, message_id: str, status: MessageStatus = "complete", error: ErrorInfo | None = None) -> None:
        """End an answer."""
        message = self._message(message_id)
        message.status = status
        message.error = error
        message.stats = TurnStats(
            completion_tokens=len(message.content) // 4, ttft_s=0.2, tok_s=24.0, total_s=1.0, context_used=1240,
            context_length=8192, finish_reason="stop" if status == "complete" else "cancelled",
        )  # fmt: skip
        self.publish(TurnEnded(conversation_id=message.conversation_id, message=message))

    def die(self) -> None:
        """As if the engine process had been killed: streams break and requests fail."""
        self.alive = False
        for queue in self._queues:
            queue.put_nowait(None)
        for task in self._tasks:
            task.cancel()

    @property
    def streaming(self) -> list[str]:
        """Ids of the answers that are being written."""
        return [m.id for d in self.details.values() for m in d.messages if m.status == "streaming"]

    def called(self, method: str) -> list[object]:
        """The arguments of every call of a method."""
        return [argument for name, argument in self.calls if name == method]

    # What the window asks

    async def measure_hardware(self) -> HardwareReport:
        self._called("measure_hardware")
        self.measured = time.time()
        return await self.hardware()

    async def status(self) -> BackendStatus:
        self._called("status")
        return BackendStatus(
            version="0.1.0", pid=4242, model=self.loaded, loading=self.loading, busy=bool(self.streaming),
            data_dir="data", notices=list(self.notices),
        )  # fmt: skip

    async def hardware(self) -> HardwareReport:
        self._called("hardware")
        own = DiskReport(path="data", total=256 * GB, free=87 * GB, rate=1.48e9, measured=self.measured)
        return HardwareReport(
            os="Debian GNU/Linux 12",
            cpu=CpuReport(
                name="Intel Xeon (Ice Lake)", cores=2, threads=2, **self.core_kinds,
                features=["AVX", "AVX2", "FMA", "F16C", "AVX-512 F", "AVX-512 BW", "AVX-512 VBMI", "AVX-512 VNNI"],
            ),
            memory=MemoryReport(total=16 * GB, available=int(9.3 * GB), rate=41e9, measured=self.measured),
            gpus=list(self.gpus),
            disk=own,
            disks=[own, *self.disks],
            engine_rss=int(0.412 * GB),
            engine_build="llama.cpp b8200 · AVX512 = 1 · OpenMP = 1",
            model=self.loaded,
            limit="The memory sets its speed: it brings 98 MB for every word, 41.0 GB a second. A smaller build would "
            "be faster; more cores would not." if self.loaded else "",
        )  # fmt: skip

    async def models(self) -> list[ModelEntry]:
        self._called("models")
        return deepcopy(self.entries)

    async def plan_load(self, request: LoadModel) -> ModelPlan:
        self._called("plan_load", request)
        return deepcopy(self.planned)

    async def load_model(self, request: LoadModel) -> Job:
        self._called("load_model", request)
        entry = next((one for one in self.entries if request.id == one.id or request.path == one.path), None)
        if entry is None:
            raise NotFoundError("There is no such model.", remedy="Choose another one.")
        job = Job(id=new_id(), kind="load_model", title=f"Loading {entry.name}", state="started", total=1.0)
        self.loading = job.id
        self.publish(JobChanged(job=job))
        return deepcopy(job)

    def loading_moved(self, fraction: float) -> None:
        """The load goes on."""
        job = Job(id=self.loading or "", kind="load_model", title="Loading", state="progress", done=fraction, total=1.0)
        self.publish(JobChanged(job=job))

    def loading_ended(self, loaded: LoadedModel | None, error: ErrorInfo | None = None) -> None:
        """The load has come to its end."""
        job_id, self.loading = self.loading or "", None
        if loaded is not None:
            self.publish_model(loaded)
        state: JobState = "finished" if loaded is not None else ("failed" if error is not None else "cancelled")
        self.publish(JobChanged(job=Job(id=job_id, kind="load_model", title="Loading", state=state, error=error)))

    def publish_model(self, loaded: LoadedModel | None) -> None:
        """Another model, or none, is loaded now."""
        self.loaded = loaded
        self.publish(ModelChanged(model=loaded))

    async def ladder(self) -> ModelLadder:
        path = self.loaded.entry.path if self.loaded is not None else ""
        own = next((place for place, one in enumerate(self.stops) if one.load.path == path), -1)
        self._called("ladder")
        return ModelLadder(path=path, model="Qwen2.5-Coder-1.5B", stops=deepcopy(self.stops), own=own)

    async def try_model(self) -> ModelTrial:
        self._called("try_model")
        return deepcopy(self.trial)

    async def move_model(self, position: float) -> LoadedModel:
        self._called("move_model", position)
        assert self.loaded is not None
        slider = self.loaded.slider
        if slider is None:
            raise InvalidRequestError("It has no slider.", remedy="Choose another model.")
        point = max((one for one in slider.points if one.place <= position), key=lambda one: one.place)
        moved = replace(
            self.loaded, weight_bytes=point.bytes, slider=replace(slider, position=point.place)
        )  # fmt: skip
        self.publish_model(moved)
        return deepcopy(moved)

    async def speculate(self, choice: Speculate) -> LoadedModel:
        self._called("speculate", choice)
        assert self.loaded is not None
        nodes = choice.draft_nodes if choice.speculation == "custom" else 0
        changed = replace(
            self.loaded, speculation=choice.speculation, draft_nodes=nodes, draft_model=choice.draft_model
        )  # fmt: skip
        self.publish_model(changed)
        return deepcopy(changed)

    async def passes(self) -> PassReport:
        self._called("passes")
        return deepcopy(self.pass_report)

    async def drafts(self) -> list[DraftSuggestion]:
        self._called("drafts")
        return deepcopy(self.draft_suggestions)

    async def unload_model(self) -> None:
        self._called("unload_model")
        self.publish_model(None)

    async def conversations(self, *, deleted: bool = False) -> list[Conversation]:
        self._called("conversations", deleted)
        found = [d.conversation for d in self.details.values() if (d.conversation.deleted_at is not None) == deleted]
        return deepcopy(sorted(found, key=lambda one: -one.updated_at))

    async def conversation(self, conversation_id: str) -> ConversationDetail:
        self._called("conversation", conversation_id)
        return deepcopy(self._detail(conversation_id))

    async def create_conversation(self, new: NewConversation) -> Conversation:
        self._called("create_conversation", new)
        conversation = Conversation(
            id=new_id(), title=new.title, system_prompt=new.system_prompt, preset_id=new.preset_id,
            created_at=time.time(), updated_at=time.time(),
        )  # fmt: skip
        self.details[conversation.id] = ConversationDetail(conversation=conversation, messages=[])
        self.publish(ConversationChanged(conversation=conversation))
        return deepcopy(conversation)

    async def update_conversation(self, conversation_id: str, update: ConversationUpdate) -> Conversation:
        self._called("update_conversation", (conversation_id, update))
        conversation = self._detail(conversation_id).conversation
        for field in update.__struct_fields__:
            value = getattr(update, field)
            if value is not UNSET:
                setattr(conversation, field, value)
        self.publish(ConversationChanged(conversation=conversation))
        return deepcopy(conversation)

    async def delete_conversation(self, conversation_id: str) -> Conversation:
        self._called("delete_conversation", conversation_id)
        conversation = self._detail(conversation_id).conversation
        conversation.deleted_at = time.time()
        self.publish(ConversationChanged(conversation=conversation))
        return deepcopy(conversation)

    async def restore_conversation(self, conversation_id: str) -> Conversation:
        self._called("restore_conversation", conversation_id)
        conversation = self._detail(conversation_id).conversation
        conversation.deleted_at = None
        self.publish(ConversationChanged(conversation=conversation))
        return deepcopy(conversation)

    async def export_conversation(self, conversation_id: str, file_format: ExportFormat) -> str:
        self._called("export_conversation", (conversation_id, file_format))
        title = self._detail(conversation_id).conversation.title
        return f"<h1>{title}</h1>" if file_format == "html" else f"# {title}"

    async def import_file(self, path: str) -> list[Conversation]:
        self._called("import_file", path)
        detail = fake_conversation("Imported", [("From", "afar")])
        self.details[detail.conversation.id] = detail
        self.publish(ConversationChanged(conversation=detail.conversation))
        return [deepcopy(detail.conversation)]

    async def empty_trash(self) -> int:
        self._called("empty_trash")
        gone = [key for key, detail in self.details.items() if detail.conversation.deleted_at is not None]
        for key in gone:
            del self.details[key]
        return len(gone)

    async def folders(self) -> list[Folder]:
        self._called("folders")
        return deepcopy(sorted(self.folder_list, key=lambda one: one.name))

    async def create_folder(self, new: NewFolder) -> Folder:
        self._called("create_folder", new)
        self.folder_list.append(Folder(id=new_id(), name=new.name, parent_id=new.parent_id))
        return deepcopy(self.folder_list[-1])

    async def update_folder(self, folder_id: str, update: FolderUpdate) -> Folder:
        self._called("update_folder", (folder_id, update))
        folder = next(one for one in self.folder_list if one.id == folder_id)
        if update.name is not UNSET:
            folder.name = str(update.name)
        return deepcopy(folder)

    async def delete_folder(self, folder_id: str) -> None:
        self._called("delete_folder", folder_id)
        self.folder_list = [one for one in self.folder_list if one.id != folder_id]
        for detail in self.details.values():
            if detail.conversation.folder_id == folder_id:
                detail.conversation.folder_id = None

    async def presets(self) -> list[Preset]:
        self._called("presets")
        return deepcopy(self.preset_list)

    async def create_preset(self, new: NewPreset) -> Preset:
        self._called("create_preset", new)
        self.preset_list.append(Preset(id=new_id(), **asdict(new)))
        return deepcopy(self.preset_list[-1])

    async def update_preset(self, preset_id: str, update: PresetUpdate) -> Preset:
        self._called("update_preset", (preset_id, update))
        preset = next(one for one in self.preset_list if one.id == preset_id)
        for field, value in asdict(update).items():
            if value is not UNSET:
                setattr(preset, field, value)
        return deepcopy(preset)

    async def delete_preset(self, preset_id: str) -> None:
        self._called("delete_preset", preset_id)
        self.preset_list = [one for one in self.preset_list if one.id != preset_id]

    async def start_turn(self, conversation_id: str, turn: StartTurn) -> TurnTicket:
        self._called("start_turn", (conversation_id, turn))
        detail = self._detail(conversation_id)
        if self.loaded is None:
            raise NoModelError("No model is loaded.", remedy="Choose one from the model menu.")
        user: Message | None = None
        if turn.continue_id is not None:
            assistant = self._message(turn.continue_id)
            assistant.status = "streaming"
        else:
            parent = turn.parent_id
            if turn.text is not None:
                user = self._add(detail, parent, "user", turn.text)
                if turn.files_of:
                    user.attachments = deepcopy(self._message(turn.files_of).attachments)
                user.attachments += self.given(turn.files, user.id)
                parent = user.id
            assistant = self._add(detail, parent, "assistant", "")
            assistant.status = "streaming"
        detail.conversation.head_id = assistant.id
        detail.conversation.updated_at = time.time()
        self.publish(TurnStarted(conversation_id=conversation_id, user=user, assistant=assistant))
        self.publish(ConversationChanged(conversation=detail.conversation))
        if self.answer:
            task = asyncio.get_running_loop().create_task(self._stream(assistant.id, self.answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return deepcopy(TurnTicket(user=user, assistant=assistant))

    async def follow_ups(self, conversation_id: str) -> list[str]:
        self._called("follow_ups", conversation_id)
        return list(self.questions)

    async def end_follow_ups(self, conversation_id: str) -> None:
        self._called("end_follow_ups", conversation_id)

    async def cancel_message(self, message_id: str) -> bool:
        self._called("cancel_message", message_id)
        running = message_id in self.streaming
        if running:
            self.finish(message_id, "stopped")
        return running

    async def add_version(self, message_id: str, text: str) -> Message:
        self._called("add_version", (message_id, text))
        old = self._message(message_id)
        detail = self._detail(old.conversation_id)
        made = self._add(detail, old.parent_id, old.role, text)
        detail.conversation.head_id = made.id
        self.publish(ConversationChanged(conversation=detail.conversation))
        return deepcopy(made)

    async def delete_turn(self, message_id: str) -> Conversation:
        self._called("delete_turn", message_id)
        message = self._message(message_id)
        detail = self._detail(message.conversation_id)
        gone = {message_id, message.parent_id if message.role == "assistant" else ""}
        gone |= {one.id for one in detail.messages if one.parent_id == message_id and one.role == "assistant"}
        above = min((one for one in detail.messages if one.id in gone), key=detail.messages.index).parent_id
        detail.messages = [one for one in detail.messages if one.id not in gone]
        for one in detail.messages:
            if one.parent_id in gone:
                one.parent_id = above
        if detail.conversation.head_id in gone:
            detail.conversation.head_id = above
        self.publish(ConversationChanged(conversation=detail.conversation))
        return deepcopy(detail.conversation)

    async def search(self, query: str) -> list[SearchHit]:
        self._called("search", query)
        return deepcopy(self.hits)

    async def cancel_job(self, job_id: str) -> None:
        self._called("cancel_job", job_id)
        self.loading_ended(None)

    @asynccontextmanager
    async def open_events(self) -> AsyncGenerator[AsyncGenerator[AnyEvent, None], None]:
        self._called("open_events")
        queue: asyncio.Queue[AnyEvent | None] = asyncio.Queue()
        self._queues.append(queue)
        try:
            async with aclosing(self._events_of(queue)) as events:
                yield events
        finally:
            self._queues.remove(queue)

    async def _events_of(self, queue: asyncio.Queue[AnyEvent | None]) -> AsyncGenerator[AnyEvent, None]:
        self.following.set()
        while (event := await queue.get()) is not None:
            yield event
        raise EngineUnavailableError("The engine does not answer.")

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Inside

    async def _stream(self, message_id: str, text: str) -> None:
        for word in text.split(" "):
            await asyncio.sleep(0)
            if self._message(message_id).status != "streaming":
                return
            self.say(message_id, word + " ")
        self.finish(message_id)

    def _called(self, method: str, argument: object = None) -> None:
        self.calls.append((method, argument))
        if not self.alive:
            raise EngineUnavailableError("The engine is not running.")
        failure = self.failures.pop(method, None)
        if failure is not None:
            raise failure

    def _detail(self, conversation_id: str) -> ConversationDetail:
        if conversation_id not in self.details:
            raise NotFoundError("There is no such conversation.")
        return self.details[conversation_id]

    def _message(self, message_id: str) -> Message:
        for detail in self.details.values():
            for message in detail.messages:
                if message.id == message_id:
                    return message
        raise NotFoundError("There is no such message.")

    def _add(self, detail: ConversationDetail, parent: str | None, role: str, content: str) -> Message:
        message = Message(
            id=new_id(), conversation_id=detail.conversation.id, parent_id=parent, role=role,  # type: ignore[arg-type]
            content=content, created_at=time.time(),
        )  # fmt: skip
        detail.messages.append(message)
        return message
