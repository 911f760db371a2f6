"""What crosses the wire about making models smaller. See `schemas` for the rules; what a running one sends is there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from backend.api.schemas import ErrorInfo, ModelEntry

__all__ = [
    "Answer",
    "ComparePrompts",
    "Compression",
    "CompressionOptions",
    "CompressionPlan",
    "CompressionResult",
    "CompressionSource",
    "CompressionState",
    "CompressionStatus",
    "ExportBuild",
    "ExportFormat",
    "Exported",
    "Limit",
    "Measured",
    "NewCompression",
    "PlanCompression",
    "Position",
    "Tuning",
    "Verdict",
]

Tuning = Literal["none", "block", "p", "pv"]
Verdict = Literal["fits", "if", "no"]
Limit = Literal["", "run_memory", "work_memory", "budget", "disk", "unknown"]
ExportFormat = Literal["hf-aqlm", "hf-spqr"]
CompressionState = Literal["running", "paused", "interrupted", "failed", "finished"]


class CompressionOptions(Struct, frozen=True, kw_only=True):
    """What a person may choose besides the level; the rest is `backend.quantize.options`."""

    tuning: Tuning = "none"
    texts: list[str] = []  # files and folders for calibration, besides the text that ships with the program
    own_text_only: bool = False
    tokens: Annotated[int, Meta(ge=512, le=1 << 20)] = 16 * 1024
    seed: int = 0
    threads: Annotated[int, Meta(ge=0)] = 0  # 0: one for each core
    memory: Annotated[int, Meta(ge=0)] = 0  # bytes that the work may hold; 0: half of what is free


class CompressionSource(Struct, kw_only=True):
    """A model of the list, and whether it can be made smaller."""

    entry: ModelEntry
    reason: Literal["", "compressed", "architecture", "damaged"] = ""  # "": it can
    rounded: bool = False  # its weights are rounded already; a build from the original would be better


class PlanCompression(Struct, kw_only=True):
    """Body of POST /api/compression/plan: an id of the list, or a path."""

    id: str | None = None
    path: str | None = None
    options: CompressionOptions = CompressionOptions()


class NewCompression(PlanCompression, kw_only=True):
    """Body of POST /api/compression. One level is a build; several are a store for the slider."""

    levels: Annotated[list[str], Meta(min_length=1)]
    name: str = ""  # of the build; "": the source's, with the level


class Position(Struct, kw_only=True):
    """One level: what is known before the work, and what is expected of it. Sizes are bytes."""

    level: str
    bytes: int  # of the build
    bits: float = 0.0  # per weight, embedding and head included
    memory: int = 0  # to run it, with a conversation of the usual length
    work_memory: int = 0  # at most, while it is made
    budget: int = 0  # that the work may hold; 0: not known
    disk: int = 0  # while it is made, the build included
    seconds: float = 0.0  # of work; 0: not known
    tok_s: float = 0.0  # expected: what memory can deliver over what a token reads; 0: not known
    #: expected growth of perplexity over the source's, 0.05 is 5 %; None: nothing like it was measured yet
    loss_low: float | None = None
    loss_high: float | None = None
    verdict: Verdict = "fits"
    limit: Limit = ""  # what does not fit
    needed: int = 0  # of the limit
    there: int = 0
    error: ErrorInfo | None = None  # this level cannot be made of this model, and why


class CompressionPlan(Struct, kw_only=True):
    """What this machine can hold of a model."""

    source: CompressionSource
    positions: list[Position]  # from the smallest to the largest
    bandwidth: float = 0.0  # measured, bytes a second
    memory_total: int = 0
    memory_free: int = 0
    disk_free: int = 0


class Measured(Struct, kw_only=True):
    """What was measured from the file of a build, against its source."""

    perplexity: float
    perplexity_reference: float
    bits_per_byte: float
    kl_mean: float
    kl_p99: float
    top1: float  # share of positions where both find the same token most probable
    bits_per_weight: float
    bits_per_weight_all: float
    file_bytes: int
    tokens: int
    text: str  # which text it was measured on
    tok_s: float = 0.0  # of the build on this machine, one token at a time


class CompressionResult(Struct, kw_only=True):
    """A build that was made. `measured` None: `measure_error` says why."""

    path: str
    bytes: int
    seconds: float
    block_bits: float
    all_bits: float
    notes: list[str] = []
    predicted: float | None = None  # seconds, as they were said after the first block; None: it had none
    measured: Measured | None = None
    measure_error: ErrorInfo | None = None


class Compression(Struct, kw_only=True):
    """One compression, as its record on the disk says; the record lives beside the build."""

    id: str
    name: str
    out: str
    source_name: str
    source_path: str
    source_bytes: int
    levels: list[str]
    options: CompressionOptions
    created_at: float
    updated_at: float
    state: CompressionState = "running"
    done: float = 0.0  # seconds of predicted work
    total: float = 0.0
    layer: int = 0
    layers: int = 0
    error: ErrorInfo | None = None
    result: CompressionResult | None = None
    job: str | None = None  # while it runs in this engine


class CompressionStatus(Struct, kw_only=True):
    """GET /api/compression."""

    installed: bool  # whether the packages that it needs are there
    packages_bytes: int  # about what they take
    command: str  # brings them
    folder: str  # where to give the command
    builds: str  # the folder of the builds
    compressions: list[Compression]  # newest first


class ComparePrompts(Struct, kw_only=True):
    """Body of POST /api/compression/{id}/compare; no prompts: ours."""

    prompts: Annotated[list[str], Meta(max_length=8)] = []


class ExportBuild(Struct, frozen=True, kw_only=True):
    """Body of POST /api/compression/export: a build as a folder for other programs."""

    build: str
    out: str  # the folder, which must not be there yet
    format: ExportFormat


class Exported(Struct, kw_only=True):
    """What was written: the result of such a job."""

    path: str
    bytes: int
    held: int  # linears that stay compressed
    plain: int  # those that are 16-bit numbers now
    notes: list[str] = []


class Answer(Struct, kw_only=True):
    """The beginning of two answers to one question, both the most probable text."""

    prompt: str
    source: str
    build: str
    source_tok_s: float = 0.0
    build_tok_s: float = 0.0
