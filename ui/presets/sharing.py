"""A preset as a file that people can give to each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from PySide6.QtCore import QCoreApplication

from backend.api.schemas import ErrorInfo, NewPreset, Preset, Sampling

__all__ = ["SUFFIX", "from_file", "to_text"]

SUFFIX = "preset.json"
#: A system prompt of a hundred pages is less.
_LARGEST = 1_000_000


class _Shared(Struct, kw_only=True):
    kind: Literal["nutshell-preset"]
    version: Literal[1]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    icon: Annotated[str, Meta(max_length=40)] = ""
    system_prompt: str = ""
    sampling: Sampling | None = None
    model: Annotated[str, Meta(max_length=300)] = ""


def to_text(preset: Preset, model_name: str = "") -> str:
    """JSON of a preset. The model goes by its name: ids and paths are this machine's own."""
    shared = _Shared(
        kind="nutshell-preset", version=1, name=preset.name, icon=preset.icon, system_prompt=preset.system_prompt,
        sampling=preset.sampling, model=model_name,
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(shared), indent=2).decode() + "\n"


def from_file(path: Path, models: dict[str, str]) -> NewPreset | ErrorInfo:
    """What a file holds, or why it cannot be taken in.

    Args:
        path: the file; nothing but the fields of a preset is taken from it.
        models: name -> id of those on this machine; a model that is not here is left out.
    """
    say = QCoreApplication.translate
    what = say("Presets", "{0} could not be taken in.").format(path.name)
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        return ErrorInfo(code="storage_error", what=what, why=f"{(error.strerror or str(error)).rstrip('.')}.")
    if len(data) > _LARGEST:
        return ErrorInfo(code="invalid_request", what=what, why=say("Presets", "It is too large for a preset."))
    try:
        shared = msgspec.json.decode(data, type=_Shared)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return ErrorInfo(
            code="invalid_request",
            what=what,
            why=say("Presets", "It is no preset of Nutshell, or it is damaged."),
            details=str(error),
        )
    name = " ".join(shared.name.split())
    if not name:
        return ErrorInfo(code="invalid_request", what=what, why=say("Presets", "It has no name."))
    return NewPreset(
        name=name, icon=shared.icon, system_prompt=shared.system_prompt, sampling=shared.sampling,
        model=models.get(shared.model, ""),
    )  # fmt: skip
