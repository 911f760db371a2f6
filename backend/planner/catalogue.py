"""The catalogue of models (`models_catalog/families`), read and checked. The README there explains its fields."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

import models_catalog
from backend.api.errors import NotFoundError
from backend.planner.architecture import Architecture

__all__ = ["Build", "Draft", "Entry", "Family", "Quality", "catalogue", "entry_named"]

SCHEMA = 1


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Nothing that the README does not explain."""


class Quality(_Record, frozen=True, kw_only=True):
    """One published figure."""

    metric: str
    value: float
    original: float | None = None
    conditions: str = ""
    source: str


class Build(_Record, frozen=True, kw_only=True):
    """One published build of a model."""

    format: Literal["gguf", "aqlm", "spqr"]
    repository: str
    scheme: str
    published_gb: float | None = None
    head_apart: bool = False
    quality: tuple[Quality, ...] = ()
    source: str
    verified: bool = True


class Draft(_Record, frozen=True, kw_only=True):
    """A smaller model of the catalogue whose guesses this one can check."""

    model: str
    source: str
    verified: bool = True


class Entry(_Record, frozen=True, kw_only=True):
    """One model."""

    id: str
    name: str
    repository: str
    uses: tuple[Literal["general", "code", "multilingual", "reasoning", "math"], ...]
    parameters: int
    context_length: int
    languages: tuple[str, ...] = ()
    languages_source: str = ""
    licence: str
    licence_source: str = ""
    architecture: Architecture
    builds: tuple[Build, ...]
    drafts: tuple[Draft, ...] = ()
    source: str
    verified: bool
    unverified: tuple[str, ...] = ()


class Family(_Record, frozen=True, kw_only=True):
    """One file: models with the same tokenizer and template."""

    schema: int
    id: str
    name: str
    author: str
    template: str
    languages: tuple[str, ...]
    languages_source: str = ""
    models: tuple[Entry, ...]


@cache
def catalogue() -> tuple[Family, ...]:
    """All families, by file name; some milliseconds at the first call."""
    folder = Path(models_catalog.__file__ or "").with_name("families")
    families = [msgspec.json.decode(path.read_bytes(), type=Family) for path in sorted(folder.glob("*.json"))]
    return tuple(family for family in families if family.schema == SCHEMA)


def entry_named(wanted: str) -> Entry:
    """The entry with this id, name or repository, else the only one whose id or name holds the text.

    Raises:
        NotFoundError: none, or more than one.
    """
    low = wanted.strip().casefold()
    entries = [entry for family in catalogue() for entry in family.models]
    found = [entry for entry in entries if low in (entry.id, entry.name.casefold(), entry.repository.casefold())]
    found = found or [entry for entry in entries if low and (low in entry.id or low in entry.name.casefold())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFoundError(
            f'There is no model "{wanted}" here or in the catalogue.',
            remedy="Give a path to a model, a name from nutshell models, or an id of the catalogue.",
        )
    names = ", ".join(entry.id for entry in found[:5])
    raise NotFoundError(f'"{wanted}" fits {len(found)} models of the catalogue: {names}.', remedy="Give more of it.")
