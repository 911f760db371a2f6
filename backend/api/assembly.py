"""The services of the real engine process, on this user's files."""

from __future__ import annotations

import json
from pathlib import Path

import models_catalog
from backend.api.services import Services
from backend.config.paths import paths
from backend.engine.loading import load_model
from backend.engine.worker import Engine
from backend.hardware.probe import probe
from backend.hub.local import LocalModels
from backend.storage.store import Store

__all__ = ["build_services"]


def build_services() -> Services:
    """Opens the database and puts everything together. Raises StorageError and its subclasses."""
    places = paths()
    store = Store.open(places.database)
    return Services.build(
        store=store,
        engine=Engine(load_model),
        models=LocalModels(_builtin(places.models)),
        data_dir=places.data,
        hardware=lambda: probe(places.data),
    )


def _builtin(models: Path) -> Path | None:
    catalogue = Path(models_catalog.__file__).with_name("builtin.json")
    path = models / str(json.loads(catalogue.read_bytes())["models"][0]["file"])
    return path if path.is_file() else None
