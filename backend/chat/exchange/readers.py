"""Files of conversations: ours, ChatGPT's export, LM Studio's and Jan's. Nobody vouches for what they hold.

The forms of the others are nowhere promised. A part that does not have the expected form is left out, the rest is read.
"""

from __future__ import annotations

import base64
import binascii
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from backend.api.errors import InvalidRequestError
from backend.api.schemas import Role, Sampling, TurnStats
from backend.chat.exchange.writers import FORMAT
from backend.storage.attachments import MAX_ATTACHMENT, StoredFile
from backend.storage.incoming import ImportedConversation, ImportedMessage

__all__ = ["read_file"]

_MOST_BYTES: Final = 1 << 30
_MOST_MESSAGES: Final = 100_000  # of one conversation
_ROLES: Final[dict[str, Role]] = {"user": "user", "human": "user", "assistant": "assistant", "ai": "assistant"}


def read_file(path: Path) -> list[ImportedConversation]:
    """The conversations of a file, those without a message left out.

    Takes our JSON, `conversations.json` of a ChatGPT export or the whole ZIP, a `.conversation.json` of LM Studio, and
    `messages.jsonl` of Jan with the `thread.json` beside it.

    Raises:
        InvalidRequestError: the file cannot be read, or is of no known form.
    """
    try:
        raw = _bytes_of(path)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise InvalidRequestError(
            f"{path.name} cannot be read.", why=f"{error}.", remedy="Choose another file."
        ) from error
    found = [_jan(raw, path.parent / "thread.json")] if path.suffix == ".jsonl" else list(_of_json(raw, path.name))
    return [one for one in found if one.messages]


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > _MOST_BYTES:
        raise OSError(f"it is larger than {_MOST_BYTES >> 20} MB")
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("conversations.json")
            if member.file_size > _MOST_BYTES:
                raise OSError(f"it is larger than {_MOST_BYTES >> 20} MB")
            return archive.read(member)
    return path.read_bytes()


def _of_json(raw: bytes, name: str) -> Iterator[ImportedConversation]:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"{name} is not valid JSON.", why=f"{error}.", remedy="Choose another file."
        ) from error
    several = found if isinstance(found, list) else [found]
    known = 0
    for one in several:
        if not isinstance(one, dict):
            continue
        if one.get("format") == FORMAT:
            known += 1
            yield _ours(one)
        elif isinstance(one.get("mapping"), dict):
            known += 1
            yield _chatgpt(one)
        elif isinstance(one.get("messages"), list) and any(
            isinstance(part, dict) and "versions" in part for part in one["messages"]
        ):
            known += 1
            yield _lm_studio(one)
    if not known:
        raise InvalidRequestError(
            f"{name} holds no conversations that Nutshell can read.",
            why="It is none of: Nutshell's own JSON, a ChatGPT export, a conversation of LM Studio, messages of Jan.",
            remedy="Choose another file.",
        )


# -- ours --------------------------------------------------------------------------------------------------------------


def _ours(data: Mapping[str, Any]) -> ImportedConversation:
    about = _dict(data.get("conversation"))
    made = ImportedConversation(
        title=_text(about.get("title")),
        created_at=_seconds(about.get("created_at")),
        updated_at=_seconds(about.get("updated_at")),
        system_prompt=_text(about.get("system_prompt")),
        sampling=_struct(about.get("sampling"), Sampling),
        pinned=about.get("pinned") is True,
        archived=about.get("archived") is True,
    )
    policy = about.get("context_policy")
    if policy in ("stop", "drop_middle", "drop_oldest"):
        made.context_policy = policy
    places: dict[str, int] = {}
    for one in _list(data.get("messages"))[:_MOST_MESSAGES]:
        part = _dict(one)
        role = part.get("role")
        if role not in ("user", "assistant", "system"):
            continue
        places[_text(part.get("id"))] = len(made.messages)
        made.messages.append(
            ImportedMessage(
                role,
                _text(part.get("content")),
                places.get(_text(part.get("parent_id")), -1) if part.get("parent_id") else -1,
                _seconds(part.get("created_at")),
                _text(part.get("model")) or None,
                _struct(part.get("stats"), TurnStats),
                [file for file in map(_file, _list(part.get("attachments"))) if file is not None],
            )
        )
    made.head = places.get(_text(about.get("head_id")), -1)
    return made


def _file(value: object) -> StoredFile | None:
    part = _dict(value)
    try:
        content = base64.b64decode(_text(part.get("data")), validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(content) > MAX_ATTACHMENT or not isinstance(part.get("name"), str):
        return None
    return StoredFile(part["name"], _text(part.get("mime")) or "text/plain", _text(part.get("text")), content)


# -- ChatGPT -----------------------------------------------------------------------------------------------------------


def _chatgpt(data: Mapping[str, Any]) -> ImportedConversation:
    made = ImportedConversation(
        title=_text(data.get("title")),
        created_at=_seconds(data.get("create_time")),
        updated_at=_seconds(data.get("update_time")),
        archived=data.get("is_archived") is True,
    )
    nodes = {key: _dict(node) for key, node in data["mapping"].items() if isinstance(key, str)}
    places: dict[str, int] = {}
    # Parents before children, without recursion: a branch may be thousands of messages deep.
    waiting = [key for key, node in nodes.items() if _text(node.get("parent")) not in nodes]
    above: dict[str, int] = dict.fromkeys(waiting, -1)
    waiting.reverse()
    while waiting and len(made.messages) < _MOST_MESSAGES:
        key = waiting.pop()
        node = nodes[key]
        place = _chatgpt_message(made, _dict(node.get("message")), above[key])
        places[key] = place
        for child in reversed(_list(node.get("children"))):
            if isinstance(child, str) and child in nodes and child not in above:
                above[child] = place
                waiting.append(child)
    made.head = places.get(_text(data.get("current_node")), -1)
    return made


def _chatgpt_message(made: ImportedConversation, message: Mapping[str, Any], above: int) -> int:
    """Adds a message that has words, under `above`; gives the place that what follows it hangs under."""
    role = _ROLES.get(_text(_dict(message.get("author")).get("role")))
    content = _dict(message.get("content"))
    hidden = _dict(message.get("metadata")).get("is_visually_hidden_from_conversation") is True
    parts = [_chatgpt_part(part) for part in _list(content.get("parts"))]
    text = "\n\n".join(part for part in parts if part) or _text(content.get("text"))
    if role is None or hidden or not text.strip() or content.get("content_type") in ("thoughts", "reasoning_recap"):
        return above
    if role == "assistant" and message.get("recipient") not in (None, "all"):
        return above  # words to a tool
    model = _text(_dict(message.get("metadata")).get("model_slug")) or None
    made.messages.append(ImportedMessage(role, text, above, _seconds(message.get("create_time")), model))
    return len(made.messages) - 1


def _chatgpt_part(part: object) -> str:
    if isinstance(part, str):
        return part
    kind = _text(_dict(part).get("content_type"))
    if kind == "audio_transcription":
        return _text(_dict(part).get("text"))
    return "[image]" if kind == "image_asset_pointer" else ""


# -- LM Studio ---------------------------------------------------------------------------------------------------------


def _lm_studio(data: Mapping[str, Any]) -> ImportedConversation:
    made = ImportedConversation(
        title=_text(data.get("name")),
        created_at=_seconds(data.get("createdAt")),
        updated_at=_seconds(data.get("assistantLastMessagedAt") or data.get("userLastMessagedAt")),
        system_prompt=_text(data.get("systemPrompt")),
        pinned=data.get("pinned") is True,
    )
    shown = -1
    for turn in _list(data.get("messages"))[:_MOST_MESSAGES]:
        versions = _list(_dict(turn).get("versions"))
        selected = _dict(turn).get("currentlySelected")
        above, shown_here = shown, shown
        for number, version in enumerate(versions):
            part = _dict(version)
            role = _ROLES.get(_text(part.get("role")))
            text = _lm_studio_text(part)
            if role is None or not text.strip():
                continue
            model = _text(_dict(part.get("senderInfo")).get("senderName")) or None
            made.messages.append(ImportedMessage(role, text, above, model=model if role == "assistant" else None))
            if number == selected or shown_here == above:
                shown_here = len(made.messages) - 1
        shown = shown_here
    made.head = shown
    return made


def _lm_studio_text(version: Mapping[str, Any]) -> str:
    blocks: list[Mapping[str, Any]] = [_dict(step) for step in _list(version.get("steps"))] or [version]
    found: list[str] = []
    for block in blocks:
        text = "".join(
            _text(_dict(part).get("text")) for part in _list(block.get("content")) if _dict(part).get("type") == "text"
        )
        thought = _text(_dict(block.get("style")).get("type")) == "thinking"
        if text.strip():
            found.append(f"<think>\n{text.strip()}\n</think>" if thought else text)
    return "\n\n".join(found)


# -- Jan ---------------------------------------------------------------------------------------------------------------


def _jan(raw: bytes, beside: Path) -> ImportedConversation:
    made = ImportedConversation()
    try:
        thread = _dict(json.loads(beside.read_bytes())) if beside.is_file() else {}
    except (OSError, ValueError, RecursionError):
        thread = {}
    made.title = _text(thread.get("title"))
    made.created_at = _seconds(thread.get("created") or thread.get("created_at"))
    made.updated_at = _seconds(thread.get("updated") or thread.get("updated_at"))
    for line in raw.decode("utf-8", "replace").splitlines():
        try:
            part = _dict(json.loads(line))
        except (ValueError, RecursionError):
            continue  # a line that was cut off must not cost the others
        role = _ROLES.get(_text(part.get("role")))
        text = "\n\n".join(
            _text(_dict(_dict(piece).get("text")).get("value"))
            for piece in _list(part.get("content"))
            if _dict(piece).get("type") == "text"
        )
        if role is not None and text.strip() and len(made.messages) < _MOST_MESSAGES:
            when = _seconds(part.get("created_at"))
            made.messages.append(ImportedMessage(role, text, len(made.messages) - 1, when))
    return made


# -- values that may be anything ---------------------------------------------------------------------------------------


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _seconds(value: object) -> float:
    """A time in Unix seconds; what is written in milliseconds is told by its size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e14:
        return 0.0
    return float(value) / 1000 if value > 1e11 else float(value)


def _struct(value: object, kind: type[Any]) -> Any:
    try:
        return None if value is None else msgspec.convert(value, type=kind)
    except msgspec.ValidationError:
        return None
