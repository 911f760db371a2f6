"""The small files that stand beside a model's weights: what they are called, how they are read, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.api.errors import InvalidModelFileError

__all__ = [
    "MOST_TOKENIZER_BYTES",
    "TOKENIZER_FILES",
    "chat_template",
    "end_ids",
    "folder_files",
    "settings",
    "token_text",
]

#: everything that says how text becomes tokens and back, and how an answer begins and ends
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
)

#: the largest published tokenizer.json files have 35 MB
MOST_TOKENIZER_BYTES = 128 << 20


def folder_files(folder: Path) -> dict[str, bytes]:
    """Those of `TOKENIZER_FILES` that are in a folder.

    Raises:
        InvalidModelFileError: one is larger than any real one, or cannot be read.
    """
    found = {}
    for name in TOKENIZER_FILES:
        path = folder / name
        try:
            if not path.is_file():
                continue
            if path.stat().st_size > MOST_TOKENIZER_BYTES:
                raise InvalidModelFileError(
                    "This model cannot be used.", why=f"Its {name} is far larger than any real one."
                )
            found[name] = path.read_bytes()
        except OSError as error:
            raise InvalidModelFileError(
                "This model cannot be read.",
                why=f"The system said of its {name}: {error.strerror or error}.",
                remedy="Check that you may read the folder and that its disk is well.",
                details=str(error),
            ) from error
    return found


def settings(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object in one of the files; {} where there is none.

    Raises:
        InvalidModelFileError: it is not a JSON object.
    """
    raw = files.get(name)
    if raw is None:
        return {}
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidModelFileError(
            "This model is damaged.", why=f"Its {name} is not valid JSON.", details=repr(error)[:500]
        ) from None
    if not isinstance(value, dict):
        raise InvalidModelFileError("This model is damaged.", why=f"Its {name} does not hold settings.")
    return value


def token_text(value: object) -> str:
    """A special token as tokenizer_config.json names it: a text, or an object with `content`."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def end_ids(value: object) -> set[int]:
    """`eos_token_id` of a configuration: a number, a list of them, or nothing."""
    values = value if isinstance(value, list) else [value]
    return {number for number in values if isinstance(number, int) and not isinstance(number, bool) and number >= 0}


def chat_template(files: Mapping[str, bytes]) -> str | None:
    """The chat template: from its own file, else from tokenizer_config.json (of several, the one named default)."""
    own = files.get("chat_template.jinja")
    if own is not None:
        return own.decode("utf-8", "replace")
    for name in ("chat_template.json", "tokenizer_config.json"):
        value = settings(files, name).get("chat_template")
        if isinstance(value, list):
            named = [item for item in value if isinstance(item, dict)]
            value = next((item.get("template") for item in named if item.get("name") == "default"), None)
        if isinstance(value, str):
            return value
    return None
