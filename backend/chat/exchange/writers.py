"""A conversation as a file: Markdown and HTML of the branch that is shown, JSON of everything."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from backend.api.schemas import Attachment, Conversation, ConversationDetail, Message
from backend.api.thinking import split_thought

__all__ = ["FORMAT", "Files", "branch_of", "to_html", "to_json", "to_markdown"]

FORMAT: Final = "nutshell-conversation"
_VERSION: Final = 1
_SPEAKERS: Final = {"user": "You", "assistant": "Nutshell", "system": "System"}
_STYLE: Final = (
    "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:16px/1.55 system-ui,sans-serif;color:#231f1a;"
    "background:#faf8f5}h2{font-size:1rem;margin:2rem 0 .3rem}h2 small,.when{color:#6b6257;font-weight:400}"
    ".user{background:#f1e9dd;border-radius:8px;padding:.1rem 1rem;white-space:pre-wrap}"
    "pre{background:#f5f2ec;border:1px solid #e2dbd1;border-radius:8px;padding:.7rem;overflow-x:auto}"
    "code{font:13px ui-monospace,monospace}table{border-collapse:collapse}td,th{border:1px solid #e2dbd1;padding:6px}"
    "blockquote{border-left:3px solid #e2dbd1;margin-left:0;padding-left:1rem;color:#6b6257}details{color:#6b6257}"
)


def branch_of(detail: ConversationDetail) -> list[Message]:
    """The messages that are shown, root first."""
    by_id = {message.id: message for message in detail.messages}
    found: list[Message] = []
    at = by_id.get(detail.conversation.head_id or "")
    while at is not None and len(found) <= len(by_id):
        found.append(at)
        at = by_id.get(at.parent_id or "")
    return found[::-1]


#: message id -> its attachments with their text, and the bytes of each
Files = Mapping[str, Sequence[tuple[Attachment, bytes]]]


def to_json(detail: ConversationDetail, files: Files | None = None) -> str:
    """All messages with their branches, times, figures and attached files; read again by `readers.read_file`."""
    data = {
        "format": FORMAT,
        "version": _VERSION,
        "conversation": msgspec.to_builtins(detail.conversation),
        "messages": [
            msgspec.to_builtins(message)
            | {
                "attachments": [
                    msgspec.to_builtins(about) | {"data": msgspec.to_builtins(content)}
                    for about, content in (files or {}).get(message.id, ())
                ]
            }
            for message in detail.messages
        ],
    }
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def to_markdown(detail: ConversationDetail) -> str:
    """The shown branch; every turn under a heading, its text as it was written."""
    lines = [f"# {_title(detail.conversation)}", ""]
    if detail.conversation.system_prompt.strip():
        lines += ["> " + line for line in detail.conversation.system_prompt.strip().split("\n")] + [""]
    for message in branch_of(detail):
        lines += [f"## {_speaker(message)}", ""]
        if message.attachments:
            lines += [f"Attached: {_names(message)}", ""]
        lines += [message.content.strip("\n"), ""]
    return "\n".join(lines)


def to_html(detail: ConversationDetail) -> str:
    """The shown branch as a page that needs nothing else: no script, no picture, no address is asked for anything."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # Pictures stay addresses: a page that is opened must not call anybody.
    markdown.add_render_rule(
        "image",
        lambda _self, tokens, index, _options, _env: (
            f"[{html.escape(tokens[index].content or 'image')}: {html.escape(str(tokens[index].attrs.get('src', '')))}]"
        ),
    )
    title = html.escape(_title(detail.conversation))
    parts = [
        f'<!doctype html>\n<html lang="">\n<head><meta charset="utf-8"><title>{title}</title>',
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>",
    ]
    for message in branch_of(detail):
        parts.append(f"<h2>{html.escape(_speaker(message))} <small>{_when(message.created_at)}</small></h2>")
        if message.role == "assistant":
            thought = split_thought(message.content)
            if thought.thought:
                parts.append(f"<details><summary>Thoughts</summary>{markdown.render(thought.thought)}</details>")
            parts.append(f'<div dir="auto">{markdown.render(thought.answer)}</div>')
        else:
            if message.attachments:
                parts.append(f'<p class="when">Attached: {html.escape(_names(message))}</p>')
            parts.append(f'<div class="user" dir="auto"><p>{html.escape(message.content)}</p></div>')
    return "\n".join([*parts, "</body>\n</html>\n"])


def _title(conversation: Conversation) -> str:
    return " ".join(conversation.title.split()) or "Conversation"


def _names(message: Message) -> str:
    return ", ".join(" ".join(file.name.split()) for file in message.attachments)


def _speaker(message: Message) -> str:
    return _SPEAKERS.get(message.role, message.role)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M") if seconds > 0 else ""
