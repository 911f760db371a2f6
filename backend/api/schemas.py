"""The values that cross the wire, in both directions.

All are `msgspec` structs: validated when decoded, a microsecond to encode, and 20 ms to import where pydantic takes
200 (the window imports this module before it shows itself). Times are Unix seconds, sizes are bytes, durations are
seconds. Ids are 32 hexadecimal digits unless a comment says otherwise. Unknown fields are ignored on decode, so that
an older window can talk to a newer engine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from backend.api.errors import BY_CODE, NutshellError

__all__ = [
    "Attachment",
    "AttachmentContent",
    "BackendStatus",
    "Cancelled",
    "Completion",
    "CompressionProgress",
    "ContextCut",
    "ContextPolicy",
    "Conversation",
    "ConversationChanged",
    "ConversationDetail",
    "ConversationUpdate",
    "CpuReport",
    "DiskReport",
    "ErrorInfo",
    "Event",
    "ExportFormat",
    "ExportedText",
    "FinishReason",
    "Folder",
    "FolderUpdate",
    "GpuReport",
    "GpuUser",
    "HardwareReport",
    "HeldFile",
    "ImportFile",
    "ImportedFile",
    "Job",
    "JobChanged",
    "LayerError",
    "LoadModel",
    "LoadedModel",
    "MemoryReport",
    "Message",
    "ModelChanged",
    "ModelEntry",
    "ModelSlider",
    "MoveModel",
    "NewConversation",
    "NewFile",
    "NewFolder",
    "NewPreset",
    "NewPrompt",
    "NewVersion",
    "Notice",
    "Preset",
    "PresetUpdate",
    "Prompt",
    "PromptUpdate",
    "Purged",
    "Role",
    "Sampling",
    "SearchHit",
    "SliderPoint",
    "StartTurn",
    "TurnDelta",
    "TurnEnded",
    "TurnProgress",
    "TurnStarted",
    "TurnStats",
    "TurnTicket",
]

Role = Literal["system", "user", "assistant"]
MessageStatus = Literal["complete", "streaming", "stopped", "interrupted", "failed"]
FinishReason = Literal["stop", "length", "cancelled", "context_full", "error"]
ContextPolicy = Literal["stop", "drop_middle", "drop_oldest"]


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """How the next token is chosen. These are neutral defaults; a model's own come from the catalogue.

    The chain runs in this order: logit bias, penalties (over the last `penalty_window` tokens), grammar, top-k,
    softmax at `temperature`, top-p, min-p, draw. `temperature` 0 takes the most probable token.
    """

    temperature: Annotated[float, Meta(ge=0, le=5)] = 0.7
    top_k: Annotated[int, Meta(ge=0)] = 40
    top_p: Annotated[float, Meta(ge=0, le=1)] = 0.95
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.05
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    penalty_window: Annotated[int, Meta(ge=0)] = 256
    #: token id (as text) -> added to the logit, -100..100
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] = {}
    seed: int | None = None
    stop: Annotated[list[str], Meta(max_length=16)] = []
    max_tokens: Annotated[int, Meta(ge=1)] | None = None


class ErrorInfo(Struct, frozen=True, kw_only=True):
    """An error of `backend.api.errors` on the wire."""

    code: str
    what: str
    why: str = ""
    remedy: str = ""
    details: str = ""

    @classmethod
    def of(cls, error: NutshellError) -> ErrorInfo:
        """What an error says; its details (engine output) are cut at 8,000 characters."""
        details = error.details[:8000]
        return cls(code=error.code, what=error.what, why=error.why, remedy=error.remedy, details=details)

    def to_error(self) -> NutshellError:
        """The exception that it stands for; an unknown code becomes a plain NutshellError."""
        kind = BY_CODE.get(self.code, NutshellError)
        return kind(self.what, why=self.why, remedy=self.remedy, details=self.details)


class ContextCut(Struct, frozen=True, kw_only=True):
    """Where the context window was cut for an answer: these messages of the branch were not shown to the model."""

    policy: ContextPolicy
    dropped: list[str]  # message ids, oldest first
    #: the cut is drawn above this message; None where it lies after the last dropped one
    first_kept: str | None = None


class TurnStats(Struct, frozen=True, kw_only=True):
    """What an answer cost. `tok_s` counts decode only: (completion_tokens - 1) / time after the first token."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, found in the KV cache and not computed again
    completion_tokens: int = 0
    ttft_s: float = 0.0  # from request to first token, queueing and prefill included
    prefill_tok_s: float = 0.0
    tok_s: float = 0.0
    total_s: float = 0.0
    thinking_s: float = 0.0  # of an answer that thinks aloud first: from its first text to the end of the thought
    seed: int = 0
    finish_reason: FinishReason = "stop"
    context_used: int = 0  # tokens in the KV cache after the answer
    context_length: int = 0
    cut: ContextCut | None = None
    passes: int = 0  # over the model's weights, behind the prompt; without drafts one less than completion_tokens
    drafted: int = 0  # tokens that were guessed and checked
    accepted: int = 0  # of them, those that the answer went through
    speedup: float = 1.0  # times plain decoding, by the time that one token without drafts takes
    #: code points of the answer in turns: written by passes, taken from drafts, by passes, ... ; [] without drafts
    guessed: list[int] = []
    sampling: Sampling | None = None  # how its tokens were chosen; the seed that was drawn is `seed`
    threads: int = 0  # that computed
    gpu_layers: int = 0  # of the model's layers, those on the graphics processor
    kv: str = ""  # how keys and values were stored; "": there is no choice with this model


class Attachment(Struct, kw_only=True):
    """A file that was given with a message. Its bytes stay in the database; `text` is what was read out of it."""

    id: str
    message_id: str
    name: str
    mime: str
    size: int
    text: str = ""
    created_at: float = 0.0


class AttachmentContent(Struct, kw_only=True):
    """Answer to GET /api/attachments/{id}/content: the file as it was given."""

    data: bytes


class NewFile(Struct, kw_only=True):
    """Body of POST /api/files: a file for a message that is being written.

    By `path` on this machine, which the engine reads; or `name` with `data`, or with `text`.
    """

    path: str | None = None
    name: str = ""
    text: str = ""
    data: bytes | None = None


class HeldFile(Struct, kw_only=True):
    """A file that waits for its message to be sent.

    `tokens` is what it takes of the context window, its frame included; not `counted`: no model is loaded, and it is a
    guess by length.
    """

    id: str
    name: str
    mime: str
    size: int
    tokens: int
    counted: bool


class Message(Struct, kw_only=True):
    """One node of a conversation tree. `parent_id` None is a root; siblings are branches."""

    id: str
    conversation_id: str
    parent_id: str | None
    role: Role
    content: str
    status: MessageStatus = "complete"
    created_at: float = 0.0
    model: str | None = None  # ModelEntry.id that wrote it
    stats: TurnStats | None = None
    error: ErrorInfo | None = None
    attachments: list[Attachment] = []  # without their text


class Conversation(Struct, kw_only=True):
    """A conversation without its messages. `head_id` is the leaf of the branch that is shown."""

    id: str
    title: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    folder_id: str | None = None
    preset_id: str | None = None
    head_id: str | None = None
    system_prompt: str = ""
    sampling: Sampling | None = None  # None: the model's defaults
    context_policy: ContextPolicy = "drop_middle"
    model: str | None = None
    deleted_at: float | None = None
    pinned: bool = False  # stands above the others
    archived: bool = False  # kept and found by search, but out of the list
    draft: str = ""  # typed and not sent yet


class ConversationDetail(Struct, kw_only=True):
    """A conversation with every message of its tree, parents before children."""

    conversation: Conversation
    messages: list[Message]


class NewConversation(Struct, kw_only=True):
    """Body of POST /api/conversations."""

    title: str = ""
    system_prompt: str = ""
    folder_id: str | None = None
    preset_id: str | None = None


class ConversationUpdate(Struct, kw_only=True):
    """Body of PATCH /api/conversations/{id}: only what is given changes."""

    title: str | UnsetType = UNSET
    folder_id: str | UnsetType | None = UNSET
    preset_id: str | UnsetType | None = UNSET
    head_id: str | UnsetType | None = UNSET
    system_prompt: str | UnsetType = UNSET
    sampling: Sampling | UnsetType | None = UNSET
    context_policy: ContextPolicy | UnsetType = UNSET
    pinned: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    draft: str | UnsetType = UNSET


class Purged(Struct, kw_only=True):
    """Answer to DELETE /api/trash: how many conversations are gone for good."""

    purged: int


ExportFormat = Literal["markdown", "html", "json"]


class ExportedText(Struct, kw_only=True):
    """Answer to GET /api/conversations/{id}/export?format=...: the content of a file."""

    text: str


class ImportFile(Struct, kw_only=True):
    """Body of POST /api/import: a file of conversations on this machine, which the engine reads."""

    path: str


class ImportedFile(Struct, kw_only=True):
    """Answer to ImportFile: the new conversations, in the order of the file."""

    conversations: list[Conversation]


class StartTurn(Struct, kw_only=True):
    """Body of POST /api/conversations/{id}/turns, in one of three forms.

    - `text` given: a new user message under `parent_id` (None: a first message), then an answer under it. Editing a
      user message is this with the edited message's parent.
    - `text` None, `parent_id` a user message: another answer to it (regenerate).
    - `continue_id`: go on with an assistant message that was stopped, cut off or interrupted.
    """

    parent_id: str | None = None
    text: str | None = None
    continue_id: str | None = None
    sampling: Sampling | None = None  # for this turn only
    response_format: dict[str, object] | None = None
    files: list[str] = []  # ids of held files, for a new user message; its text may then be empty
    files_of: str | None = None  # a message whose attachments the new user message gets, too (an edit)


class NewVersion(Struct, kw_only=True):
    """Body of POST /api/messages/{id}/versions: the same message in other words."""

    text: str


class TurnTicket(Struct, kw_only=True):
    """Answer to StartTurn: the stored messages. The text follows as events."""

    user: Message | None
    assistant: Message


class Cancelled(Struct, kw_only=True):
    """Answer to POST /api/messages/{id}/cancel: whether there was an answer to stop."""

    cancelled: bool


class Folder(Struct, kw_only=True):
    """A folder of conversations."""

    id: str
    name: str
    parent_id: str | None = None


class NewFolder(Struct, kw_only=True):
    """Body of POST /api/folders."""

    name: str
    parent_id: str | None = None


class FolderUpdate(Struct, kw_only=True):
    """Body of PATCH /api/folders/{id}: only what is given changes."""

    name: str | UnsetType = UNSET
    parent_id: str | UnsetType | None = UNSET


class Preset(Struct, kw_only=True):
    """An assistant: a named system prompt with sampling, an icon of the window's set and a model (its id; "": any)."""

    id: str
    name: str
    system_prompt: str = ""
    sampling: Sampling | None = None
    icon: str = ""
    model: str = ""


class NewPreset(Struct, kw_only=True):
    """Body of POST /api/presets."""

    name: str
    system_prompt: str = ""
    sampling: Sampling | None = None
    icon: str = ""
    model: str = ""


class PresetUpdate(Struct, kw_only=True):
    """Body of PATCH /api/presets/{id}: only what is given changes."""

    name: str | UnsetType = UNSET
    system_prompt: str | UnsetType = UNSET
    sampling: Sampling | UnsetType | None = UNSET
    icon: str | UnsetType = UNSET
    model: str | UnsetType = UNSET


class Prompt(Struct, kw_only=True):
    """A text to be used again. `{{name}}` in it is a place that is filled in when it is used."""

    id: str
    name: str
    text: str


class NewPrompt(Struct, kw_only=True):
    """Body of POST /api/prompts."""

    name: str
    text: str


class PromptUpdate(Struct, kw_only=True):
    """Body of PATCH /api/prompts/{id}: only what is given changes."""

    name: str | UnsetType = UNSET
    text: str | UnsetType = UNSET


class SearchHit(Struct, kw_only=True):
    """One match of a full-text search; `snippet` marks the match with U+2068 and U+2069 around it."""

    conversation_id: str
    message_id: str | None  # None: the title matched
    title: str
    snippet: str


ModelSource = Literal["builtin", "file", "huggingface", "lmstudio", "ollama", "llamacpp"]


class ModelEntry(Struct, kw_only=True):
    """A model file on this machine, read in place. `id` is stable for a path (first 16 hex digits of its SHA-256)."""

    id: str
    name: str
    path: str
    source: ModelSource
    bytes: int
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""  # "Q4_K_M"
    context_length: int = 0
    layers: int = 0
    licence: str = ""
    error: ErrorInfo | None = None  # set: it cannot be loaded, and why


#: numbers of the conversation memory (keys and values): 2 bytes, or 1 and a scale; "": not said
KvChoice = Literal["", "f16", "q8"]


#: drafts: as far as they pay; none; as many as `draft_nodes` says. "": the engine's choice, which is auto
SpeculationChoice = Literal["", "auto", "off", "custom"]


class LoadModel(Struct, kw_only=True):
    """Body of POST /api/models/load: an id of the list, or a path."""

    id: str | None = None
    path: str | None = None
    n_ctx: Annotated[int, Meta(ge=0)] = 0  # 0: the engine's choice
    n_threads: Annotated[int, Meta(ge=0)] = 0
    n_gpu_layers: int = -1  # of llama.cpp the head counts as one, and is the first; -1: as the planner has it
    kv: KvChoice = ""  # how keys and values are stored; "": the engine's choice
    speculation: SpeculationChoice = ""
    draft_nodes: Annotated[int, Meta(ge=1, le=63)] = 8  # of one pass, with "custom"
    #: path of a small model with the same vocabulary, or "self"; "": as the settings say; "none": from the text alone
    draft_model: str = ""
    #: bytes that weights may take; the others are read from the disk in every pass (our own engine); 0: all stay
    memory_budget: Annotated[int, Meta(ge=0)] = 0
    #: of its slider, 0 (fastest) to 1 (best); None: the model's default, or it has none
    position: Annotated[float, Meta(ge=0, le=1)] | None = None


class MoveModel(Struct, kw_only=True):
    """Body of POST /api/models/position: where the loaded model's slider shall stand, 0 (fastest) to 1 (best)."""

    position: Annotated[float, Meta(ge=0, le=1)]


class SliderPoint(Struct, frozen=True, array_like=True):
    """A position of a slider. On the wire an array: there are a hundred."""

    place: float  # of the handle, 0 to 1
    bytes: int  # of the weights
    kl: float  # nats per token to the source, measured or predicted
    tok_s: float  # predicted for this machine; 0: not known
    measured: bool  # from the file, when it was made


class ModelSlider(Struct, kw_only=True):
    """The slider of a loaded model."""

    position: float  # where it stands
    default: float
    points: list[SliderPoint]  # from left to right


class LoadedModel(Struct, kw_only=True):
    """What the loaded model is and holds."""

    entry: ModelEntry
    n_ctx: int
    n_threads: int
    n_gpu_layers: int
    n_vocab: int
    weight_bytes: int
    kv_bytes: int
    load_s: float
    sampling: Sampling  # the model's defaults
    streamed_bytes: int = 0  # of the weights, read from the disk for every pass; 0: all of them stay in memory
    link_bytes: int = 0  # of the weights, sent to the graphics card for every pass; 0: none is
    kv: KvChoice = ""  # as it was loaded; "": there is no choice with this model
    slider: ModelSlider | None = None  # None: it was made at one size
    speculation: SpeculationChoice = ""  # as it was loaded; "": not possible with this model
    draft_nodes: int = 0  # with "custom"
    draft_model: str = ""  # path, or "self"; "": none was asked for
    draft_bytes: int = 0  # of its weights and conversation; 0: it could not be used
    draft_notice: str = ""  # one sentence where the draft model could not be used
    template_notice: str = ""  # one sentence where the file's own chat template could not be used

    @property
    def held_bytes(self) -> int:
        """Of weights and conversation, what stays in memory; the draft model's too."""
        return self.weight_bytes - self.streamed_bytes + self.kv_bytes + self.draft_bytes


class BackendStatus(Struct, kw_only=True):
    """GET /api/status."""

    version: str
    pid: int
    model: LoadedModel | None
    loading: str | None  # job id
    busy: bool
    data_dir: str
    notices: list[str] = []  # what the user must be told once: a recovered database, a read-only folder


class LayerError(Struct, frozen=True, array_like=True):
    """One linear that was compressed. On the wire an array: a model has hundreds of them, in every message."""

    layer: int
    module: str  # its name within the layer: "down_proj"
    level: str  # "" where all have the same
    error: float  # squared error of its output over the squared output


class CompressionProgress(Struct, kw_only=True):
    """Where a compression is, beside what its job says: there `done` and `total` are seconds of predicted work."""

    stage: str  # "check", "calibrate", "quantize", "tune", "sensitivity", "write", "measure"
    layer: int = 0  # done
    layers: int = 0
    module: str = ""
    rate: float = 0.0  # million weights a second; 0 where it makes no sense
    seconds_left: float | None = None
    memory: int = 0  # bytes that the process holds
    errors: list[LayerError] = []


JobState = Literal["started", "progress", "finished", "failed", "cancelled"]


class Job(Struct, kw_only=True):
    """Long work. Ends in exactly one of finished, failed, cancelled."""

    id: str
    kind: str  # "load_model", "compress", "compare"
    title: str
    state: JobState
    stage: str = ""
    done: float = 0.0
    total: float = 0.0  # 0: not known
    unit: str = ""
    started_at: float = 0.0
    ended_at: float | None = None
    error: ErrorInfo | None = None
    result: dict[str, object] | None = None
    compression: CompressionProgress | None = None  # of kind "compress"


class CpuReport(Struct, kw_only=True):
    """The processor."""

    name: str
    cores: int  # physical
    threads: int
    features: list[str]  # "AVX2", "AVX-512 VNNI", "NEON", ...
    performance_cores: int = 0  # of the physical ones; 0: all are alike, or the system does not say
    efficiency_cores: int = 0


class MemoryReport(Struct, kw_only=True):
    """Main memory."""

    total: int
    available: int
    rate: float = 0.0  # bytes a second that all cores read together; 0: not measured
    measured: float = 0.0  # when, in seconds since 1970


class GpuUser(Struct, kw_only=True):
    """A program that holds video memory."""

    name: str
    bytes: int  # 0: the driver does not say


class GpuReport(Struct, kw_only=True):
    """One accelerator."""

    name: str
    backend: str  # "CUDA", "Metal", "Vulkan"; "" where this build of the engine cannot use it
    vram_total: int
    vram_free: int
    link: str = ""  # "PCIe 4.0 x16"; "" where nothing says
    link_rate: float = 0.0  # bytes a second of that link, in one direction
    users: list[GpuUser] = []  # who else holds its memory, the largest first


class DiskReport(Struct, kw_only=True):
    """The disk that holds `path`."""

    path: str
    total: int
    free: int
    rate: float = 0.0  # bytes a second of reads past the system's cache; 0: not measured
    measured: float = 0.0  # when, in seconds since 1970


class HardwareReport(Struct, kw_only=True):
    """GET /api/hardware."""

    os: str
    cpu: CpuReport
    memory: MemoryReport
    gpus: list[GpuReport]
    disk: DiskReport  # of the conversations
    disks: list[DiskReport] = []  # of the models, each once
    engine_rss: int  # resident bytes of the engine process
    engine_build: str  # llama.cpp's version and its compiled-in features
    model: LoadedModel | None = None
    limit: str = ""  # what sets the speed of that model, a sentence or two


class Event(Struct, kw_only=True, tag_field="type"):
    """Base of what GET /api/events sends, one JSON object per SSE `data:` line."""


class TurnStarted(Event, tag="turn.started", kw_only=True):
    """Messages are stored; the answer is queued."""

    conversation_id: str
    user: Message | None
    assistant: Message


class TurnProgress(Event, tag="turn.progress", kw_only=True):
    """The prompt is being read: `done` of `total` tokens (cached ones count as done). total 0: waiting its turn."""

    conversation_id: str
    message_id: str
    done: int
    total: int


class TurnDelta(Event, tag="turn.delta", kw_only=True):
    """More text. `offset` is the length in code points before it, so that a client can check and mend."""

    conversation_id: str
    message_id: str
    offset: int
    text: str
    tokens: int  # generated so far
    tok_s: float
    passes: int = 0  # this and the next three as in TurnStats, so far
    drafted: int = 0
    accepted: int = 0
    speedup: float = 1.0


class TurnEnded(Event, tag="turn.ended", kw_only=True):
    """The whole message as it is stored, with its stats or its error."""

    conversation_id: str
    message: Message


class ConversationChanged(Event, tag="conversation.changed", kw_only=True):
    """Title, folder, head or another field changed; `conversation.deleted_at` says whether it is in the trash."""

    conversation: Conversation


class ModelChanged(Event, tag="model.changed", kw_only=True):
    """Another model is loaded, or none."""

    model: LoadedModel | None


class JobChanged(Event, tag="job.changed", kw_only=True):
    """A job started, moved or ended."""

    job: Job


class Notice(Event, tag="notice", kw_only=True):
    """One sentence for the user."""

    level: Literal["info", "warning", "error"]
    text: str


AnyEvent = TurnStarted | TurnProgress | TurnDelta | TurnEnded | ConversationChanged | ModelChanged | JobChanged | Notice


class Completion(Struct, kw_only=True):
    """What the engine is asked for: a prompt (text with special tokens parsed) and how to go on from it."""

    prompt: str
    sampling: Sampling
    grammar: str | None = None  # GBNF
    logprobs: int | None = None  # how many alternatives per token; 0: the chosen one only
