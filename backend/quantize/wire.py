"""What the engine and the process that compresses say to each other: one JSON object a line, in both directions.

engine -> child    one request; then perhaps the line "stop"; the end of the pipe ends the child at once
child -> engine    any number of `Moved`, then exactly one of `Done`, `Failed` and `Stopped`
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from backend.api.compression import CompressionOptions
from backend.api.schemas import ErrorInfo

__all__ = [
    "STOP",
    "Compare",
    "Compress",
    "Done",
    "Export",
    "Failed",
    "Inspect",
    "Measure",
    "Moved",
    "Reply",
    "Request",
    "Stopped",
]

#: the line that asks the child to stop where nothing is lost
STOP = b"stop\n"


class Inspect(Struct, frozen=True, kw_only=True, tag_field="do", tag="inspect"):
    """What each of the levels would take. Done: a list of `Position` in the order of `levels`."""

    source: str
    folder: str  # where the build would go
    levels: list[str]
    options: CompressionOptions


class Compress(Struct, frozen=True, kw_only=True, tag_field="do", tag="compress"):
    """The work; it goes on from what is there. Done: a `CompressionResult` without measurements."""

    source: str
    out: str
    levels: list[str]
    options: CompressionOptions


class Measure(Struct, frozen=True, kw_only=True, tag_field="do", tag="measure"):
    """Quality and speed from the file. Done: a `Measured`."""

    build: str
    reference: str
    threads: int = 0


class Compare(Struct, frozen=True, kw_only=True, tag_field="do", tag="compare"):
    """The same questions to both. Done: a list of `Answer`."""

    build: str
    reference: str
    prompts: list[str]
    threads: int = 0


class Export(Struct, frozen=True, kw_only=True, tag_field="do", tag="export"):
    """A build as a folder for other programs. Done: an `Exported`."""

    build: str
    out: str
    format: str


Request = Inspect | Compress | Measure | Compare | Export


class Moved(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="moved"):
    """`backend.quantize.options.Progress`, field by field."""

    stage: str
    done: float = 0.0
    total: float = 0.0
    layer: int = 0
    layers: int = 0
    module: str = ""
    error: float | None = None
    rate: float = 0.0
    seconds_left: float | None = None
    memory: int = 0
    level: str = ""


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """The result, whose type the request says."""

    value: msgspec.Raw


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """Why it did not work, in sentences."""

    error: ErrorInfo


class Stopped(Struct, frozen=True, kw_only=True, tag="stopped"):
    """It was asked to stop and did; what is done is kept."""


Reply = Moved | Done | Failed | Stopped
