"""The models we know: the data of `models_catalog`, read."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

import models_catalog
from backend.api.schemas import Sampling

__all__ = ["CatalogueModel", "builtin_file", "known_file"]


class CatalogueModel(msgspec.Struct, frozen=True):
    """One model of `models_catalog/builtin.json`; the fields are explained in the README beside it."""

    id: str
    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    sampling: Sampling = Sampling()


class _Catalogue(msgspec.Struct):
    models: list[CatalogueModel]


@cache
def _models() -> list[CatalogueModel]:
    raw = Path(models_catalog.__file__ or "").with_name("builtin.json").read_bytes()
    return msgspec.json.decode(raw, type=_Catalogue).models


def builtin_file(folder: Path) -> Path | None:
    """The built-in model's file in the folder where the installer puts it; None if it was not fetched."""
    path = folder / _models()[0].file
    return path if path.is_file() else None


def known_file(name: str) -> CatalogueModel | None:
    """What we know of a model file of this name."""
    return next((model for model in _models() if model.file == name), None)
