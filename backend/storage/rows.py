"""Database rows to the structs of `backend.api.schemas`, and back.

A newer version may have written values that this one does not know: they read as the nearest thing that it does, and
stay in the file as they are.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar, get_args

import msgspec

from backend.api.schemas import (
    Attachment,
    ContextPolicy,
    Conversation,
    ErrorInfo,
    Folder,
    Message,
    MessageStatus,
    Preset,
    Prompt,
    Role,
    Sampling,
    TurnStats,
)

__all__ = [
    "ATTACHMENT",
    "CONVERSATION",
    "FOLDER",
    "MESSAGE",
    "PRESET",
    "PROMPT",
    "clean",
    "dump",
    "merge",
    "new_id",
    "to_attachment",
    "to_conversation",
    "to_folder",
    "to_message",
    "to_preset",
    "to_prompt",
]

Row = tuple[Any, ...]  # what sqlite3 gives
S = TypeVar("S", bound=msgspec.Struct)

# The columns of each struct, in the order in which the functions below take them.
CONVERSATION = (
    "id, title, created_at, updated_at, folder_id, preset_id, head_id, system_prompt, sampling, context_policy,"
    " model, deleted_at, extra"
)
MESSAGE = "id, conversation_id, parent_id, role, content, status, created_at, model, stats, error"
FOLDER = "id, name, parent_id"
PRESET = "id, name, system_prompt, sampling, extra"
PROMPT = "id, name, text"
# The text comes last: it is read only where it is wanted.
ATTACHMENT = "id, message_id, name, mime, size, created_at, text"

_ROLES = frozenset(get_args(Role))
_STATUSES = frozenset(get_args(MessageStatus))
_POLICIES = frozenset(get_args(ContextPolicy))


def new_id() -> str:
    """32 random hexadecimal digits."""
    return os.urandom(16).hex()


def clean(text: str) -> str:
    """The text with halves of surrogate pairs joined or replaced: UTF-8, and so the database, has no form for them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _load(kind: type[S], text: str | None) -> S | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return None  # a form that we do not know; the text of the conversation matters more


def dump(value: msgspec.Struct | None) -> str | None:
    """JSON text of a struct."""
    return None if value is None else msgspec.json.encode(value).decode()


def merge(old: str | None, value: msgspec.Struct | None) -> str | None:
    """JSON text of a struct over what was stored: fields that this version does not know are kept."""
    if value is None or old is None:
        return dump(value)
    try:
        stored = msgspec.json.decode(old)
    except msgspec.MsgspecError:
        return dump(value)
    if not isinstance(stored, dict):
        return dump(value)
    known = set(value.__struct_encode_fields__)
    unknown = {key: kept for key, kept in stored.items() if key not in known}
    return msgspec.json.encode(unknown | msgspec.to_builtins(value)).decode()


def to_conversation(row: Row) -> Conversation:
    """A row of CONVERSATION's columns."""
    extra = _small_fields(row[12])
    return Conversation(
        id=row[0],
        title=row[1],
        created_at=row[2],
        updated_at=row[3],
        folder_id=row[4],
        preset_id=row[5],
        head_id=row[6],
        system_prompt=row[7],
        sampling=_load(Sampling, row[8]),
        context_policy=row[9] if row[9] in _POLICIES else "drop_middle",
        model=row[10],
        deleted_at=row[11],
        pinned=extra.get("pinned") is True,
        archived=extra.get("archived") is True,
        draft=draft if isinstance(draft := extra.get("draft"), str) else "",
    )


def _small_fields(extra: str | None) -> dict[str, Any]:
    """The JSON object of small fields; empty where it cannot be read."""
    if not extra or extra == "{}":
        return {}
    try:
        found = msgspec.json.decode(extra)
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def to_message(row: Row) -> Message:
    """A row of MESSAGE's columns."""
    return Message(
        id=row[0],
        conversation_id=row[1],
        parent_id=row[2],
        role=row[3] if row[3] in _ROLES else "user",
        content=row[4],
        status=row[5] if row[5] in _STATUSES else "complete",
        created_at=row[6],
        model=row[7],
        stats=_load(TurnStats, row[8]),
        error=_load(ErrorInfo, row[9]),
    )


def to_folder(row: Row) -> Folder:
    """A row of FOLDER's columns."""
    return Folder(id=row[0], name=row[1], parent_id=row[2])


def to_preset(row: Row) -> Preset:
    """A row of PRESET's columns."""
    extra = _small_fields(row[4])
    return Preset(
        id=row[0],
        name=row[1],
        system_prompt=row[2],
        sampling=_load(Sampling, row[3]),
        icon=icon if isinstance(icon := extra.get("icon"), str) else "",
        model=model if isinstance(model := extra.get("model"), str) else "",
    )


def to_prompt(row: Row) -> Prompt:
    """A row of PROMPT's columns."""
    return Prompt(id=row[0], name=row[1], text=row[2])


def to_attachment(row: Row) -> Attachment:
    """A row of ATTACHMENT's columns; without the last it has no text."""
    return Attachment(
        id=row[0], message_id=row[1], name=row[2], mime=row[3], size=row[4], created_at=row[5],
        text=row[6] if len(row) > 6 else "",
    )  # fmt: skip
