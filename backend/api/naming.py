"""Which model a name means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.api.schemas import ModelEntry

__all__ = ["find", "names_of"]


def names_of(entry: ModelEntry) -> set[str]:
    """Everything that a model goes by, case folded: id, name, file name with and without its ending."""
    path = Path(entry.path)
    return {text.casefold() for text in (entry.id, entry.name, path.name, path.stem) if text}


def find(entries: Sequence[ModelEntry], wanted: str) -> ModelEntry | None:
    """The entry that `wanted` names by id, name or file name; None if there is none, or more than one."""
    wanted = wanted.strip().casefold()
    for entry in entries:
        if entry.id == wanted:
            return entry
    found = [entry for entry in entries if wanted in names_of(entry)]
    return found[0] if len(found) == 1 else None
