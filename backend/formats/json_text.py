"""JSON written by others: bounded in bytes, no name twice, no NaN, and every failure a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from backend.api.errors import InvalidModelFileError
from backend.formats.gguf_cursor import damaged, truncated

__all__ = ["parse_object", "read_bytes", "read_object"]


def parse_object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object from UTF-8 bytes. `what` names the text in the error ("its header").

    Raises:
        InvalidModelFileError: it is not JSON, not an object, or has a name twice.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise damaged(f"The text in {what} cannot be read.", f"{type(error).__name__}: {error}"[:300]) from error
    if not isinstance(value, dict):
        raise damaged(f"The text in {what} is not a set of names and values.", type(value).__name__)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def read_bytes(path: Path, limit: int) -> bytes:
    """A small file whole.

    Raises:
        InvalidModelFileError: it is not there, cannot be read, or is larger than `limit` bytes.
    """
    try:
        if not path.is_file():  # before opening: a pipe would block
            raise InvalidModelFileError(
                "A part of this model is missing.",
                why=f"There is no file {path.name} beside its other files.",
                remedy="Download the missing file into the same folder.",
            )
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InvalidModelFileError(
            "A part of this model cannot be read.",
            why=f"The system said of {path.name}: {error.strerror or error}.",
            remedy="Check that you may read the file and that its disk is well.",
            details=str(error),
        ) from error
    if len(data) > limit:
        raise damaged(f"Its file {path.name} is far larger than that of any known model.", f"over {limit} bytes")
    return data


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """A JSON file that holds an object. Raises as `read_bytes` and `parse_object` do."""
    data = read_bytes(path, limit)
    if not data:
        raise truncated(f"{path.name} is empty")
    return parse_object(data, f"its file {path.name}")
